"""Sessions: one for each sign-in. Refresh tokens rotate; one that is used twice ends its session (RFC 9700 4.14.2)."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit
from bailiwick.identity.access_tokens import issue_access_token
from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.errors import RefreshTokenExpired, RefreshTokenInvalid
from bailiwick.identity.process import SESSION, announce
from bailiwick.identity.tables import RefreshToken, Session
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.crypto import hash_token
from bailiwick.kernel.database import narrow, system_transaction, tenant_transaction
from bailiwick.kernel.errors import Unauthenticated
from bailiwick.kernel.ids import Prefix, encode, uuid7
from bailiwick.kernel.runtime import runtime

_LIVE = text(
    "select s.organization_id, s.user_id, m.role from sessions s"
    " join memberships m on m.organization_id = s.organization_id and m.id = s.membership_id"
    " join users u on u.id = s.user_id join organizations o on o.id = s.organization_id"
    " where s.id = :session_id and s.revoked_at is null and m.removed_at is null and m.deactivated_at is null"
    " and u.disabled_at is null and o.deleted_at is null for no key update of s"
)


class Tokens(msgspec.Struct, frozen=True):
    """What a client holds of its session."""

    access_token: str
    refresh_token: str
    expires_in_seconds: int
    """Until the access token expires."""


def _lifetime() -> timedelta:
    return timedelta(days=runtime().settings.refresh_token_days)


async def _add_refresh_token(session: AsyncSession, session_id: UUID) -> str:
    plaintext = f"rt_{secrets.token_urlsafe(32)}"
    session.add(RefreshToken(token_hash=hash_token(plaintext), session_id=session_id, expires_at=now() + _lifetime()))
    await session.flush()
    return plaintext


async def open_session(
    session: AsyncSession, *, organization_id: UUID, user_id: UUID, membership_id: UUID, role: Role
) -> Tokens:
    """A new session of a member, within a system transaction."""
    session_id = uuid7()
    session.add(
        Session(
            organization_id=organization_id,
            id=session_id,
            user_id=user_id,
            membership_id=membership_id,
            expires_at=now() + _lifetime(),
        )
    )
    await session.flush()
    refresh_token = await _add_refresh_token(session, session_id)
    access_token, seconds = await issue_access_token(
        user_id=user_id, organization_id=organization_id, session_id=session_id, role=role
    )
    return Tokens(access_token, refresh_token, seconds)


async def refresh(presented: str) -> Tokens:
    """Exchanges a refresh token for new tokens; the presented one stops working.

    One that was exchanged before ends its session: either the thief's use or the owner's is the second, and nobody can
    tell which. Raises RefreshTokenInvalid, RefreshTokenExpired.
    """
    digest = hash_token(presented)
    async with system_transaction(CrossTenantUse.SIGN_IN) as session:
        # Of two exchanges at once the second waits here for the first, and then finds nothing to claim.
        session_id = await session.scalar(
            update(RefreshToken)
            .where(RefreshToken.token_hash == digest, RefreshToken.used_at.is_(None), RefreshToken.expires_at > now())
            .values(used_at=now())
            .returning(RefreshToken.session_id)
        )
        if session_id is not None:
            live = (await session.execute(_LIVE, {"session_id": session_id})).first()
            if live is None:
                raise RefreshTokenInvalid
            role = Role(live.role)
            await session.execute(
                update(Session).where(Session.id == session_id).values(expires_at=now() + _lifetime())
            )
            refresh_token = await _add_refresh_token(session, session_id)
            access_token, seconds = await issue_access_token(
                user_id=live.user_id, organization_id=live.organization_id, session_id=session_id, role=role
            )
            await narrow(session, live.organization_id)
            await audit.append(
                session,
                live.organization_id,
                action="session.refreshed",
                actor=encode(Prefix.USER, live.user_id),
                subject=encode(Prefix.SESSION, session_id),
                attributes={},
            )
            return Tokens(access_token, refresh_token, seconds)
        known = await session.scalar(select(RefreshToken).where(RefreshToken.token_hash == digest))
        if known is not None and known.used_at is not None:
            await _end_for_reuse(session, known.session_id)
    # Raised after the commit: the end of the session must stand.
    if known is not None and known.used_at is None:
        raise RefreshTokenExpired
    raise RefreshTokenInvalid


async def _end_for_reuse(session: AsyncSession, session_id: UUID) -> None:
    ended = (
        await session.execute(
            update(Session)
            .where(Session.id == session_id, Session.revoked_at.is_(None))
            .values(revoked_at=now())
            .returning(Session.organization_id, Session.user_id)
        )
    ).first()
    if ended is None:
        return
    await announce(session, SESSION, session_id)
    await narrow(session, ended.organization_id)
    await audit.append(
        session,
        ended.organization_id,
        action="session.revoked",
        actor="system",
        subject=encode(Prefix.SESSION, session_id),
        attributes={"reason": "refresh_token_reused", "user": encode(Prefix.USER, ended.user_id)},
    )


async def log_out(caller: Caller) -> None:
    """Ends the session of the caller's access token; its refresh tokens go with it."""
    if caller.session_id is None:
        raise Unauthenticated
    async with tenant_transaction(caller.tenant) as session:
        ended = await session.scalar(
            update(Session)
            .where(
                Session.organization_id == caller.tenant, Session.id == caller.session_id, Session.revoked_at.is_(None)
            )
            .values(revoked_at=now())
            .returning(Session.id)
        )
        if ended is not None:
            await announce(session, SESSION, ended)
            await audit.append(
                session,
                caller.tenant,
                action="session.ended",
                actor=caller.subject,
                subject=encode(Prefix.SESSION, ended),
                attributes={},
            )


async def end_other_sessions(session: AsyncSession, *, user_id: UUID, except_id: UUID | None) -> int:
    """Ends a user's sessions in every organization but for one, within a system transaction; how many there were."""
    ended = list(
        await session.scalars(
            update(Session)
            .where(Session.user_id == user_id, Session.revoked_at.is_(None), Session.id != except_id)
            .values(revoked_at=now())
            .returning(Session.id)
        )
    )
    for one in ended:
        await announce(session, SESSION, one)
    return len(ended)
