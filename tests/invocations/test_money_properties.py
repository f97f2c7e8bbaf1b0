"""Batched admission and settlement: nothing overspent, nothing leaked, nobody refused who had the money."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bailiwick import audit, ledger
from bailiwick.invocations import sweep
from bailiwick.invocations.batches import Item, write
from bailiwick.invocations.errors import AllowanceExhausted, HoldExpired
from bailiwick.invocations.requests import Admission, Admitted, Status
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.errors import Unavailable
from tests.invocations.money import LEASE_SECONDS, a_lane, a_settlement, an_admission
from tests.invocations.money_worker import AMOUNT, CALLERS
from tests.ledger.model import Model
from tests.ledger.world import WITH_REAL_BOOKS, World, make_world
from tests.waiting import until_async

NO_GRACE = timedelta(0)


def item_of(world: World, amount: int, *, wallet: int = 0, budgets: tuple[int, ...] = ()) -> Admission:
    """One item on a wallet of the world."""
    chosen = [world.budgets[one] for one in budgets]
    return an_admission(world.organization_id, world.wallets[wallet], world.sink, amount, chosen)


async def admitted(db: Database, items: list[Admission], *, lease_seconds: int = LEASE_SECONDS) -> list[bool]:
    """Which items of one batch are let in."""
    async with contextlib.AsyncExitStack() as stack:
        connection = await db.connect()
        stack.push_async_callback(connection.close)
        results = await write(connection, items, lease_seconds=lease_seconds)
    assert all(isinstance(result, Admitted | AllowanceExhausted) for result in results), results
    return [isinstance(result, Admitted) for result in results]


async def settled(db: Database, items: list[tuple[Admission, Status, int]]) -> list[bool]:
    """Which items (admission, end, cost) of one batch are settled by it; the others were before, or gave up."""
    if not items:
        return []
    async with contextlib.AsyncExitStack() as stack:
        connection = await db.connect()
        stack.push_async_callback(connection.close)
        results = await write(connection, [a_settlement(*item) for item in items], lease_seconds=LEASE_SECONDS)
    assert all(result is None or isinstance(result, HoldExpired) for result in results), results
    return [result is None for result in results]


async def assert_books_are_right(world: World) -> None:
    """The checker finds nothing and the audit log holds together."""
    report = await ledger.check(grace=NO_GRACE)
    assert report.clean, report.problems
    await audit.verify_stored_log(world.organization_id)


async def test_who_does_not_fit_stands_in_nobodys_way(db: Database) -> None:
    world = await make_world([100], [])
    assert await admitted(db, [item_of(world, amount) for amount in (40, 70, 30, 50, 30, 1)]) == [
        *(True, False, True, False, True, False)
    ]
    assert (await world.amounts())[0] == [(100, 100)]
    await assert_books_are_right(world)


async def test_a_full_budget_refuses_its_own_only(db: Database) -> None:
    world = await make_world([1000, 1000], [50, 2])
    wanted = [(30, (0,)), (30, (0,)), (20, (0, 1)), (5, (1,)), (5, (1,)), (500, ())]
    items = [item_of(world, amount, budgets=budgets) for amount, budgets in wanted]
    assert await admitted(db, items) == [True, False, True, True, False, True]
    _, budgets, _ = await world.amounts()
    assert budgets == [(0, 50), (0, 2)]
    await assert_books_are_right(world)


async def test_an_admission_tells_what_its_narrowest_budget_of_money_has_left(db: Database) -> None:
    world = await make_world([9000], [1000, 9, 300])  # the second counts runs
    connection = await db.connect()

    async def tell(*wanted: tuple[int, tuple[int, ...]]) -> list[object]:
        items = [item_of(world, amount, budgets=budgets) for amount, budgets in wanted]
        return list(await write(connection, items, lease_seconds=LEASE_SECONDS))

    # A batch tells what it leaves as a whole.
    assert await tell((100, (0, 1)), (50, (0, 1, 2)), (7, (1,)), (3, ())) == [
        Admitted(850, 1000),
        Admitted(250, 300),
        Admitted(None, None),
        Admitted(None, None),
    ]
    one, refused, two = await tell((250, (2,)), (1, (0, 2)), (50, (0,)))
    assert (one, two) == (Admitted(0, 300), Admitted(800, 1000))
    assert isinstance(refused, AllowanceExhausted)
    await connection.close()


class Step(NamedTuple):
    """One batch: what is settled (which, status, cost), then what is admitted (wallet, amount, budgets)."""

    settled: list[tuple[int, Status, int]]
    wanted: list[tuple[int, int, set[int]]]


STEPS = st.builds(
    Step,
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(Status), st.integers(0, 70)), max_size=6),
    # Of one payer and of several, with and without budgets in common: they are written in different ways.
    st.integers(0, 1).flatmap(
        lambda last: st.lists(
            st.tuples(st.integers(0, last), st.integers(0, 60), st.sets(st.integers(0, 1))), max_size=8
        )
    ),
)


@WITH_REAL_BOOKS
@given(steps=st.lists(STEPS, min_size=1, max_size=6))
async def test_batches_do_what_the_predictor_says_item_by_item(db: Database, steps: list[Step]) -> None:
    balances, limits = [150, 60], [140, 9]
    world, model = await make_world(balances, limits), Model.of(balances, limits)
    known: list[Admission] = []
    connection = await db.connect()
    for step in steps:
        chosen = [(known[which % len(known)], status, cost) for which, status, cost in step.settled if known]
        items = [
            item_of(world, amount, wallet=wallet, budgets=tuple(sorted(budgets)))
            for wallet, amount, budgets in step.wanted
        ]
        if not chosen and not items:
            continue
        told = await write(connection, [*items, *(a_settlement(*one) for one in chosen)], lease_seconds=LEASE_SECONDS)
        for (item, status, cost), done in zip(chosen, told[len(items) :], strict=True):
            hold = model.holds[item.id]
            assert (done is None) == (hold.state == "open")
            if done is None:
                posts = cost > 0 or status is Status.COMPLETED
                model.close(item.id, "posted" if posts else "voided", min(cost, hold.amount))
                if posts and status is not Status.COMPLETED and 1 in hold.budgets:
                    model.spent[1] -= 1  # only a completed run counts as one
        for item, (wallet, amount, wanted), answer in zip(items, step.wanted, told, strict=False):
            is_in = model.place(item.id, wallet, amount, tuple(sorted(wanted))) == "ok"
            assert isinstance(answer, Admitted if is_in else AllowanceExhausted), answer
            if is_in:
                known.append(item)
    await connection.close()
    wallets, budgets, sink = await world.amounts()
    assert wallets == list(zip(model.balances, model.held, strict=True))
    assert budgets == list(zip(model.spent, model.reserved, strict=True))
    assert sink == model.sink
    await assert_books_are_right(world)


async def start_worker(what: str, database_url: str, world: World) -> asyncio.subprocess.Process:
    """A worker process that is ready and waits for a line."""
    ids = (world.organization_id, world.wallets[0], world.sink, *world.budgets)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.invocations.money_worker", what, database_url),
        *(str(one) for one in ids),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"ready\n"
    return worker


def go(worker: asyncio.subprocess.Process) -> None:
    """Starts a worker that waits."""
    assert worker.stdin is not None
    worker.stdin.write(b"go\n")


@pytest.mark.parametrize("scarce", ["wallet", "money budget", "runs budget"])
async def test_two_processes_race_and_exactly_those_win_for_whom_it_suffices(
    db: Database, database_url: str, scarce: str
) -> None:
    winners, plenty = 53, 10_000
    assert CALLERS < winners < 2 * CALLERS
    enough = winners * AMOUNT + AMOUNT - 1
    world = await make_world(
        [enough if scarce == "wallet" else plenty],
        [enough if scarce == "money budget" else plenty, winners if scarce == "runs budget" else plenty],
    )
    workers = await asyncio.gather(*(start_worker("race", database_url, world) for _ in range(2)))
    for worker in workers:
        go(worker)
    told = [output for output, _ in await asyncio.gather(*(worker.communicate() for worker in workers))]
    assert sum(int(output) for output in told) == winners
    assert (await world.amounts())[0][0][1] == winners * AMOUNT
    await assert_books_are_right(world)


async def work_until_killed(worker: asyncio.subprocess.Process, settled: int) -> dict[UUID, int]:
    """Kills a worker once it has told of `settled` settlements; those that it told of."""
    assert worker.stdout is not None
    told = {}
    async for line in worker.stdout:
        if not line.endswith(b"\n"):
            break
        hold_id, cost = line.split()
        told[UUID(hold_id.decode())] = int(cost)
        if len(told) == settled:
            worker.kill()
    assert await worker.wait() == -9
    return told


async def sweep_until_nothing_is_held(world: World) -> int:
    """Sweeps until every lease is over (the suite's timeout bounds it); how many holds were given back."""
    swept = 0
    while any(held for _, held in (await world.amounts())[0]):
        swept += await sweep(50)
        await asyncio.sleep(0.05)
    return swept


async def test_processes_killed_in_the_middle_leak_nothing(db: Database, database_url: str) -> None:
    world = await make_world([80_000], [100_000, 100_000])
    workers = await asyncio.gather(*(start_worker("work", database_url, world) for _ in range(2)))
    for worker in workers:
        go(worker)
    tolds = await asyncio.gather(
        *(work_until_killed(worker, count) for worker, count in zip(workers, (80, 120), strict=True))
    )
    told = tolds[0] | tolds[1]
    assert len(told) >= 200
    assert await sweep_until_nothing_is_held(world) > 0
    await assert_books_are_right(world)
    async with tenant_transaction(world.organization_id) as session:
        for hold_id, cost in told.items():
            hold = await ledger.get_hold(session, world.organization_id, hold_id)
            assert hold.state in ("posted", "voided")
            assert hold.posted_amount == cost
    wallets, _, sink = await world.amounts()
    assert wallets[0][0] + sink == 80_000
    assert wallets[0][0] >= 0
    assert sink >= sum(told.values())


async def test_lanes_that_mix_payers_and_ends_never_wait_for_each_other(db: Database) -> None:
    world = await make_world([50_000, 50_000, 50_000], [10**9, 10**9])
    lanes = [a_lane(db) for _ in range(3)]

    async def caller(number: int) -> None:
        chooser = random.Random(number)
        for _ in range(60):
            lane = lanes[number % 3]
            item = item_of(world, chooser.randint(0, 9), wallet=chooser.randrange(3), budgets=(0, 1))
            await lane.admit(item)
            await lane.settle(a_settlement(item, chooser.choice(list(Status)), chooser.randint(0, 9)))

    with capture_logs() as logs:
        await asyncio.gather(*(caller(number) for number in range(6)))
    for lane in lanes:
        await lane.close()
    assert logs == []  # a lane tells of every conflict
    await assert_books_are_right(world)


async def test_one_that_settles_and_then_admits_elsewhere_waits_in_no_circle(db: Database, database_url: str) -> None:
    """Two payers share budgets; one settles in the second and admits in the first, the other admits in both."""
    world = await make_world([100, 100], [1_000, 10])
    first, second = sorted((0, 1), key=lambda place: world.budgets[place])
    settled_item = item_of(world, 1, budgets=(second,))
    assert await admitted(db, [settled_item]) == [True]
    batches: tuple[list[Item], ...] = (
        [item_of(world, 1, wallet=1, budgets=(first, second))],
        [a_settlement(settled_item, Status.COMPLETED, 1), item_of(world, 1, budgets=(first,))],
    )
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as superuser,
        await psycopg.AsyncConnection.connect(database_url) as holding,
    ):

        async def waits(number: int) -> bool:
            (row,) = await (await superuser.execute(waiting)).fetchall()
            return bool(row[0] == number)

        await holding.execute("select 1 from budgets where id = %s for no key update", (world.budgets[first],))
        connections = [await db.connect() for _ in batches]
        writing = []
        for number, (connection, batch) in enumerate(zip(connections, batches, strict=True), 1):
            writing.append(asyncio.create_task(write(connection, batch, lease_seconds=LEASE_SECONDS)))
            await until_async(partial(waits, number))
        await holding.rollback()
        told = await asyncio.gather(*writing)
    for connection in connections:
        await connection.close()
    assert [[type(answer) for answer in answers] for answers in told] == [[Admitted], [type(None), Admitted]]
    await assert_books_are_right(world)


