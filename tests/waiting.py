"""Waiting for what must happen: for the thing itself, never for a time in which it mostly has happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_SECONDS = 120
"""How long a test waits before it fails. Far longer than anything takes, as the machine may have other things to do."""
_PAUSE_SECONDS = 0.02


def until(condition: Callable[[], Any]) -> Any:
    """Waits for something to become true; what it became."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(_PAUSE_SECONDS)
    return found


async def until_async(condition: Callable[[], Awaitable[Any]]) -> Any:
    """The same of what has to be awaited; what runs on this loop goes on meanwhile."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await condition()):  # noqa: ASYNC110 - whoever makes it true does not tell
            await asyncio.sleep(_PAUSE_SECONDS)
        return found


async def happens(event: asyncio.Event) -> None:
    """Waits for an event."""
    await asyncio.wait_for(event.wait(), PATIENCE_SECONDS)
