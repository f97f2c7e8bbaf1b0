"""Our own access tokens: JWTs (RFC 7519) signed with EdDSA, with the claims that each API family reads."""

from __future__ import annotations

import secrets
import time
from typing import Any
from uuid import UUID

import msgspec

from bailiwick.identity.callers import Role
from bailiwick.identity.process import process_state
from bailiwick.identity.signatures import peek, sign, verify
from bailiwick.kernel.errors import Unauthenticated
from bailiwick.kernel.ids import Prefix, decode, encode
from bailiwick.kernel.runtime import runtime

# contract/operations.yaml, info: what each membership role is called there.
_OPERATIONS_ROLES = {
    Role.OWNER: "msp_admin",
    Role.ADMIN: "msp_admin",
    Role.EM: "ops_engineer",
    Role.DEVELOPER: "automation_operator",
    Role.VIEWER: "viewer",
}


class AccessClaims(msgspec.Struct, frozen=True):
    """What we read of a verified token; everything else is looked up, so that a change counts at once."""

    session_id: UUID
    expires_at: float


async def issue_access_token(*, user_id: UUID, organization_id: UUID, session_id: UUID, role: Role) -> tuple[str, int]:
    """A token for one session of one member, and the seconds until it expires."""
    pair = await process_state().key_ring.active()
    settings = runtime().settings
    issued_at = int(time.time())
    workspace = encode(Prefix.ORGANIZATION, organization_id)
    claims: dict[str, Any] = {
        "iss": settings.base_url,
        "sub": encode(Prefix.USER, user_id),
        "sid": encode(Prefix.SESSION, session_id),
        "wid": workspace,
        "role": role.value,
        "org_id": workspace,
        "org_role": "org:admin" if role in (Role.OWNER, Role.ADMIN) else "org:member",
        "roles": [_OPERATIONS_ROLES[role]],
        "workspaces": [workspace],
        "scope": "*",
        "iat": issued_at,
        "exp": issued_at + settings.access_token_seconds,
        "jti": secrets.token_urlsafe(12),
    }
    return sign({"alg": "EdDSA", "kid": pair.id, "typ": "JWT"}, claims, pair.private), settings.access_token_seconds


async def verify_access_token(token: str) -> AccessClaims:
    """Checks signature and expiry of one of our tokens. Raises Unauthenticated."""
    header, _ = peek(token)
    key_id = header.get("kid")
    key = await process_state().key_ring.find(key_id) if isinstance(key_id, str) else None
    if key is None or header.get("alg") != "EdDSA":
        raise Unauthenticated
    claims = verify(token, key.public)
    session_id = decode(Prefix.SESSION, str(claims.get("sid")))
    expires_at = claims.get("exp")
    if session_id is None or not isinstance(expires_at, int) or expires_at <= time.time():
        raise Unauthenticated
    return AccessClaims(session_id, float(expires_at))


async def rotate_signing_key() -> None:
    """Signs with a new key from now on; tokens of the old one stay valid until they expire."""
    await process_state().key_ring.rotate()


async def published_keys() -> list[dict[str, Any]]:
    """The JWKs (RFC 7517) that verify our access tokens, newest first."""
    return [key.as_jwk() for key in await process_state().key_ring.published()]
