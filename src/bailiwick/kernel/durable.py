"""Durable work and schedules: DBOS on the installation's own database, in its schema `dbos`.

Started in worker processes, within their event loop, on which the workflows then run. Any number of workers share the
schedules: a tick is one row, made once and taken by one of them. The record of a finished workflow is kept for a day.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import psycopg
from dbos import DBOS, ScheduleInput

from bailiwick.kernel.clock import now, rfc3339

_KEPT = timedelta(days=1)
_BATCH = 1_000
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


async def start(database_url: str, schedules: Sequence[ScheduleInput]) -> None:
    """Start DBOS in this process, migrate its schema if need be, take up what an earlier process left, and set the
    schedules. Workflows must have been imported by then. `database_url` is of a role that may create the schema."""
    DBOS(
        config={
            "name": "bailiwick",
            "system_database_url": database_url,
            "sys_db_pool_size": 4,
            # DBOS always has a transaction open, for a lock. A statement whose parameters go apart from it stays open
            # as long, snapshot and all, and no other session could clear away what it has outdated meanwhile: the few
            # rows that every invocation updates would be looked for among thousands of their old versions.
            "db_engine_kwargs": {
                "connect_args": {"application_name": "bailiwick_dbos", "cursor_factory": psycopg.ClientCursor}
            },
            # A worker that starts again on the same machine finishes what it had begun.
            "executor_id": platform.node() or "worker",
            "console_log_level": "WARNING",
            "log_level": "WARNING",
            "scheduler_polling_interval_sec": 5.0,
        }
    )
    # Here and not in a thread: DBOS runs workflows on the loop that it is launched in.
    DBOS.launch()
    await DBOS.apply_schedules_async(list(schedules))


async def stop(*, within_seconds: int = 10) -> None:
    """Stop taking work, give what runs some time, and close. What does not finish is taken up by the next start."""
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
    try:
        await loop.run_in_executor(threads, partial(DBOS.destroy, workflow_completion_timeout_sec=within_seconds))
    finally:
        # DBOS had put its own threads in the place of the loop's; they are closed now, and what the process still has
        # to end may need some.
        loop.set_default_executor(threads)


async def forget_finished(older_than: timedelta = _KEPT) -> int:
    """Remove the records of workflows that ended so long ago; answers how many. Safe to run anywhere, any time."""
    removed = 0
    while True:
        ended = await DBOS.list_workflows_async(
            status=_ENDED,
            completed_before=rfc3339(now() - older_than),
            limit=_BATCH,
            load_input=False,
            load_output=False,
        )
        if ended:
            await DBOS.delete_workflows_async([workflow.workflow_id for workflow in ended])
        removed += len(ended)
        if len(ended) < _BATCH:
            return removed