async def kill_lanes(database_url: str, told: Counter[str], chooser: random.Random) -> None:
    """Ends a random connection of the application once for every twenty answers."""
    victims = (
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'bailiwick'"
        " and query like 'select %invocations_%' and state <> 'idle'"
    )
    killed = 0
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as superuser:
        while True:
            await asyncio.sleep(0.001)
            if told.total() < 20 * (killed + 1):
                continue
            busy = await (await superuser.execute(victims)).fetchall()
            if busy:
                await superuser.execute("select pg_terminate_backend(%s)", chooser.choice(busy))
                killed += 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_lost_connections_cancelled_callers_and_sweeps_leave_the_books_right(
    db: Database, database_url: str, seed: int
) -> None:
    """Two lanes stand for two processes; a settlement whose answer was lost is told as done, once."""
    chooser, told = random.Random(seed), Counter[str]()
    world = await make_world([3_000, 300, 30], [50_000, 50_000])
    told_costs: dict[UUID, int] = {}
    lanes = [a_lane(db, lease_seconds=0 if number else 300) for number in range(2)]

    async def caller(number: int) -> None:
        lane = lanes[number % 2]
        for _ in range(25):
            item = item_of(world, chooser.randint(0, 40), wallet=chooser.randrange(3), budgets=(0, 1))
            future = lane.admit(item)
            if chooser.random() < 0.1:
                future.cancel()
                told["cancelled"] += 1
                continue
            try:
                await future
            except (AllowanceExhausted, Unavailable) as refusal:
                told[type(refusal).__name__] += 1
                continue
            cost = chooser.randint(0, item.amount_micros)
            try:
                await lane.settle(a_settlement(item, chooser.choice(list(Status)), cost))
            except (HoldExpired, Unavailable) as refusal:
                told[type(refusal).__name__] += 1
                continue
            told["settled"] += 1
            told_costs[item.id] = cost

    async def sweeper() -> None:
        while True:
            await asyncio.sleep(0.05)
            with contextlib.suppress(Exception):  # its connection may be killed too; it comes again
                await sweep(3)

    helpers = [asyncio.create_task(kill_lanes(database_url, told, chooser)), asyncio.create_task(sweeper())]
    await asyncio.gather(*(caller(number) for number in range(16)))
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
    for lane in lanes:
        await lane.close()
    assert told["settled"] > 50, told
    assert told["Unavailable"] > 0, told  # some answers were lost with their connection

    async with tenant_transaction(world.organization_id) as session:
        for hold_id, cost in told_costs.items():
            assert (await ledger.get_hold(session, world.organization_id, hold_id)).posted_amount == cost
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute("update holds set lease_expires_at = now() where state = 'open'")
    while await sweep(50):
        pass
    await assert_books_are_right(world)
    wallets, _, sink = await world.amounts()
    assert all(balance >= 0 and held == 0 for balance, held in wallets)
    assert sum(balance for balance, _ in wallets) + sink == 3_330
