"""A lane: one dedicated connection on which batches of one statement are written, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import asyncpg
import structlog

from bailiwick.kernel.batcher import Batcher
from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import Unavailable

if TYPE_CHECKING:  # subscripting it fails at run time
    _Connection = asyncpg.Connection[asyncpg.Record]

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_log = structlog.get_logger(__name__)
_LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection that was ended while idle says at its next use
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
_ATTEMPTS = 4
# Another transaction won; the same statement succeeds when tried again.
_TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Lane(Generic[Item, Answer]):
    """Batches items through `write(connection, items)`, which gives an answer or an exception for each.

    A lost connection is replaced. `repeatable` writes are then tried again; others fail with Unavailable, since nobody
    knows whether they were done. What lost against another transaction is tried again in any case. A batch that the
    database refuses is written item by item, so that one bad item fails alone.
    """

    def __init__(
        self,
        database: Database,
        write: Callable[[_Connection, Sequence[Item]], Awaitable[list[Answer | Exception]]],
        *,
        repeatable: bool,
        limit: int = 128,
    ) -> None:
        self._database = database
        self._write = write
        self._repeatable = repeatable
        self._connection: _Connection | None = None
        self.batcher: Batcher[Item, Answer] = Batcher(self._flush, limit=limit)

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        return self._connection

    async def _flush(self, items: Sequence[Item]) -> list[Answer | Exception]:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._write(await self._connected(), items)
            except _LOST as error:
                if isinstance(error, ValueError):  # asyncpg could not encode an argument; the connection is well
                    return await self._each(items, error)
                _log.warning("lane_connection_lost", error=type(error).__name__, items=len(items))
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                if not self._repeatable:
                    break
                await asyncio.sleep(0.05 * 4**attempt)
            except _TRANSIENT as error:
                _log.warning("lane_conflict", error=type(error).__name__, items=len(items))
                await asyncio.sleep(0.01 * attempt)
            except (asyncpg.PostgresError, ValueError) as error:
                return await self._each(items, error)
        return [Unavailable("The database is not available; please try again.")] * len(items)

    async def _each(self, items: Sequence[Item], error: Exception) -> list[Answer | Exception]:
        """Writes item by item what was refused as a batch."""
        if len(items) == 1:
            _log.error("lane_item_refused", exc_info=error)
            return [error]
        return [(await self._flush([item]))[0] for item in items]

    async def close(self) -> None:
        """Writes what is waiting, then closes the connection."""
        await self.batcher.close()
        if self._connection is not None:
            await self._connection.close()
