"""The guard of every route: verifies the credential, then the organisation, then the role, before a body is read.

A handler says what it needs in its options: `public=True` (no credential), `min_role=Role.ADMIN`,
`credentials=(Credential.ACCESS_TOKEN,)` (only these kinds), `scope="keys:write"` (for keys; default
`<first path word>:read|write`). The verified caller is injected as `caller`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from bailiwick.identity import Caller, authenticate
from bailiwick.kernel.errors import Forbidden, Unauthenticated

AnyConnection = ASGIConnection[Any, Any, Any, Any]


def bearer_token_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The presented credential: `Authorization: Bearer`, else `x-api-key`. Raises Unauthenticated."""
    key = b""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer" or not token.strip():
                raise Unauthenticated
            return token.strip().decode("latin-1")
        if name == b"x-api-key":
            key = value
    if not key:
        raise Unauthenticated
    return key.decode("latin-1")


def allows(scopes: tuple[str, ...], needed: str) -> bool:
    """Whether a credential with these scopes may do what needs `needed`."""
    resource, _, right = needed.partition(":")
    return "*" in scopes or needed in scopes or (right == "read" and f"{resource}:write" in scopes)


async def authenticated(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Litestar guard; see the module."""
    options = handler.opt
    if options.get("public"):
        return
    caller = await authenticate(bearer_token_of(connection.scope["headers"]))
    kinds = options.get("credentials")
    if kinds and caller.credential not in kinds:
        raise Unauthenticated("This operation needs an access token.")
    _ = caller.tenant
    if (role := options.get("min_role")) is not None:
        caller.require(role)
    words = connection.scope["path"].strip("/").split("/")
    resource = words[2] if len(words) > 2 else words[0]
    right = "read" if connection.scope.get("method") in ("GET", "HEAD") else "write"
    if not allows(caller.scopes, options.get("scope", f"{resource}:{right}")):
        raise Forbidden("The key's scopes do not cover this operation.")
    connection.scope["state"]["caller"] = caller


async def provide_caller(scope: Scope) -> Caller:
    """The verified caller of this request."""
    caller: Caller = scope["state"]["caller"]
    return caller
