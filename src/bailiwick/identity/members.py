"""Members: a user in an organization, as they are shown."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.tables import ExternalUser, Membership, User
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.errors import NotFound
from bailiwick.kernel.ids import Prefix, encode


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A user in an organization."""

    membership_id: UUID
    organization_id: UUID
    user_id: UUID
    email: str
    """One who signs in through an issuer that gives no address has a made-up one under the reserved `.invalid`."""
    name: str
    role: Role
    is_active: bool
    email_verified: bool
    budget_tier: str
    department_id: str | None
    last_login_at: datetime | None
    created_at: datetime


async def find_member(session: AsyncSession, organization_id: UUID, membership_id: UUID) -> Member:
    """One member, within a system transaction: people are above organizations. Raises NotFound, also once removed."""
    row = (
        await session.execute(
            select(Membership, User, ExternalUser.email)
            .join(User, User.id == Membership.user_id)
            .outerjoin(ExternalUser, ExternalUser.user_id == User.id)
            .where(
                Membership.organization_id == organization_id,
                Membership.id == membership_id,
                Membership.removed_at.is_(None),
            )
            .limit(1)
        )
    ).first()
    if row is None:
        raise NotFound
    membership, user, external_email = row
    return Member(
        membership_id=membership.id,
        organization_id=membership.organization_id,
        user_id=user.id,
        email=user.email or external_email or f"{encode(Prefix.USER, user.id).lower()}@external.invalid",
        name=user.name,
        role=Role(membership.role),
        is_active=membership.deactivated_at is None and user.disabled_at is None,
        email_verified=user.email_verified_at is not None,
        budget_tier=membership.budget_tier,
        department_id=membership.department_id,
        last_login_at=membership.last_login_at,
        created_at=membership.created_at,
    )


async def read_own_member(caller: Caller) -> Member:
    """The member behind a credential; of a key, the member who made it. Raises NotFound for a key of nobody."""
    if caller.membership_id is None:
        raise NotFound("No member stands behind this credential.")
    async with system_transaction(CrossTenantUse.ACCOUNT) as session:
        return await find_member(session, caller.tenant, caller.membership_id)
