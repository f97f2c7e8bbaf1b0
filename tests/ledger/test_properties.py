"""Random use of the ledger against a simple predictor: one caller exactly, many callers within what they may see."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable
from datetime import timedelta
from uuid import UUID

import asyncpg
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from bailiwick.kernel.database import Database
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import check, expire_holds
from tests.ledger.model import Effect, Model, least_available
from tests.ledger.world import HOUR, WITH_REAL_BOOKS, World, make_world

AMOUNTS = st.integers(0, 60)
PLACES = st.integers(0, 2)
STEPS: st.SearchStrategy[tuple[str, int, int, set[int]]] = st.one_of(
    st.tuples(st.just("place"), PLACES, AMOUNTS, st.sets(st.integers(0, 1))),
    st.tuples(st.sampled_from(["post", "void", "place again"]), st.integers(0, 30), AMOUNTS, st.just(set())),
    st.tuples(st.just("transfer"), PLACES, AMOUNTS, st.sets(st.integers(0, 1))),
)


@WITH_REAL_BOOKS
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
async def test_one_caller_is_told_exactly_what_the_predictor_says(
    db: Database, steps: list[tuple[str, int, int, set[int]]]
) -> None:
    balances, limits = [100, 50, 20], [120, 4]
    world, model = await make_world(balances, limits), Model.of(balances, limits)
    holds: list[UUID] = []
    for action, number, amount, budgets in steps:
        if action == "place":
            hold_id = uuid7()
            told = await world.place(hold_id, number, amount, tuple(sorted(budgets)), HOUR)
            assert told == model.place(hold_id, number, amount, tuple(sorted(budgets)))
            if told == "ok":
                holds.append(hold_id)
        elif action == "transfer":
            if amount:
                told = await world.transfer(uuid7(), number, (number + 1) % 3, amount)
                assert told == model.transfer(number, (number + 1) % 3, amount)
        elif holds:
            hold_id = holds[number % len(holds)]
            if action == "post":
                assert await world.post(hold_id, amount) == model.close(hold_id, "posted", amount)
            elif action == "void":
                assert await world.void(hold_id) == model.close(hold_id, "voided")
            else:
                known = model.holds[hold_id]
                assert await world.place(hold_id, known.account, known.amount, known.budgets, HOUR) == "ok"
    wallets, used, sink = await world.amounts()
    assert wallets == list(zip(model.balances, model.held, strict=True))
    assert used == list(zip(model.spent, model.reserved, strict=True))
    assert sink == model.sink
    assert (await check()).clean


class Driver:
    """Callers who act at random on shared wallets, while connections are killed and calls cancelled."""

    def __init__(self, world: World, initial: int, seed: int) -> None:
        self.world, self.initial, self.random = world, initial, random.Random(seed)
        self.effects: list[Effect] = []
        self.refusals: list[tuple[int, int, float, float]] = []
        self.open: dict[UUID, tuple[int, int]] = {}
        self.told: Counter[str] = Counter()

    async def attempt(self, call: Awaitable[str]) -> tuple[str, float, float]:
        """Makes one call, sometimes cancelled on its way: what it was told (`unknown`: nothing), from when to when."""
        began = time.monotonic()
        task = asyncio.ensure_future(call)
        if self.random.random() < 0.1:
            asyncio.get_running_loop().call_later(self.random.random() * 0.02, task.cancel)
        try:
            told = await task
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.CancelledError):
            told = "unknown"
        self.told[told] += 1
        return told, began, time.monotonic()

    def note(self, subject: UUID, account: int, change: int, call: tuple[str, float, float]) -> None:
        """Keeps what a call did, or may have done."""
        told, began, ended = call
        if told in ("ok", "unknown"):
            self.effects.append(Effect(subject, account, change, began, ended, told == "ok"))

    async def place(self) -> None:
        """Holds an amount; sometimes with a lease that is over already, so that the sweeper competes."""
        hold_id, wallet, amount = uuid7(), self.random.randrange(len(self.world.wallets)), self.random.randint(0, 40)
        lease = self.random.choice([HOUR, timedelta(0)])
        told, began, ended = await self.attempt(self.world.place(hold_id, wallet, amount, (0, 1), lease))
        self.note(hold_id, wallet, -amount, (told, began, ended))
        if told == "InsufficientFunds":
            self.refusals.append((wallet, amount, began, ended))
        elif told == "ok":
            self.open[hold_id] = (wallet, amount)

    async def close(self) -> None:
        """Posts or voids one of the open holds."""
        if not self.open:
            return
        hold_id = self.random.choice(list(self.open))
        wallet, amount = self.open.pop(hold_id)
        posted = self.random.randint(0, amount) if self.random.random() < 0.6 else 0
        call = self.world.post(hold_id, posted) if posted else self.world.void(hold_id)
        told, began, ended = await self.attempt(call)
        self.note(hold_id, wallet, amount - posted, (told, began, ended))
        if told == "unknown":
            self.open[hold_id] = (wallet, amount)

    async def transfer(self) -> None:
        """Moves an amount from one wallet to another."""
        debit, credit = self.random.sample(range(len(self.world.wallets)), 2)
        transfer_id, amount = uuid7(), self.random.randint(1, 30)
        told, began, ended = await self.attempt(self.world.transfer(transfer_id, debit, credit, amount))
        self.note(transfer_id, debit, -amount, (told, began, ended))
        self.note(transfer_id, credit, amount, (told, began, ended))
        if told == "InsufficientFunds":
            self.refusals.append((debit, amount, began, ended))

    async def sweep(self) -> None:
        """Gives a few holds back whose lease is over."""
        began = time.monotonic()
        try:
            expired = await expire_holds(5)
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return
        ended = time.monotonic()
        for one in expired:
            account = self.world.wallets.index(one.debit_account_id)
            self.effects.append(Effect(one.hold_id, account, one.amount, began, ended, True))
            self.open.pop(one.hold_id, None)

    async def caller(self, calls: int) -> None:
        """One caller's calls, one after the other."""
        for _ in range(calls):
            await self.random.choices([self.place, self.close, self.transfer, self.sweep], [6, 5, 2, 1])[0]()

    async def wrongly_refused(self) -> list[tuple[int, int, float, float]]:
        """Refusals of callers for whom the money was there however one orders what happened at the same time."""
        made = await self.world.made()
        effects = [one for one in self.effects if one.certain or one.subject in made]
        return [
            refusal
            for refusal in self.refusals
            if least_available(self.initial, effects, refusal[0], refusal[2], refusal[3]) >= refusal[1]
        ]


