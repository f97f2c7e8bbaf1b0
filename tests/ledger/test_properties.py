"""Random use of the ledger against a simple predictor: one caller exactly, many callers within what they may see."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.clock import now
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import (
    Ledger,
    check,
    expire_holds,
    get_account,
    get_budget,
    grant,
    open_account,
    open_budget,
    place_hold,
    post_hold,
    transfer,
    void_hold,
)
from tests.ledger.conftest import make_organization
from tests.ledger.model import Effect, Model, least_available

HOUR = timedelta(hours=1)


class World(msgspec.Struct):
    """An organisation with funded wallets, a sink, and budgets (money at even places, runs at odd ones)."""

    organization_id: UUID
    wallets: list[UUID]
    sink: UUID
    budgets: list[UUID]

    async def run(self, work: Callable[[AsyncSession], Awaitable[object]]) -> str:
        """Runs one use case in its transaction: ok, or the name of its refusal."""
        try:
            async with tenant_transaction(self.organization_id) as session:
                await work(session)
        except BailiwickError as refusal:
            return type(refusal).__name__
        return "ok"

    async def place(self, hold_id: UUID, wallet: int, amount: int, budgets: tuple[int, ...], lease: timedelta) -> str:
        """Places a hold on a wallet for the sink."""
        return await self.run(
            lambda session: place_hold(
                session,
                self.organization_id,
                debit_account_id=self.wallets[wallet],
                credit_account_id=self.sink,
                amount=amount,
                kind="test",
                lease_expires_at=now() + lease,
                budget_ids=[self.budgets[one] for one in budgets],
                hold_id=hold_id,
            )
        )

    async def post(self, hold_id: UUID, amount: int) -> str:
        """Posts a hold."""
        return await self.run(lambda session: post_hold(session, self.organization_id, hold_id, amount=amount))

    async def void(self, hold_id: UUID) -> str:
        """Voids a hold."""
        return await self.run(lambda session: void_hold(session, self.organization_id, hold_id))

    async def transfer(self, debit: int, credit: int, amount: int) -> str:
        """Moves an amount between wallets."""
        return await self.run(
            lambda session: transfer(
                session,
                self.organization_id,
                debit_account_id=self.wallets[debit],
                credit_account_id=self.wallets[credit],
                amount=amount,
                kind="test",
            )
        )

    async def amounts(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
        """(balance, held) of each wallet, (spent, held) of each budget, the sink's balance."""
        async with tenant_transaction(self.organization_id) as session:
            wallets = [await get_account(session, self.organization_id, one) for one in self.wallets]
            budgets = [await get_budget(session, self.organization_id, one) for one in self.budgets]
            sink = await get_account(session, self.organization_id, self.sink)
        return [(one.balance, one.held) for one in wallets], [(one.spent, one.held) for one in budgets], sink.balance


async def make_world(balances: list[int], limits: list[int]) -> World:
    """A new organisation with these balances and limits."""
    organization_id = await make_organization()
    async with tenant_transaction(organization_id) as session:
        wallets = []
        for balance in balances:
            opened = await open_account(
                session, organization_id, ledger=Ledger.USD_MICROS, kind="wallet", owner_id=uuid7(), floor=0
            )
            await grant(session, organization_id, opened.id, balance, "plan_grant")
            wallets.append(opened.id)
        sink = await open_account(
            session, organization_id, ledger=Ledger.USD_MICROS, kind="revenue", owner_id=organization_id, floor=None
        )
        budgets = [
            await open_budget(
                session,
                organization_id,
                scope="member",
                scope_id=uuid7(),
                unit="runs" if place % 2 else "usd_micros",
                period="once",
                period_start=now() - HOUR,
                period_end=None,
                limit_amount=limit,
            )
            for place, limit in enumerate(limits)
        ]
    return World(organization_id, wallets, sink.id, [one.id for one in budgets])


