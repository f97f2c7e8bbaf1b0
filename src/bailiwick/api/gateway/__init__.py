"""The family `/v1`: what OpenAI and Anthropic clients call, with a virtual key and errors as they read them."""

from __future__ import annotations

from litestar import Router
from litestar.handlers import BaseRouteHandler

from bailiwick.api.authentication import AnyConnection, authenticated
from bailiwick.api.errors import Dialect
from bailiwick.api.families import family_router
from bailiwick.api.gateway import budget
from bailiwick.kernel.errors import BailiwickError, Unauthenticated

_MODULES = (budget,)


class MissingKey(Unauthenticated):
    """Send a virtual key: `Authorization: Bearer vk_...` or `x-api-key`."""

    code = "missing_key"


class ProviderDialect(Dialect, frozen=True):
    """components/schemas/ProviderError: `error.type` and `error.code` both carry the code."""

    def body(self, error: BailiwickError) -> dict[str, object]:
        """The envelope."""
        code = self.code(error.code)
        return {"error": {"message": error.message, "type": code, "code": code, "param": None}}


PROVIDER = ProviderDialect(
    codes={
        "VALIDATION_ERROR": "invalid_body",
        "UNAUTHENTICATED": "unauthorized",
        "FORBIDDEN": "policy_denied",
        "INSUFFICIENT_PERMISSIONS": "policy_denied",
        "NO_ORG": "policy_denied",
    }
)


async def _with_key(connection: AnyConnection, route: BaseRouteHandler) -> None:
    """Litestar guard: tells a credential that is missing from one that is wrong."""
    names = {name for name, _ in connection.scope["headers"]}
    if not names & {b"authorization", b"x-api-key"}:
        raise MissingKey
    await authenticated(connection, route)


def routers() -> list[Router]:
    """The Router of the family."""
    return [family_router(PROVIDER, [route for module in _MODULES for route in module.ROUTES], guard=_with_key)]
