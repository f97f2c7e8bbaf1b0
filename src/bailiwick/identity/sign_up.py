"""Sign-up: a user with an organization of their own, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, ledger
from bailiwick.identity.callers import Role
from bailiwick.identity.email_addresses import normal_email, send_verification
from bailiwick.identity.errors import EmailAlreadyExists, SignupDisabled
from bailiwick.identity.members import Member, find_member
from bailiwick.identity.organizations import create_organization, default_name
from bailiwick.identity.passwords import hash_password
from bailiwick.identity.process import process_state
from bailiwick.identity.sessions import Tokens, open_session
from bailiwick.identity.tables import Membership, Organization, User, VirtualKey
from bailiwick.identity.virtual_keys import create_virtual_key
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import Prefix, encode, uuid7
from bailiwick.kernel.runtime import runtime

_MOST_ATTRIBUTION_BYTES = 8 * 1024


class Founder(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs up, and how their organization is to be called."""

    email: str
    password: str
    name: str
    organization_name: str | None = None
    organization_slug: str | None = None
    source: str | None = None
    attribution: Mapping[str, Any] | None = None


class SignedIn(msgspec.Struct, frozen=True):
    """A member with a session."""

    tokens: Tokens
    member: Member


class SignedUp(msgspec.Struct, frozen=True):
    """A member with a session, a new organization, and its first virtual key."""

    tokens: Tokens
    member: Member
    organization: Organization
    key: VirtualKey
    key_plaintext: str


async def _add_user(session: AsyncSession, founder: Founder, email: str, password_hash: str) -> UUID:
    attribution = msgspec.to_builtins(founder.attribution)
    if attribution is not None and len(msgspec.json.encode(attribution)) > _MOST_ATTRIBUTION_BYTES:
        raise InvalidInput.of("marketingAttribution", f"is longer than {_MOST_ATTRIBUTION_BYTES} bytes")
    user_id: UUID | None = await session.scalar(
        insert(User)
        .values(
            id=uuid7(),
            email=email,
            name=founder.name,
            password_hash=password_hash,
            signup_source=founder.source,
            marketing_attribution=attribution,
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(User.id)
    )
    if user_id is None:
        raise EmailAlreadyExists
    return user_id


async def add_member(session: AsyncSession, organization_id: UUID, user_id: UUID, role: Role) -> UUID:
    """Makes a user a member, within a system transaction; the membership's id."""
    membership = Membership(organization_id=organization_id, id=uuid7(), user_id=user_id, role=role.value)
    session.add(membership)
    await session.flush()
    return membership.id


async def _found(
    session: AsyncSession,
    founder: Founder,
    *,
    email: str,
    password_hash: str,
    plan_tier: str,
    trial_expires_at: datetime | None = None,
) -> tuple[Organization, UUID, UUID]:
    user_id = await _add_user(session, founder, email, password_hash)
    organization = await create_organization(
        session,
        name=founder.organization_name or default_name(founder.name),
        slug=founder.organization_slug,
        plan_tier=plan_tier,
        trial_expires_at=trial_expires_at,
    )
    membership_id = await add_member(session, organization.id, user_id, Role.OWNER)
    await send_verification(session, user_id=user_id, email=email, name=founder.name)
    return organization, user_id, membership_id


async def _sign_in_first(
    session: AsyncSession, organization_id: UUID, user_id: UUID, membership_id: UUID
) -> tuple[Tokens, Member]:
    tokens = await open_session(
        session, organization_id=organization_id, user_id=user_id, membership_id=membership_id, role=Role.OWNER
    )
    return tokens, await find_member(session, organization_id, membership_id)


async def _prepare(founder: Founder) -> tuple[str, str]:
    if not runtime().settings.signup_enabled:
        raise SignupDisabled
    email = normal_email(founder.email)
    # Made before the transaction, which must not wait for them.
    await process_state().key_ring.active()
    return email, await hash_password(founder.password)


async def register(founder: Founder) -> SignedIn:
    """A user and an organization on tier free, signed in.

    Raises InvalidInput, EmailAlreadyExists, SlugTaken, SignupDisabled.
    """
    email, password_hash = await _prepare(founder)
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        organization, user_id, membership_id = await _found(
            session, founder, email=email, password_hash=password_hash, plan_tier="free"
        )
        tokens, member = await _sign_in_first(session, organization.id, user_id, membership_id)
        await audit.append(
            session,
            organization.id,
            action="organization.created",
            actor=encode(Prefix.USER, user_id),
            subject=encode(Prefix.ORGANIZATION, organization.id),
            attributes={"plan_tier": organization.plan_tier, "by": "register"},
        )
        return SignedIn(tokens, member)


async def sign_up(founder: Founder) -> SignedUp:
    """A user and an organization on trial with its wallet and first virtual key, signed in.

    Raises InvalidInput, EmailAlreadyExists, SignupDisabled.
    """
    email, password_hash = await _prepare(founder)
    trial_expires_at = now() + timedelta(days=runtime().settings.trial_days)
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        organization, user_id, membership_id = await _found(
            session,
            founder,
            email=email,
            password_hash=password_hash,
            plan_tier="free_trial",
            trial_expires_at=trial_expires_at,
        )
        key_id = uuid7()
        account = await ledger.open_account(
            session, organization.id, ledger="usd_micros", kind="virtual_key", owner_id=key_id, floor=0
        )
        key, plaintext = await create_virtual_key(
            session,
            organization.id,
            membership_id=membership_id,
            label="default",
            scopes=("*",),
            account_id=account.id,
            key_id=key_id,
        )
        tokens, member = await _sign_in_first(session, organization.id, user_id, membership_id)
        await audit.append(
            session,
            organization.id,
            action="organization.created",
            actor=encode(Prefix.USER, user_id),
            subject=encode(Prefix.ORGANIZATION, organization.id),
            attributes={
                "plan_tier": organization.plan_tier,
                "by": "signup",
                "virtual_key": encode(Prefix.VIRTUAL_KEY, key.id),
            },
        )
        return SignedUp(tokens, member, organization, key, plaintext)
