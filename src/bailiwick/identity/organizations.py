"""Organizations: make, read, change; and tell every process that one changed."""

from __future__ import annotations

import re
import secrets
import unicodedata
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, ledger
from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.errors import SlugTaken
from bailiwick.identity.process import ORGANIZATION, announce
from bailiwick.identity.tables import Membership, Organization
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import narrow, tenant_transaction
from bailiwick.kernel.errors import NotFound
from bailiwick.kernel.ids import Prefix, encode, uuid7

_LONGEST_NAME = 128
_LONGEST_SLUG = 64


def default_name(person: str) -> str:
    """What an organization is called unless its founder says otherwise."""
    return f"{person[: _LONGEST_NAME - 12]}'s workspace"


def _slug_of(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:48].strip("-") or "workspace"


async def create_organization(
    session: AsyncSession,
    *,
    name: str,
    slug: str | None = None,
    plan_tier: str,
    trial_expires_at: datetime | None = None,
) -> Organization:
    """A new organization with its credit wallet, within a system transaction that is narrowed to it from here on.

    Without `slug` one is made from the name. The caller appends to the audit log. Raises SlugTaken.
    """
    wanted = slug or _slug_of(name)
    for attempt in range(5):
        organization: Organization | None = await session.scalar(
            insert(Organization)
            .values(
                id=uuid7(),
                name=name,
                slug=wanted if attempt == 0 else f"{wanted}-{secrets.token_hex(4)}",
                plan_tier=plan_tier,
                trial_expires_at=trial_expires_at,
            )
            .on_conflict_do_nothing()
            .returning(Organization)
        )
        if organization is not None:
            await narrow(session, organization.id)
            await ledger.open_account(
                session, organization.id, ledger="credits", kind="wallet", owner_id=organization.id, floor=0
            )
            return organization
        if slug is not None:
            break
    raise SlugTaken


async def get_organization(session: AsyncSession, organization_id: UUID) -> Organization:
    """The organization as it stands. Raises NotFound, also when it was deleted."""
    organization = await session.scalar(
        select(Organization)
        .where(Organization.id == organization_id, Organization.deleted_at.is_(None))
        .execution_options(populate_existing=True)
    )
    if organization is None:
        raise NotFound
    return organization


async def touch_organization(session: AsyncSession, organization_id: UUID, **changed: Any) -> None:
    """Writes `changed` columns, raises the version, tells every process: for what an invocation must know of."""
    await session.execute(
        update(Organization)
        .where(Organization.id == organization_id)
        .values(version=Organization.version + 1, updated_at=func.now(), **changed)
    )
    await announce(session, ORGANIZATION, organization_id)


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """An organization as its members see it."""

    organization: Organization
    owner_id: UUID | None
    """The user who is its first OWNER."""
    member_count: int


async def _workspace(session: AsyncSession, organization_id: UUID) -> Workspace:
    active = (Membership.organization_id == organization_id, Membership.removed_at.is_(None))
    owner = (
        select(Membership.user_id).where(*active, Membership.role == Role.OWNER).order_by(Membership.id).limit(1)
    ).scalar_subquery()
    row = (await session.execute(select(func.count(), owner).select_from(Membership).where(*active))).one()
    return Workspace(
        organization=await get_organization(session, organization_id), member_count=row[0], owner_id=row[1]
    )


async def read_workspace(caller: Caller) -> Workspace:
    """The caller's organization."""
    async with tenant_transaction(caller.tenant) as session:
        return await _workspace(session, caller.tenant)


async def update_workspace(
    caller: Caller,
    *,
    name: str | None = None,
    slug: str | None = None,
    vertical: str | None = None,
    baa_signed: bool = False,
) -> Workspace:
    """Changes what is given; `baa_signed` records that the caller signed the BAA now, once.

    Raises RoleRequired below ADMIN, and SlugTaken.
    """
    caller.require(Role.ADMIN)
    given: dict[str, Any] = {"name": name, "slug": slug, "vertical": vertical}
    try:
        async with tenant_transaction(caller.tenant) as session:
            # Locked: two administrators who sign at once leave one signature. Rows that refer to it need not wait.
            organization = (
                await session.scalars(
                    select(Organization).where(Organization.id == caller.tenant).with_for_update(key_share=True)
                )
            ).one()
            changed = {
                field: value
                for field, value in given.items()
                if value is not None and value != getattr(organization, field)
            }
            attributes = dict(changed)
            if baa_signed and organization.baa_signed_at is None:
                changed |= {"baa_signed_at": now(), "baa_signed_by": caller.user_id}
                attributes["baa_signed"] = True
            if changed:
                await touch_organization(session, caller.tenant, **changed)
                await audit.append(
                    session,
                    caller.tenant,
                    action="organization.updated",
                    actor=caller.subject,
                    subject=encode(Prefix.ORGANIZATION, caller.tenant),
                    attributes=attributes,
                )
            return await _workspace(session, caller.tenant)
    except IntegrityError as error:
        if "organizations_slug" in str(error.orig):
            raise SlugTaken from None
        raise
