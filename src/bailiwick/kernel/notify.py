"""Changes that other processes must hear of at once: LISTEN and NOTIFY on one channel.

A payload is `<topic>:<argument>`. Notifications are sent in the transaction of the change, so that they arrive after
it is visible. A lost connection is replaced, and every subscriber is told (`None`), since it may have missed some.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.database import Database

CHANNEL = "bailiwick"
_log = structlog.get_logger(__name__)


async def notify(session: AsyncSession, topic: str, argument: str) -> None:
    """Tells every process that `topic` changed for `argument`, once this transaction commits."""
    await session.execute(
        text("select pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": f"{topic}:{argument}"}
    )


class Listener:
    """Hears notifications on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscribers: dict[str, list[Callable[[str | None], None]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    def subscribe(self, topic: str, callback: Callable[[str | None], None]) -> None:
        """Calls `callback(argument)` at each notification, and `callback(None)` after a gap."""
        self._subscribers[topic].append(callback)

    def start(self) -> None:
        """Begins to listen."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        topic, _, argument = str(payload).partition(":")
        for callback in self._subscribers[topic]:
            callback(argument)

    async def _run(self) -> None:
        delay = 0.1
        while True:
            connection: asyncpg.Connection[asyncpg.Record] | None = None
            try:
                connection = await self._database.connect()
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _c, lost=lost: lost.set())
                await connection.add_listener(CHANNEL, self._heard)
                for callbacks in self._subscribers.values():
                    for callback in callbacks:
                        callback(None)
                self.ready.set()
                delay = 0.1
                await lost.wait()
            except (OSError, asyncpg.PostgresError) as error:
                _log.warning("listen_connection_lost", error=type(error).__name__)
            finally:
                self.ready.clear()
                if connection is not None and not connection.is_closed():
                    connection.terminate()
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)