AMOUNTS = st.integers(0, 60)
PLACES = st.integers(0, 2)
STEPS: st.SearchStrategy[tuple[str, int, int, set[int]]] = st.one_of(
    st.tuples(st.just("place"), PLACES, AMOUNTS, st.sets(st.integers(0, 1))),
    st.tuples(st.sampled_from(["post", "void", "place again"]), st.integers(0, 30), AMOUNTS, st.just(set())),
    st.tuples(st.just("transfer"), PLACES, AMOUNTS, st.sets(st.integers(0, 1))),
)


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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
                told = await world.transfer(number, (number + 1) % 3, amount)
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

    def note(self, account: int, change: int, told: str, began: float, ended: float) -> None:
        """Keeps what a call did, or may have done."""
        if told in ("ok", "unknown"):
            self.effects.append(Effect(account, change, began, ended, told == "ok"))

    async def place(self) -> None:
        """Holds an amount; sometimes with a lease that is over already, so that the sweeper competes."""
        hold_id, wallet, amount = uuid7(), self.random.randrange(len(self.world.wallets)), self.random.randint(0, 40)
        lease = self.random.choice([HOUR, timedelta(0)])
        told, began, ended = await self.attempt(self.world.place(hold_id, wallet, amount, (0, 1), lease))
        self.note(wallet, -amount, told, began, ended)
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
        self.note(wallet, amount - posted, told, began, ended)
        if told == "unknown":
            self.open[hold_id] = (wallet, amount)

    async def transfer(self) -> None:
        """Moves an amount from one wallet to another."""
        debit, credit = self.random.sample(range(len(self.world.wallets)), 2)
        amount = self.random.randint(1, 30)
        told, began, ended = await self.attempt(self.world.transfer(debit, credit, amount))
        self.note(debit, -amount, told, began, ended)
        self.note(credit, amount, told, began, ended)
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
            self.effects.append(Effect(account, one.amount, began, ended, True))
            self.open.pop(one.hold_id, None)

    async def caller(self, calls: int) -> None:
        """One caller's calls, one after the other."""
        for _ in range(calls):
            await self.random.choices([self.place, self.close, self.transfer, self.sweep], [6, 5, 2, 1])[0]()

    def wrongly_refused(self) -> list[tuple[int, int, float, float]]:
        """Refusals of callers for whom the money was there however one orders what happened at the same time."""
        return [
            refusal
            for refusal in self.refusals
            if least_available(self.initial, self.effects, refusal[0], refusal[2], refusal[3]) >= refusal[1]
        ]


async def kill_connections(database_url: str, seed: int) -> None:
    """Ends a random connection of the application, in whatever it is doing, again and again."""
    chooser = random.Random(seed)
    victims = (
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'bailiwick'"
        " and state <> 'idle'"
    )
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as superuser:
        while True:
            await asyncio.sleep(0.05)
            busy = await (await superuser.execute(victims)).fetchall()
            if busy:
                await superuser.execute("select pg_terminate_backend(%s)", chooser.choice(busy))


@pytest.mark.parametrize("seed", [1, 2])
async def test_many_callers_kills_and_cancels_leave_the_books_right(db: Database, database_url: str, seed: int) -> None:
    world = await make_world([100] * 5, [1_500, 400])
    driver = Driver(world, 100, seed)
    killer = asyncio.create_task(kill_connections(database_url, seed))
    await asyncio.gather(*(driver.caller(60) for _ in range(6)))
    killer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killer
    assert driver.told["ok"] > 100, driver.told
    assert driver.told["unknown"] > 5, driver.told
    assert driver.refusals
    assert driver.wrongly_refused() == []
    while await expire_holds():
        pass
    report = await check(grace=timedelta(0))
    assert report.clean, report.problems
    wallets, budgets, sink = await world.amounts()
    assert all(balance - held >= 0 for balance, held in wallets)
    assert sum(balance for balance, _ in wallets) + sink == 500
    assert budgets[0][0] + budgets[0][1] <= 1_500
    assert budgets[1][0] + budgets[1][1] <= 400
