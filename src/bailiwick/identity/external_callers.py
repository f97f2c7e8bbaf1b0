"""Callers with an external issuer's token: their organization and user here, made at the first use."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit
from bailiwick.identity.callers import Caller, Credential
from bailiwick.identity.issuers import ExternalIdentity
from bailiwick.identity.organizations import create_organization
from bailiwick.identity.sign_up import add_member
from bailiwick.identity.tables import ExternalOrganization, ExternalUser, Membership, User
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import narrow, system_transaction
from bailiwick.kernel.errors import Unauthenticated
from bailiwick.kernel.ids import Prefix, encode, uuid7

_FIND = text(
    "select eo.organization_id, o.deleted_at, eu.user_id, u.disabled_at, m.id as membership_id, m.role,"
    " m.deactivated_at from (select 1) one"
    " left join external_organizations eo on eo.issuer = :issuer and eo.external_id = :organization"
    " left join organizations o on o.id = eo.organization_id"
    " left join external_users eu on eu.issuer = :issuer and eu.subject = :subject"
    " left join users u on u.id = eu.user_id"
    " left join memberships m on m.organization_id = eo.organization_id and m.user_id = eu.user_id"
    "  and m.removed_at is null"
)
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")


async def _find(session: AsyncSession, identity: ExternalIdentity) -> Row[tuple[UUID | None, ...]]:
    parameters = {"issuer": identity.issuer, "organization": identity.organization, "subject": identity.subject}
    return (await session.execute(_FIND, parameters)).one()


def _is_complete(found: Row[tuple[UUID | None, ...]], identity: ExternalIdentity) -> bool:
    if found.disabled_at is not None or found.deleted_at is not None or found.deactivated_at is not None:
        raise Unauthenticated
    return found.membership_id is not None and found.role == identity.role.value


async def caller_of(identity: ExternalIdentity) -> Caller:
    """The caller behind a verified external token. Raises Unauthenticated once we switched user or organization off."""
    organization_id = user_id = membership_id = None
    if identity.organization is not None:
        async with system_transaction(CrossTenantUse.EXTERNAL_TOKEN) as session:
            found = await _find(session, identity)
            if not _is_complete(found, identity):
                found = await _bring_up_to_date(session, identity)
        organization_id, user_id, membership_id = found.organization_id, found.user_id, found.membership_id
    return Caller(
        credential=Credential.EXTERNAL_TOKEN,
        organization_id=organization_id,
        organization_name=identity.organization,
        subject=identity.subject,
        user_id=user_id,
        membership_id=membership_id,
        role=identity.role,
        expires_at=identity.expires_at,
    )


async def _bring_up_to_date(session: AsyncSession, identity: ExternalIdentity) -> Row[tuple[UUID | None, ...]]:
    """Makes what is missing. The locks, organization first, decide between first uses at the same time."""
    await session.execute(_LOCK, {"name": f"organization:{identity.issuer} {identity.organization}"})
    await session.execute(_LOCK, {"name": f"user:{identity.issuer} {identity.subject}"})
    found = await _find(session, identity)
    if _is_complete(found, identity):
        return found
    organization_id = found.organization_id or await _add_organization(session, identity)
    user_id = found.user_id or await _add_user(session, identity)
    await narrow(session, organization_id)
    if found.membership_id is None:
        membership_id = await add_member(session, organization_id, user_id, identity.role)
    else:
        membership_id = found.membership_id
        await session.execute(
            update(Membership)
            .where(Membership.organization_id == organization_id, Membership.id == membership_id)
            .values(role=identity.role.value)
        )
    if found.organization_id is None:
        await audit.append(
            session,
            organization_id,
            action="organization.created",
            actor=identity.subject,
            subject=encode(Prefix.ORGANIZATION, organization_id),
            attributes={"by": "external_token", "issuer": identity.issuer},
        )
    await audit.append(
        session,
        organization_id,
        action="member.added" if found.membership_id is None else "member.role_changed",
        actor=identity.subject,
        subject=encode(Prefix.MEMBERSHIP, membership_id),
        attributes={"by": "external_token", "role": identity.role.value},
    )
    return await _find(session, identity)


async def _add_organization(session: AsyncSession, identity: ExternalIdentity) -> UUID:
    assert identity.organization is not None  # noqa: S101  callers without one need nothing made
    name = identity.organization_label or identity.organization
    organization = await create_organization(session, name=name[:128], plan_tier="free")
    session.add(
        ExternalOrganization(issuer=identity.issuer, external_id=identity.organization, organization_id=organization.id)
    )
    await session.flush()
    return organization.id


async def _add_user(session: AsyncSession, identity: ExternalIdentity) -> UUID:
    user = User(id=uuid7(), name=(identity.name or identity.email or identity.subject)[:128])
    session.add(user)
    await session.flush()
    session.add(ExternalUser(issuer=identity.issuer, subject=identity.subject, user_id=user.id, email=identity.email))
    await session.flush()
    return user.id


async def find_external_organization(session: AsyncSession, organization_id: UUID) -> ExternalOrganization | None:
    """The issuer's name of an organization, if it came from one; within a system transaction."""
    found: ExternalOrganization | None = await session.scalar(
        select(ExternalOrganization).where(ExternalOrganization.organization_id == organization_id).limit(1)
    )
    return found
