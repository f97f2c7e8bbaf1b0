"""Signed tokens (JWS, RFC 7515): which algorithms are allowed, and the two ways in which a token is looked at."""

from __future__ import annotations

from typing import Any

import msgspec
from joserfc import jws
from joserfc._rfc7515.model import JWSAlgModel
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from bailiwick.kernel.errors import Unauthenticated

ALGORITHMS = ("EdDSA", "ES256", "RS256")
_LONGEST_TOKEN = 16 * 1024


class _Registry(JWSRegistry):
    """The allow-list and nothing else. `EdDSA` stays the name on the wire (RFC 8037) although RFC 9864 brings another:
    clients in the field know the older one, of which joserfc warns at each use."""

    max_header_length = 2048

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(f"algorithm {name} is not allowed")
        return self.algorithms[name]


# Issuers add header members of their own (Clerk: `cat`); `crit` is still checked.
_registry = _Registry(strict_check_header=False)


def sign(header: dict[str, Any], claims: dict[str, Any], key: Key) -> str:
    """A compact JWS over the JSON of `claims`."""
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, registry=_registry)


def peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a compact JWS as they stand, NOT verified: to find the key. Raises Unauthenticated."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST_TOKEN:
        raise Unauthenticated
    try:
        header, claims = (msgspec.json.decode(urlsafe_b64decode(part.encode())) for part in parts[:2])
    except (ValueError, RecursionError):
        raise Unauthenticated from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated
    return header, claims


def verify(token: str, key: Key) -> dict[str, Any]:
    """The claims of a token that `key` signed. Raises Unauthenticated."""
    try:
        claims = msgspec.json.decode(jws.deserialize_compact(token, key, registry=_registry).payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise Unauthenticated from None
    if not isinstance(claims, dict):
        raise Unauthenticated
    return claims
