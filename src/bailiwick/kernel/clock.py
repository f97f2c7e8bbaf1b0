"""The clock: one place that tells the time, and its one text form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime, *, timespec: Literal["milliseconds", "seconds"] = "milliseconds") -> str:
    """RFC 3339 in UTC with milliseconds and ``Z``: ``2026-05-12T14:22:00.000Z``; ``timespec`` cuts it to seconds."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec=timespec)[:-6]}Z"
