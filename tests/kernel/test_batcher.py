"""Batches: what comes together is written together, in turns that lose nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bailiwick.kernel.batcher import Batcher
from bailiwick.kernel.errors import Unavailable
from tests.waiting import PATIENCE_SECONDS


class Written:
    """Answers twice each number, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def flush(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.gate.wait()
        if 13 in items:
            raise RuntimeError("no such luck")
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def late(batcher: Batcher[int, int], item: int, turns: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return await batcher.put(item)


async def test_what_comes_while_one_is_written_is_written_together() -> None:
    written = Written()
    batcher = Batcher(written.flush, limit=3)
    written.gate.clear()
    answers = [batcher.put(1)]
    await asyncio.sleep(0.01)
    answers += [batcher.put(number) for number in range(2, 7)]
    written.gate.set()
    assert await asyncio.gather(*answers) == [2, 4, 6, 8, 10, 12]
    assert written.batches == [[1], [2, 3, 4], [5, 6]]
    await batcher.close()


async def test_a_batch_waits_for_what_is_on_its_way_when_told_to() -> None:
    for patience, expected in ((0, 1), (2, 3)):
        written = Written()
        batcher = Batcher(written.flush, patience=patience)
        await asyncio.gather(batcher.put(0), batcher.put(0))
        await asyncio.gather(*(late(batcher, number, number * 2) for number in range(3)))
        assert len(written.batches[1]) == expected
        await batcher.close()


async def test_one_alone_does_not_wait() -> None:
    written = Written()
    batcher = Batcher(written.flush, patience=1_000_000)
    for number in range(3):
        assert await asyncio.wait_for(batcher.put(number), PATIENCE_SECONDS) == number * 2
    await batcher.close()


async def test_each_caller_gets_its_own_error_or_that_of_its_batch() -> None:
    batcher = Batcher(Written().flush)
    answers = await asyncio.gather(batcher.put(1), batcher.put(-1), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    answers = await asyncio.gather(batcher.put(1), batcher.put(13), return_exceptions=True)
    assert all(isinstance(answer, RuntimeError) for answer in answers)
    assert await batcher.put(2) == 4
    await batcher.close()


async def test_who_gives_up_is_written_all_the_same_and_told() -> None:
    written, told = Written(), list[int]()
    batcher = Batcher(written.flush)
    written.gate.clear()
    given_up = batcher.put(21, abandoned=told.append)
    await asyncio.sleep(0.01)
    given_up.cancel()
    written.gate.set()
    await batcher.idle()
    assert told == [42]
    await batcher.close()


async def test_closing_writes_what_is_waiting_and_takes_nothing_more() -> None:
    written = Written()
    batcher = Batcher(written.flush)
    answers = [batcher.put(number) for number in range(3)]
    await batcher.close()
    assert [answer.result() for answer in answers] == [0, 2, 4]
    with pytest.raises(Unavailable):
        batcher.put(1)


async def test_idle_returns_at_once_when_nothing_was_ever_written() -> None:
    batcher = Batcher(Written().flush)
    await asyncio.wait_for(batcher.idle(), PATIENCE_SECONDS)
    await batcher.close()
