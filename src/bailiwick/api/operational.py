"""Routes for operators and browsers: `/health`, `/ready`, `/metrics`, `/openapi.json`, `/docs`, `/`."""

from __future__ import annotations

import os
from typing import Any

from litestar import MediaType, Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from sqlalchemy import text

from bailiwick import __version__
from bailiwick.api.openapi import document
from bailiwick.api.pages import documentation_page, landing_page
from bailiwick.kernel import crypto
from bailiwick.kernel.errors import Unauthenticated, Unavailable
from bailiwick.kernel.runtime import runtime


@get("/health", operation_id="network_health", sync_to_thread=False)
def health() -> dict[str, str]:
    """Whether this process answers; it asks nothing else."""
    return {"status": "healthy", "version": __version__}


@get("/ready")
async def ready() -> dict[str, str]:
    """Whether this process can do its work: database and notifications. 503 when not."""
    current = runtime()
    if not current.listener.ready.is_set():
        raise Unavailable("Notifications are not being heard.")
    try:
        async with current.database.engine.connect() as connection:
            await connection.execute(text("select 1"))
    except Exception:
        raise Unavailable("The database does not answer.") from None
    return {"status": "ready"}


@get("/metrics", sync_to_thread=True)
def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Prometheus metrics of all server processes."""
    token = runtime().settings.metrics_token
    if token is not None and not crypto.same(
        request.headers.get("authorization", ""), f"Bearer {token.get_secret_value()}"
    ):
        raise Unauthenticated
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@get("/openapi.json", sync_to_thread=True)
def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The OpenAPI document of what this server serves."""
    return document(request.app)


@get("/docs", media_type=MediaType.HTML, sync_to_thread=True)
def documentation(request: Request[Any, Any, Any]) -> Response[str]:
    """The operations of this server, for people."""
    return documentation_page(document(request.app))


@get("/", media_type=MediaType.HTML, sync_to_thread=False)
def landing() -> Response[str]:
    """What this is, and where to go."""
    return landing_page(runtime().settings.base_url)


ROUTES = [health, ready, metrics, openapi, documentation, landing]
