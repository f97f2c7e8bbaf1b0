"""Groups what concurrent callers want written into one statement.

A flush starts as soon as the previous one has returned; there is no timer. One caller alone pays one round trip; a
thousand at once share a few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from bailiwick.kernel.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_Waiting: TypeAlias = tuple[Item, "asyncio.Future[Answer]", Callable[[Answer], None] | None]


class Batcher(Generic[Item, Answer]):
    """Calls `flush(items)` with up to `limit` items at a time; each caller gets the answer of its own item.

    `flush` returns one answer for each item in order; an answer that is an exception is raised at that caller alone.
    When `flush` itself raises, every caller of that batch gets its exception.

    While items come several at a time, a flush waits until `patience` turns of the event loop have brought no more.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        limit: int = 128,
        patience: int = 0,
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._patience = patience
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._writer: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        """What the writer waits for when nothing is to be written."""
        self._idlers: list[asyncio.Future[None]] = []
        self._closed = False

    def put(self, item: Item, *, abandoned: Callable[[Answer], None] | None = None) -> asyncio.Future[Answer]:
        """Hands `item` over at once; the future becomes its answer. Whoever gives up waiting (cancels the future) does
        not stop the write; `abandoned` is then told what it answered, unless that is an exception.

        Raises Unavailable when closed.
        """
        if self._closed:
            raise Unavailable("The server is stopping.")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, abandoned))
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None
        elif self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        """Writes what is waiting, for ever: one task for each flush would cost as much as encoding it."""
        loop = asyncio.get_running_loop()
        size = 0
        while True:
            while self._waiting:
                if size > 1:
                    await self._wait_for_more()
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                size = len(batch)
                await self._write(batch)
                # Whom this flush has woken may have something for the next one: fewer, larger batches.
                await asyncio.sleep(0)
            for idler in self._idlers:
                if not idler.done():
                    idler.set_result(None)
            self._idlers.clear()
            wake = self._wake = loop.create_future()
            await wake

    async def _wait_for_more(self) -> None:
        quiet = seen = 0
        while quiet < self._patience and len(self._waiting) < self._limit:
            quiet = quiet + 1 if len(self._waiting) == seen else 0
            seen = len(self._waiting)
            await asyncio.sleep(0)

    async def _write(self, batch: list[_Waiting[Item, Answer]]) -> None:
        try:
            answers = await self._flush([item for item, _, _ in batch])
        except Exception as error:
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future, abandoned), answer in zip(batch, answers, strict=True):
            if future.done():  # its caller went away; what was written stands
                if abandoned is not None and not isinstance(answer, Exception):
                    abandoned(answer)
            elif isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def idle(self) -> None:
        """Waits until all that was handed over is written."""
        while self._writer is not None and not self._writer.done() and self._wake is None:
            idler = asyncio.get_running_loop().create_future()
            self._idlers.append(idler)
            await idler

    async def close(self) -> None:
        """Refuses new items and waits for what is waiting."""
        self._closed = True
        await self.idle()
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
