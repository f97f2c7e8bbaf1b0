"""The composition root: builds the application, and is the only place that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from typing import Any

import structlog
from litestar import Litestar
from litestar.types import Receive, Scope, Send

from bailiwick import dlp, identity
from bailiwick.api import build_api
from bailiwick.api.control.agent import run_agent
from bailiwick.api.gateway.model_calls import ENDPOINTS, call_model
from bailiwick.invocations import (
    AgentRuns,
    AnswerCache,
    ModelCalls,
    ModelList,
    ModelTermsCache,
    Pipeline,
    TermsCache,
    Upstreams,
    models_of,
    open_upstreams,
)
from bailiwick.kernel import runtime, telemetry
from bailiwick.kernel.errors import Misconfigured
from bailiwick.kernel.runtime import Runtime
from bailiwick.settings import Settings, settings

_log = structlog.get_logger(__name__)


def database_url(configured: Settings) -> str:
    """The database's URL: as configured, else of the embedded server, which the process that serves has started."""
    if configured.database_url is not None:
        return configured.database_url.get_secret_value()
    return (configured.data_dir / "database.url").read_text().strip()


class Application:
    """The ASGI application: the busiest routes themselves, everything else by the web framework. Raises
    Misconfigured."""

    def __init__(self, configured: Settings) -> None:
        self._settings = configured
        self._models = _models(configured)
        self._agent_runs: AgentRuns | None = None
        self._model_calls: ModelCalls | None = None
        self._cannot_start: str | None = None
        self._api: Litestar = build_api(configured, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _api: Litestar) -> AsyncIterator[None]:
        telemetry.set_up_logs(self._settings)
        traces = telemetry.set_up_traces(self._settings)
        started = runtime.start(self._settings, database_url(self._settings))
        # The operator's own model servers may be private; what the guard is for is addresses that callers name.
        outbound = started.outbound.allowing(self._models.base_urls())
        upstreams = open_upstreams(self._models, outbound, self._settings)
        pipeline = Pipeline(
            started.database, lease_seconds=self._settings.hold_lease_seconds, is_alone=self._settings.workers == 1
        )
        self._agent_runs = _build_agent_runs(self._settings, started, pipeline, upstreams)
        answers = AnswerCache()
        self._model_calls = _build_model_calls(started, pipeline, upstreams, answers)
        started.listener.subscribe("kill_switch", pipeline.kill_switches.hear)
        started.listener.start()
        async with asyncio.timeout(30):
            await started.listener.ready.wait()
        try:
            await identity.start()
        except Misconfigured as error:
            self._cannot_start = str(error)
            raise
        await asyncio.to_thread(dlp.warm_up)
        leases = asyncio.create_task(pipeline.keep_leases())
        # What stands now stays: left out of collections, they are rarer and short.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        _log.info("started", pid=os.getpid())
        try:
            yield
        finally:
            if not await pipeline.drain(self._settings.shutdown_seconds):
                _log.warning("stopped_with_invocations_in_flight")
            leases.cancel()
            await pipeline.close()
            await answers.close()
            await outbound.close()
            await identity.mails_under_way()
            await runtime.stop()
            if traces is not None:
                traces.shutdown()
            _log.info("stopped", pid=os.getpid())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # HEAD is GET without the content, which the server leaves out (RFC 9110 §9.3.2).
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}  # type: ignore[assignment]  # a copy: the server still needs to know
        path = scope.get("path", "")  # a lifespan scope has none
        if path == "/api/v1/agent/run" and self._agent_runs is not None:
            await run_agent(self._agent_runs, scope, receive, send)
        elif (endpoint := ENDPOINTS.get(path)) is not None and self._model_calls is not None:
            await call_model(endpoint, self._model_calls, scope, receive, send)
        elif not path:
            await self._api(scope, receive, self._plainly(send))
        else:
            await self._api(scope, receive, send)

    def _plainly(self, send: Send) -> Send:
        """Tells the server why a start failed without the traceback, where an operator can put it right."""

        async def sent(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed" and self._cannot_start is not None:
                message = {**message, "message": f"bailiwick: {self._cannot_start}"}
            await send(message)

        return sent


def _models(configured: Settings) -> ModelList:
    """The models to call. Raises Misconfigured."""
    models, hosted = models_of(configured.models), configured.hosted_agents_model
    if hosted and not models.find(hosted):
        raise Misconfigured(f"BAILIWICK_HOSTED_AGENTS_MODEL: {hosted!r} is not in the model list (BAILIWICK_MODELS)")
    return models


def _build_model_calls(started: Runtime, pipeline: Pipeline, upstreams: Upstreams, answers: AnswerCache) -> ModelCalls:
    terms = ModelTermsCache()
    started.listener.subscribe("organization", terms.drop)
    return ModelCalls(pipeline=pipeline, upstreams=upstreams, terms=terms, cache=answers)


def _build_agent_runs(configured: Settings, started: Runtime, pipeline: Pipeline, upstreams: Upstreams) -> AgentRuns:
    model = configured.hosted_agents_model
    terms = TermsCache()
    started.listener.subscribe("organization", terms.drop)
    return AgentRuns(
        pipeline=pipeline,
        terms=terms,
        upstreams=upstreams,
        model=model or None,
        price_micros=configured.hosted_run_price_micros,
    )


def create_app() -> Application:
    """The application, for a server process; its settings come from the environment."""
    return Application(settings())
