"""The web application: every family's routers, the operational routes, limits and defaults."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from bailiwick import __version__
from bailiwick.api import control, gateway, operational
from bailiwick.api.errors import GOVERNANCE, handler
from bailiwick.settings import Settings


def build_api(settings: Settings, *, lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> Litestar:
    """The Litestar application without the busiest routes, which stand in front of it (`app.py`)."""
    return Litestar(
        route_handlers=[*control.routers(), *gateway.routers(), *operational.ROUTES],
        exception_handlers={Exception: handler(GOVERNANCE)},
        lifespan=[lifespan],
        request_max_body_size=settings.max_body_bytes,
        # Only its schema generator is used (`openapi.py`); what is served is the document at /openapi.json.
        openapi_config=OpenAPIConfig(
            title="Bailiwick",
            version=__version__,
            path="/openapi-own",
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
        logging_config=None,
        debug=False,
    )
