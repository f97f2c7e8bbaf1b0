"""The Router of an API family: credentials, text check and error rendering, once for all of its operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from litestar import Request, Response, Router, route
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler, Guard

from bailiwick.api.authentication import authenticated, provide_caller
from bailiwick.api.errors import Dialect, allowed, handler
from bailiwick.api.strict_bodies import refuse_loose_values
from bailiwick.api.unstorable_text import refuse_unstorable_text


def _options(path: str, allow: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=204, public=True, include_in_schema=False, sync_to_thread=False)
    def options() -> Response[None]:
        return Response(None, status_code=204, headers={"allow": allow})

    return options


def _options_of(routes: Sequence[ControllerRouterHandler]) -> Iterator[HTTPRouteHandler]:
    """One OPTIONS handler for each address; the web framework's own tells only of the handler it met first."""
    methods: defaultdict[str, set[str]] = defaultdict(set)
    for handled in routes:
        if isinstance(handled, HTTPRouteHandler):
            for path in handled.paths:
                methods[path].update(handled.http_methods)
    return (_options(path, allowed(taken)) for path, taken in methods.items())


async def _check_request(request: Request[Any, Any, Any]) -> None:
    await refuse_unstorable_text(request)
    await refuse_loose_values(request)


def family_router(
    dialect: Dialect, routes: Sequence[ControllerRouterHandler], *, guard: Guard = authenticated
) -> Router:
    """A Router at the origin for operations of one contract; their paths are whole. `guard` verifies the credential."""
    render = handler(dialect)
    return Router(
        path="/",
        route_handlers=[*_options_of(routes), *routes],  # first, so that the framework adds none of its own
        guards=[guard],
        dependencies={"caller": Provide(provide_caller)},
        before_request=_check_request,
        exception_handlers={Exception: render, HTTPException: render},
    )
