"""The schedule by which log sources are fetched, as a DBOS workflow; imported by worker processes only.

A tick fetches what is due then. When a source is due is its own row's matter (`fetching.py`), so a tick that is missed,
doubled or overlaps the next does no harm.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dbos import DBOS, ScheduleInput

from bailiwick.logsources.connectors import connectors
from bailiwick.logsources.fetching import fetch_due

_MINUTE = 60


@DBOS.step(name="log_sources.fetch_due")
async def _fetch_due() -> int:
    return await fetch_due(connectors())


@DBOS.workflow(name="log_sources.fetch")
async def fetch_log_sources(scheduled_at: datetime, context: Any) -> None:
    """One tick."""
    del scheduled_at, context
    await _fetch_due()


def schedule(interval_seconds: int) -> ScheduleInput:
    """Every minute, or oftener when sources are to be fetched oftener."""
    every = min(interval_seconds, _MINUTE)
    cron = "0 * * * * *" if every == _MINUTE else f"*/{every} * * * * *"
    return {"schedule_name": "log_sources.fetch", "workflow_fn": fetch_log_sources, "schedule": cron, "context": None}
