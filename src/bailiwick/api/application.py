"""The web application: every family's routers, the operational routes, limits and defaults."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar, Response
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from bailiwick import __version__
from bailiwick.api import control, gateway, operational
from bailiwick.api.errors import GOVERNANCE, AnyRequest, handler
from bailiwick.api.gateway.provider_errors import PROVIDER
from bailiwick.settings import Settings

_of_control, _of_gateway = handler(GOVERNANCE), handler(PROVIDER)


def _outside_routes(request: AnyRequest, error: Exception) -> Response[dict[str, object]]:
    """What reaches no family's Router, an unknown address above all: the beginning of its path tells whose it is."""
    render = _of_gateway if request.url.path.startswith("/v1/") else _of_control
    return render(request, error)


def build_api(settings: Settings, *, lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> Litestar:
    """The Litestar application without the busiest routes, which stand in front of it (`app.py`)."""
    return Litestar(
        route_handlers=[*control.routers(), *gateway.routers(), *operational.ROUTES],
        exception_handlers={Exception: _outside_routes},
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
