"""Who is calling: any kind of credential, verified.

A caller that was verified is kept until its credential expires or a notification says that its session, key or
organization changed, so that a busy client's credential costs microseconds. While this process cannot hear
notifications nothing is kept.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from bailiwick.identity.access_tokens import verify_access_token
from bailiwick.identity.callers import Caller, Credential, Role
from bailiwick.identity.errors import MembershipEnded
from bailiwick.identity.external_callers import caller_of
from bailiwick.identity.process import process_state
from bailiwick.identity.signatures import peek
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.crypto import hash_token
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.errors import Unauthenticated
from bailiwick.kernel.ids import Prefix, encode

_MEMBER = (
    " m.id as membership_id, m.user_id, m.role, m.removed_at, m.deactivated_at, u.disabled_at, o.deleted_at as gone_at"
)
_SESSION = text(
    f"select s.id, s.organization_id, s.expires_at, s.revoked_at,{_MEMBER} from sessions s"  # noqa: S608  our words
    " join memberships m on m.organization_id = s.organization_id and m.id = s.membership_id"
    " join users u on u.id = s.user_id join organizations o on o.id = s.organization_id where s.id = :session_id"
)
_KEYS = {
    table: text(
        f"select k.id, k.organization_id, k.scopes, k.expires_at, k.revoked_at, k.last_used_at,{_MEMBER}"  # noqa: S608
        f" from {table} k left join memberships m on m.organization_id = k.organization_id and m.id = k.membership_id"
        " left join users u on u.id = m.user_id join organizations o on o.id = k.organization_id"
        " where k.key_hash = :key_hash"
    )
    for table in ("virtual_keys", "api_keys")
}
_USED = {
    table: text(
        f"update {table} set last_used_at = now() where organization_id = :organization_id and id = :id"  # noqa: S608
        " and (last_used_at is null or last_used_at < now() - interval '1 minute')"
    )
    for table in ("virtual_keys", "api_keys")
}


async def authenticate(token: str) -> Caller:
    """The caller behind an access token, API key, virtual key or external issuer's token.

    Raises Unauthenticated (MembershipEnded when only the membership is gone), and Unavailable when an external issuer's
    keys cannot be had.
    """
    state = process_state()
    digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    keeps = state.listening.is_set()
    if keeps and (known := state.callers.find(digest)) is not None:
        return known
    changes = state.callers.changes
    caller = await _verified(token)
    if keeps:
        state.callers.keep(digest, caller, changes)
    return caller


async def _verified(token: str) -> Caller:
    if token.startswith("vk_"):
        return await _key(token, "virtual_keys", Credential.VIRTUAL_KEY, Prefix.VIRTUAL_KEY)
    if token.startswith("ak_"):
        return await _key(token, "api_keys", Credential.API_KEY, Prefix.API_KEY)
    header, claims = peek(token)
    issuer = process_state().issuers.get(str(claims.get("iss")))
    if issuer is not None:
        return await caller_of(await issuer.identify(token, header))
    return await _access_token(token)


def _refuse_ended(row: Row[Any], *, of_member: bool) -> None:
    """Raises unless row's organization, and its member if it has one, still stand."""
    if row.gone_at is not None or row.disabled_at is not None or row.deactivated_at is not None:
        raise Unauthenticated
    if of_member and (row.membership_id is None or row.removed_at is not None):
        raise MembershipEnded
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now()):
        raise Unauthenticated


async def _access_token(token: str) -> Caller:
    claims = await verify_access_token(token)
    async with system_transaction(CrossTenantUse.SIGN_IN) as session:
        row = (await session.execute(_SESSION, {"session_id": claims.session_id})).first()
    if row is None:
        raise Unauthenticated
    _refuse_ended(row, of_member=True)
    return Caller(
        credential=Credential.ACCESS_TOKEN,
        organization_id=row.organization_id,
        organization_name=encode(Prefix.ORGANIZATION, row.organization_id),
        subject=encode(Prefix.USER, row.user_id),
        user_id=row.user_id,
        membership_id=row.membership_id,
        role=Role(row.role),
        session_id=row.id,
        expires_at=min(claims.expires_at, row.expires_at.timestamp()),
    )


async def _key(token: str, table: str, credential: Credential, prefix: Prefix) -> Caller:
    async with system_transaction(CrossTenantUse.SIGN_IN) as session:
        row = (await session.execute(_KEYS[table], {"key_hash": hash_token(token)})).first()
        if row is None:
            raise Unauthenticated
        user_id: UUID | None = row.user_id
        _refuse_ended(row, of_member=user_id is not None)
        await session.execute(_USED[table], {"organization_id": row.organization_id, "id": row.id})
    return Caller(
        credential=credential,
        organization_id=row.organization_id,
        organization_name=encode(Prefix.ORGANIZATION, row.organization_id),
        # A key that no member made, such as a hosted tenant's, speaks for itself.
        subject=encode(prefix, row.id) if user_id is None else encode(Prefix.USER, user_id),
        user_id=user_id,
        membership_id=row.membership_id,
        role=Role(row.role) if row.role else Role.VIEWER,
        key_id=row.id,
        scopes=tuple(row.scopes),
        expires_at=row.expires_at.timestamp() if row.expires_at else 0.0,
    )
