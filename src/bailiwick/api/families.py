"""The Router of an API family: credentials, text check and error rendering, once for all of its operations."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from bailiwick.api.authentication import authenticated, provide_caller
from bailiwick.api.errors import Dialect, handler
from bailiwick.api.unstorable_text import refuse_unstorable_text


def family_router(dialect: Dialect, routes: Sequence[ControllerRouterHandler]) -> Router:
    """A Router at the origin for operations of one contract; their paths are whole."""
    render = handler(dialect)
    return Router(
        path="/",
        route_handlers=routes,
        guards=[authenticated],
        dependencies={"caller": Provide(provide_caller)},
        before_request=refuse_unstorable_text,
        exception_handlers={Exception: render, HTTPException: render},
    )
