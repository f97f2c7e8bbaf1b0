"""Processes that admit, settle, refuse and sweep at once: a trace is found once, and nobody waits in a circle."""

from __future__ import annotations

import asyncio
import random

import pytest
from structlog.testing import capture_logs

from bailiwick.invocations import TraceStatus, get_trace, list_traces, sweep
from bailiwick.invocations.errors import AllowanceExhausted, HoldExpired
from bailiwick.invocations.lanes import Lane
from bailiwick.invocations.refusals import Refusal
from bailiwick.invocations.requests import Admission, Status
from bailiwick.kernel import ids
from bailiwick.kernel.database import Database
from tests.invocations.money import a_lane, a_settlement, an_admission
from tests.ledger.world import World, make_world


def _refusal(item: Admission) -> Refusal:
    """The trace of a call that is refused before it is admitted, otherwise as that of `item`."""
    return Refusal(
        id=ids.uuid7(),
        caller=item.caller,
        kind=item.kind,
        target_kind=item.target_kind,
        target_name=item.target_name,
        virtual_key_id=None,
        session_name=None,
        error_code="allowance_exhausted",
        context=None,
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_races_a_trace_is_found_once(db: Database, seed: int) -> None:
    worlds = [await make_world([50_000, 50_000], [10**9]) for _ in range(2)]
    lanes = [a_lane(db, lease_seconds=0 if number == 0 else 300) for number in range(3)]
    chooser = random.Random(seed)
    written: dict[int, list[str]] = {0: [], 1: []}
    ended = asyncio.Event()

    def an_item(place: int, amount: int) -> Admission:
        world = worlds[place]
        return an_admission(
            world.organization_id, chooser.choice(world.wallets), world.sink, amount, world.budgets, tokens=1
        )

    async def caller(lane: Lane) -> None:
        for _ in range(40):
            place = chooser.randrange(2)
            kind = chooser.random()
            item = an_item(place, 10**6 if kind < 0.2 else 5)
            if kind > 0.8:
                refusal = _refusal(item)
                await lane.refuse(refusal)
                written[place].append(ids.encode(ids.Prefix.TRACE, refusal.id))
                continue
            try:
                await lane.admit(item)
            except AllowanceExhausted:
                written[place].append(ids.encode(ids.Prefix.TRACE, item.id))
                continue
            written[place].append(ids.encode(ids.Prefix.TRACE, item.id))
            if chooser.random() < 0.8:
                try:
                    await lane.settle(a_settlement(item, chooser.choice(list(Status)), 3))
                except HoldExpired:
                    assert lane is lanes[0]

    async def sweeper() -> None:
        while not ended.is_set():
            await sweep(chooser.choice([1, 5]))
            await asyncio.sleep(0.005)

    async def reader(place: int) -> None:
        organization_id = worlds[place].organization_id
        while not ended.is_set():
            least = len(written[place])
            page = await list_traces(organization_id, limit=1000, offset=0)
            assert len({trace.id for trace in page.traces}) == len(page.traces) == page.total >= least
            if least:
                await get_trace(organization_id, chooser.choice(written[place]))
            started = await list_traces(organization_id, limit=5, offset=0, status=TraceStatus.STARTED)
            assert len(started.traces) == min(5, started.total)
            assert {trace.status for trace in started.traces} <= {TraceStatus.STARTED}

    with capture_logs() as logs:
        helpers = [asyncio.create_task(helper) for helper in (sweeper(), sweeper(), reader(0), reader(1))]
        await asyncio.gather(*(caller(lanes[number % 3]) for number in range(18)))
        ended.set()
        await asyncio.gather(*helpers)
    for lane in lanes:
        await lane.close()
    assert logs == []  # a lane tells of every conflict
    for place, world in enumerate(worlds):
        await _assert_all_are_there(world, written[place])


async def test_calls_refused_at_admission_and_before_never_wait_for_each_other(db: Database) -> None:
    worlds = [await make_world([1], []) for _ in range(3)]
    lanes = [a_lane(db) for _ in range(4)]

    async def caller(lane: Lane, chooser: random.Random) -> None:
        def too_dear() -> Admission:
            world = chooser.choice(worlds)
            return an_admission(world.organization_id, world.wallets[0], world.sink, 10)

        for _ in range(40):
            told = await asyncio.gather(
                *(lane.admit(too_dear()) for _ in range(chooser.choice([1, 2]))),
                *(lane.refuse(_refusal(too_dear())) for _ in range(chooser.choice([1, 2]))),
                return_exceptions=True,
            )
            assert all(answer is None or isinstance(answer, AllowanceExhausted) for answer in told), told

    with capture_logs() as logs:
        await asyncio.gather(*(caller(lane, random.Random(number)) for number, lane in enumerate(lanes)))
    for lane in lanes:
        await lane.close()
    assert logs == []


async def _assert_all_are_there(world: World, written: list[str]) -> None:
    found = await list_traces(world.organization_id, limit=5000, offset=0)
    assert sorted(ids.encode(ids.Prefix.TRACE, trace.id) for trace in found.traces) == sorted(written)
    totals = [
        (await list_traces(world.organization_id, limit=1, offset=0, status=status)).total for status in TraceStatus
    ]
    assert sum(totals) == found.total
