"""The family `/v1`: what OpenAI and Anthropic clients call, with a virtual key and errors as they read them."""

from __future__ import annotations

from litestar import Router
from litestar.handlers import BaseRouteHandler

from bailiwick.api.authentication import AnyConnection, authenticated
from bailiwick.api.families import family_router
from bailiwick.api.gateway import budget, models
from bailiwick.api.gateway.provider_errors import PROVIDER, MissingKey

_MODULES = (budget, models)


async def _with_key(connection: AnyConnection, route: BaseRouteHandler) -> None:
    """Litestar guard: tells a credential that is missing from one that is wrong."""
    names = {name for name, _ in connection.scope["headers"]}
    if not names & {b"authorization", b"x-api-key"}:
        raise MissingKey
    await authenticated(connection, route)


def routers() -> list[Router]:
    """The Router of the family."""
    return [family_router(PROVIDER, [route for module in _MODULES for route in module.ROUTES], guard=_with_key)]
