"""The background worker: what runs on a clock rather than for a caller. Any number of them share the work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from bailiwick import audit, billing, identity, invocations
from bailiwick.app import database_url
from bailiwick.kernel import durable, runtime, telemetry
from bailiwick.kernel.maintenance import maintain
from bailiwick.logsources.schedule import schedule as log_source_schedule
from bailiwick.settings import Settings

_MAIL_SECONDS = 10
_UPKEEP_SECONDS = 60
_HOUR = 3600
_log = structlog.get_logger(__name__)


async def _every(seconds: float, job: Callable[[], Awaitable[object]]) -> None:
    """Runs `job` over and over; a failure is logged and the next run comes all the same."""
    while True:
        try:
            await job()
        except Exception as error:
            _log.error("background_job_failed", job=job.__qualname__, exc_info=error)
        await asyncio.sleep(seconds)


async def _run(settings: Settings) -> None:
    telemetry.set_up_logs(settings)
    url = database_url(settings)
    started = runtime.start(settings, url)
    started.listener.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await durable.start(url, [log_source_schedule(settings.log_source_interval_seconds)])
    clock = (
        (settings.sweep_interval_seconds, invocations.sweep),
        (settings.audit_checkpoint_seconds, audit.make_due_checkpoints),
        (_MAIL_SECONDS, identity.deliver_mails),
        (_UPKEEP_SECONDS, billing.upkeep),
        (_UPKEEP_SECONDS, invocations.forget_expired_answers),
        (_HOUR, identity.delete_expired),
        (_HOUR, maintain),
        (_HOUR, durable.forget_finished),
    )
    jobs = [asyncio.create_task(_every(seconds, job)) for seconds, job in clock]
    try:
        await stop.wait()
    finally:
        for job in jobs:
            job.cancel()
        for job in jobs:
            with contextlib.suppress(asyncio.CancelledError):
                await job
        await durable.stop()
        await runtime.stop()


def run(settings: Settings) -> None:
    """Runs until SIGTERM or Ctrl-C."""
    uvloop.run(_run(settings))
