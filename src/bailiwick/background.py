"""The background worker: what runs on a clock rather than for a caller. Any number of them share the work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from bailiwick import invocations
from bailiwick.app import database_url
from bailiwick.kernel import runtime, telemetry
from bailiwick.kernel.maintenance import maintain
from bailiwick.settings import Settings

_log = structlog.get_logger(__name__)


async def _every(seconds: float, name: str, job: Callable[[], Awaitable[object]]) -> None:
    """Runs `job` over and over; a failure is logged and the next run comes all the same."""
    while True:
        try:
            await job()
        except Exception as error:
            _log.error("background_job_failed", job=name, exc_info=error)
        await asyncio.sleep(seconds)


async def _run(settings: Settings) -> None:
    telemetry.set_up_logs(settings)
    started = runtime.start(settings, database_url(settings))
    started.listener.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    jobs = [
        asyncio.create_task(_every(settings.sweep_interval_seconds, "sweep", invocations.sweep)),
        asyncio.create_task(_every(3600, "maintenance", maintain)),
    ]
    try:
        await stop.wait()
    finally:
        for job in jobs:
            job.cancel()
        for job in jobs:
            with contextlib.suppress(asyncio.CancelledError):
                await job
        await runtime.stop()


def run(settings: Settings) -> None:
    """Runs until SIGTERM or Ctrl-C."""
    uvloop.run(_run(settings))