async def kill_connections(database_url: str, driver: Driver) -> None:
    """Ends a random connection of the application, in whatever it is doing, once for every ten calls."""
    victims = (
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'bailiwick'"
        " and state <> 'idle'"
    )
    killed = 0
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as superuser:
        while True:
            await asyncio.sleep(0.001)
            if driver.told.total() < 10 * (killed + 1):
                continue
            busy = await (await superuser.execute(victims)).fetchall()
            if busy:
                await superuser.execute("select pg_terminate_backend(%s)", driver.random.choice(busy))
                killed += 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_many_callers_kills_and_cancels_leave_the_books_right(db: Database, database_url: str, seed: int) -> None:
    world = await make_world([100] * 5, [1_500, 400])
    driver = Driver(world, 100, seed)
    killer = asyncio.create_task(kill_connections(database_url, driver))
    await asyncio.gather(*(driver.caller(60) for _ in range(6)))
    killer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killer
    assert driver.told["ok"] > 100, driver.told
    assert driver.told["unknown"] > 5, driver.told
    assert driver.refusals
    assert await driver.wrongly_refused() == []
    while await expire_holds():
        pass
    report = await check(grace=timedelta(0))
    assert report.clean, report.problems
    wallets, budgets, sink = await world.amounts()
    assert all(balance - held >= 0 for balance, held in wallets)
    assert sum(balance for balance, _ in wallets) + sink == 500
    assert budgets[0][0] + budgets[0][1] <= 1_500
    assert budgets[1][0] + budgets[1][1] <= 400
