"""Cutting a call short from outside its own task, wherever it waits, so that it ends as with any other failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator

from bailiwick.kernel.errors import BailiwickError


class Cuttable:
    """Where a call may be cut: within a `section`, or while its reader has its turn, who may never come back."""

    def __init__(self) -> None:
        self.reason: BailiwickError | None = None
        """What it was cut with."""
        self._task: asyncio.Task[object] | None = None
        self._end: Callable[[], Coroutine[object, object, None]] | None = None
        self._ending: asyncio.Task[None] | None = None

    def cut(self, reason: BailiwickError) -> None:
        """Ends the running section with `reason`, and every later one before it begins. The first cut counts."""
        if self.reason is not None:
            return
        self.reason = reason
        if self._task is not None:
            self._task.cancel()
        elif self._end is not None:
            self._ending = asyncio.create_task(self._end())

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """Raises the reason of a cut; a cancellation by someone else, which came as well, goes first.

        The two are told apart as `asyncio.timeout` does it: by the count of the task's cancellations.
        """
        self._check()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be cut")
        before = task.cancelling()
        self._task = task
        try:
            yield
        except BaseException:
            if self.reason is not None and task.uncancel() <= before:
                raise self.reason from None
            raise
        else:
            if self.reason is not None:
                task.uncancel()
            self._check()
        finally:
            self._task = None

    def _check(self) -> None:
        if self.reason is not None:
            raise self.reason

    def between_sections(self, end: Callable[[], Coroutine[object, object, None]] | None) -> None:
        """What a cut between two sections does at once; None: such a cut waits for the next section."""
        self._end = end

    async def waited(self) -> bool:
        """Waits for what a cut between two sections does; whether there was one."""
        if self._ending is None:
            return False
        await asyncio.wait((self._ending,))
        return True

    async def ended(self) -> bool:
        """Whether a cut between two sections has ended the call, which no later cut does. Raises what that raised."""
        self._end = None
        if not await self.waited() or self._ending is None:
            return False
        self._ending.result()
        return True
