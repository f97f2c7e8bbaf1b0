"""The lane: one dedicated connection on which a process writes its admissions, settlements and refusals.

What waits at the same moment is written in one transaction: it is made durable once, and the rows of an organisation's
money, which every call of it changes, are waited for once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import asyncpg
import structlog

from bailiwick.invocations.batches import Answer, Item, write
from bailiwick.invocations.refusals import Refusal
from bailiwick.invocations.requests import Admission, Admitted, Settlement
from bailiwick.kernel.batcher import Batcher
from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import Unavailable

if TYPE_CHECKING:  # subscripting it fails at run time
    _Connection = asyncpg.Connection[asyncpg.Record]

_log = structlog.get_logger(__name__)
_SETTINGS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}
"""How its statements are planned: once, as look-ups by key, whatever the tables held when they were first planned."""
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


class Lane:
    """Batches admissions, settlements and refusals.

    A lost connection is replaced. What finds whether it was written before is then written again; admissions fail with
    Unavailable, since nobody knows. What lost against another transaction is tried again in any
    case. A batch that the database refuses is written item by item, so that one bad item fails alone.
    """

    def __init__(self, database: Database, *, lease_seconds: int, limit: int = 128, patience: int = 0) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._connection: _Connection | None = None
        self._batcher: Batcher[Item, Answer] = Batcher(self._flush, limit=limit, patience=patience)
        self._admits = True

    def admit(
        self, item: Admission, *, abandoned: Callable[[Admitted], None] | None = None
    ) -> asyncio.Future[Admitted]:
        """Hands an admission over at once; the future becomes its answer, or raises what `admission.answer` lists or
        Unavailable. Whoever gives up waiting (cancels it) does not stop it; `abandoned` is then told that it is
        admitted all the same. Raises Unavailable when no more are taken.
        """
        if not self._admits:
            raise Unavailable("The server is stopping.")
        told = cast("Callable[[Answer], None] | None", abandoned)
        return cast("asyncio.Future[Admitted]", self._batcher.put(item, abandoned=told))

    def settle(self, item: Settlement) -> asyncio.Future[None]:
        """The same for a settlement; the future is done when it is on disk, or raises HoldExpired or Unavailable."""
        return cast("asyncio.Future[None]", self._batcher.put(item))

    def refuse(self, item: Refusal) -> asyncio.Future[None]:
        """The same for the trace of a refused call; the future may raise Unavailable."""
        return cast("asyncio.Future[None]", self._batcher.put(item))

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(_SETTINGS)
        return self._connection

    async def _flush(self, items: Sequence[Item]) -> list[Answer | Exception]:
        for attempt in range(_ATTEMPTS):
            try:
                return await write(await self._connected(), items, lease_seconds=self._lease_seconds)
            except _LOST as error:
                if isinstance(error, ValueError):  # asyncpg could not encode an argument; the connection is well
                    return await self._each(items, error)
                _log.warning("lane_connection_lost", error=type(error).__name__, items=len(items))
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                again = [item for item in items if not isinstance(item, Admission)]
                if len(again) < len(items):
                    written = iter(await self._flush(again)) if again else iter(())
                    return [_unavailable() if isinstance(item, Admission) else next(written) for item in items]
                await asyncio.sleep(0.05 * 4**attempt)
            except _TRANSIENT as error:
                _log.warning("lane_conflict", error=type(error).__name__, items=len(items))
                await asyncio.sleep(0.01 * attempt)
            except (asyncpg.PostgresError, ValueError) as error:
                return await self._each(items, error)
        return [_unavailable() for _ in items]

    async def _each(self, items: Sequence[Item], error: Exception) -> list[Answer | Exception]:
        """Writes item by item what was refused as a batch."""
        if len(items) == 1:
            _log.error("lane_item_refused", exc_info=error)
            return [error]
        return [(await self._flush([item]))[0] for item in items]

    def refuse_admissions(self) -> None:
        """Takes no more admissions; settlements and refusals still."""
        self._admits = False

    async def idle(self) -> None:
        """Waits until all that was handed over is written."""
        await self._batcher.idle()

    async def close(self) -> None:
        """Writes what is waiting, then closes the connection."""
        self._admits = False
        await self._batcher.close()
        if self._connection is not None:
            await self._connection.close()


def _unavailable() -> Unavailable:
    return Unavailable("The database is not available; please try again.")
