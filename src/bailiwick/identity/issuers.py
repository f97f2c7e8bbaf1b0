"""External OpenID Connect issuers: their keys, fetched and kept; their tokens, verified and read.

Read are RFC 7519 claims, the organization as `org_id` and `org_role`, and the shorter form of Clerk's second token
version, `o: {id, rol, slg}` (clerk.com/docs, session tokens).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from bailiwick.identity.callers import Role
from bailiwick.identity.signatures import ALGORITHMS, verify
from bailiwick.kernel.errors import BailiwickError, Unauthenticated, Unavailable
from bailiwick.kernel.runtime import runtime
from bailiwick.settings import OidcIssuer

_FRESH_SECONDS = 3600.0
# Tokens with unknown key ids cannot make us ask the issuer more often than this.
_REFETCH_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_LEEWAY_SECONDS = 30
_LONGEST_CLAIM = 255
_KEY_TYPES = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_log = structlog.get_logger(__name__)


class ExternalIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified external token says."""

    issuer: str
    subject: str
    organization: str | None
    organization_label: str | None
    """A readable name of the organization, if the token carries one."""
    role: Role
    email: str | None
    name: str | None
    expires_at: float


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > _LONGEST_CLAIM or "\0" in value:
        raise Unauthenticated
    return value


def _role(org_role: str | None) -> Role:
    """An administrator of the issuer's organization is one here; any other member may do the daily work."""
    return Role.ADMIN if org_role is not None and org_role.removeprefix("org:") == "admin" else Role.DEVELOPER


def _organization(claims: dict[str, Any]) -> tuple[str | None, str | None, Role]:
    short = claims.get("o")
    if "org_id" not in claims and isinstance(short, dict):
        identifier, label, role = short.get("id"), short.get("slg"), short.get("rol")
    else:
        identifier, label, role = claims.get("org_id"), claims.get("org_slug"), claims.get("org_role")
    # Some issuers write an empty text where no organization is active.
    found = {"id": identifier or None, "label": label or None, "role": role or None}
    return _text(found, "id"), _text(found, "label"), _role(_text(found, "role"))


def _moment(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated
    return float(value)


class Issuer:
    """One configured issuer and its keys as this process knows them."""

    def __init__(self, configured: OidcIssuer) -> None:
        self._configured = configured
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def identify(self, token: str, header: dict[str, Any]) -> ExternalIdentity:
        """Verifies a token of this issuer. Raises Unauthenticated, and Unavailable without the issuer's keys."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not (key_id is None or isinstance(key_id, str)):
            raise Unauthenticated
        claims = verify(token, await self._key(key_id, algorithm))
        moment = time.time()
        expires_at, not_before = _moment(claims, "exp"), _moment(claims, "nbf")
        subject = _text(claims, "sub")
        if claims.get("iss") != self._configured.issuer or expires_at is None or subject is None:
            raise Unauthenticated
        if expires_at + _LEEWAY_SECONDS <= moment or (not_before or 0.0) - _LEEWAY_SECONDS > moment:
            raise Unauthenticated
        if self._configured.audience is not None:
            # Clerk's session tokens have no `aud`; their `azp` names the origin that they were made for.
            audience = claims.get("aud", claims.get("azp"))
            if self._configured.audience not in (audience if isinstance(audience, list) else [audience]):
                raise Unauthenticated
        organization, label, role = _organization(claims)
        return ExternalIdentity(
            issuer=self._configured.issuer,
            subject=subject,
            organization=organization,
            organization_label=label,
            role=role,
            email=_text(claims, "email"),
            name=_text(claims, "name"),
            expires_at=expires_at + _LEEWAY_SECONDS,
        )

    async def _key(self, key_id: str | None, algorithm: str) -> Key:
        if (key := self._find(key_id, algorithm)) is not None and time.monotonic() - self._fetched_at < _FRESH_SECONDS:
            return key
        async with self._lock:
            key = self._find(key_id, algorithm)
            stale = key is None or time.monotonic() - self._fetched_at >= _FRESH_SECONDS
            wait = _RETRY_SECONDS if self._keys is None else _REFETCH_SECONDS
            if stale and time.monotonic() - self._asked_at >= wait:
                self._asked_at = time.monotonic()
                await self._fetch()
                key = self._find(key_id, algorithm)
        if self._keys is None:
            raise Unavailable("The token's issuer does not give its keys at present; try again.")
        if key is None:
            raise Unauthenticated
        return key

    def _find(self, key_id: str | None, algorithm: str) -> Key | None:
        fitting = [
            key
            for key in (self._keys.keys if self._keys is not None else [])
            if key.key_type == _KEY_TYPES[algorithm]
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (key_id is None or key.kid == key_id)
        ]
        # Without a key id only an issuer that has one such key leaves no doubt.
        return fitting[0] if len(fitting) == 1 or (fitting and key_id is not None) else None

    async def _fetch(self) -> None:
        """Reads the key set; what is known stays when that fails."""
        try:
            url = self._configured.jwks_url
            if url is None:
                discovery = await self._get(f"{self._configured.issuer.rstrip('/')}/.well-known/openid-configuration")
                url = discovery.get("jwks_uri")
                if discovery.get("issuer") != self._configured.issuer or not isinstance(url, str):
                    raise ValueError("the discovery document is of another issuer or names no keys")
            document = await self._get(url)
            usable = [key for key in document["keys"] if key.get("kty") in _KEY_TYPES.values()]
            self._keys, self._fetched_at = KeySet.import_key_set({"keys": usable}), time.monotonic()
        except (BailiwickError, JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("issuer_keys_not_fetched", issuer=self._configured.issuer, reason=str(error)[:200])

    @staticmethod
    async def _get(url: str) -> dict[str, Any]:
        answer = await runtime().outbound.request("GET", url, timeout_seconds=10, max_bytes=256 * 1024)
        if answer.status != 200:
            raise ValueError(f"answered {answer.status}")
        document = msgspec.json.decode(answer.body)
        if not isinstance(document, dict):
            raise ValueError("answered no JSON object")
        return document
