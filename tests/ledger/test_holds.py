"""Holds: reserved, then closed once; N callers race for what M can have."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import (
    Account,
    AccountInUse,
    Budget,
    BudgetExceeded,
    Hold,
    HoldClosed,
    HoldConflict,
    InsufficientFunds,
    check,
    close_account,
    expire_hold,
    expire_holds,
    get_account,
    get_budget,
    get_hold,
    open_budget,
    place_hold,
    post_hold,
    void_hold,
)
from tests.ledger.conftest import Purse
from tests.ledger.test_transfers import fund


async def hold(
    purse: Purse,
    amount: int,
    *,
    lease_seconds: float = 60,
    budget_ids: tuple[UUID, ...] = (),
    tokens: int = 0,
    hold_id: UUID | None = None,
) -> Hold:
    """Holds an amount of the wallet for revenue in its own transaction."""
    async with tenant_transaction(purse.organization_id) as session:
        return await place_hold(
            session,
            purse.organization_id,
            debit_account_id=purse.wallet_id,
            credit_account_id=purse.revenue_id,
            amount=amount,
            kind="test",
            lease_expires_at=now() + timedelta(seconds=lease_seconds),
            budget_ids=budget_ids,
            tokens=tokens,
            hold_id=hold_id,
        )


async def wallet(purse: Purse) -> Account:
    """The wallet as it stands."""
    async with tenant_transaction(purse.organization_id) as session:
        return await get_account(session, purse.organization_id, purse.wallet_id)


async def budget(purse: Purse, unit: str, limit: int) -> UUID:
    """A budget of the organisation without an end."""
    async with tenant_transaction(purse.organization_id) as session:
        opened = await open_budget(
            session,
            purse.organization_id,
            scope="organization",
            scope_id=purse.organization_id,
            unit=unit,
            period="once",
            period_start=now() - timedelta(seconds=1),
            period_end=None,
            limit_amount=limit,
        )
        return opened.id


async def budget_now(purse: Purse, budget_id: UUID) -> Budget:
    """A budget as it stands."""
    async with tenant_transaction(purse.organization_id) as session:
        return await get_budget(session, purse.organization_id, budget_id)


async def test_a_hold_reserves_and_a_post_gives_the_rest_back(purse: Purse) -> None:
    await fund(purse, 100)
    money, runs, tokens = [await budget(purse, unit, 80) for unit in ("usd_micros", "runs", "tokens")]
    placed = await hold(purse, 60, budget_ids=(money, runs, tokens), tokens=50)
    assert (await wallet(purse)).available == 40
    assert [(await budget_now(purse, one)).left for one in (money, runs, tokens)] == [20, 79, 30]
    with pytest.raises(InsufficientFunds):
        await hold(purse, 41)
    async with tenant_transaction(purse.organization_id) as session:
        for _ in range(2):
            posted = await post_hold(session, purse.organization_id, placed.id, amount=45, tokens=20)
    assert (posted.state, posted.posted_amount) == ("posted", 45)
    after = await wallet(purse)
    assert (after.balance, after.held) == (55, 0)
    assert [(await budget_now(purse, one)).spent for one in (money, runs, tokens)] == [45, 1, 20]
    assert [(await budget_now(purse, one)).held for one in (money, runs, tokens)] == [0, 0, 0]
    assert (await check()).clean


async def test_a_voided_hold_costs_nothing(purse: Purse) -> None:
    await fund(purse, 100)
    runs = await budget(purse, "runs", 1)
    placed = await hold(purse, 100, budget_ids=(runs,))
    async with tenant_transaction(purse.organization_id) as session:
        for _ in range(2):
            await void_hold(session, purse.organization_id, placed.id)
        with pytest.raises(HoldClosed):
            await post_hold(session, purse.organization_id, placed.id, amount=1)
    assert (await wallet(purse)).available == 100
    assert (await budget_now(purse, runs)).left == 1
    assert (await check()).clean


async def test_not_more_than_the_hold_is_posted(purse: Purse) -> None:
    await fund(purse, 100)
    placed = await hold(purse, 10)
    async with tenant_transaction(purse.organization_id) as session:
        for amount in (11, -1):
            with pytest.raises(InvalidInput):
                await post_hold(session, purse.organization_id, placed.id, amount=amount)
        await post_hold(session, purse.organization_id, placed.id, amount=0)
    assert (await wallet(purse)).balance == 100
    assert (await check()).clean


async def test_a_budget_that_is_full_refuses_and_reserves_nothing(purse: Purse) -> None:
    await fund(purse, 100)
    wide, narrow = await budget(purse, "usd_micros", 90), await budget(purse, "runs", 1)
    await hold(purse, 10, budget_ids=(wide, narrow))
    with pytest.raises(BudgetExceeded) as refused:
        await hold(purse, 10, budget_ids=(wide, narrow))
    assert refused.value.budget_id == narrow
    assert (await wallet(purse)).held == 10
    assert (await budget_now(purse, wide)).held == 10


async def test_a_hold_with_the_same_id_is_placed_once(purse: Purse) -> None:
    await fund(purse, 100)
    hold_id = uuid7()
    await asyncio.gather(*(hold(purse, 60, hold_id=hold_id) for _ in range(5)))
    assert (await wallet(purse)).held == 60
    with pytest.raises(HoldConflict):
        await hold(purse, 61, hold_id=hold_id)


@pytest.mark.parametrize("scarce", ["wallet", "budget"])
async def test_of_many_callers_exactly_those_win_whom_the_money_suffices(purse: Purse, scarce: str) -> None:
    await fund(purse, 7 * 13 + 12 if scarce == "wallet" else 10_000)
    limit = await budget(purse, "usd_micros", 7 * 13 + 12 if scarce == "budget" else 10_000)
    results = await asyncio.gather(*(hold(purse, 13, budget_ids=(limit,)) for _ in range(30)), return_exceptions=True)
    won = [result for result in results if isinstance(result, Hold)]
    lost = [
        result for result in results if isinstance(result, InsufficientFunds if scarce == "wallet" else BudgetExceeded)
    ]
    assert (len(won), len(lost)) == (7, 23)
    assert (await wallet(purse)).held == 91
    assert (await check()).clean


async def test_the_sweeper_gives_back_what_is_past_its_lease_and_says_what(purse: Purse) -> None:
    await fund(purse, 100)
    runs = await budget(purse, "runs", 5)
    late = [await hold(purse, 10, lease_seconds=-1, budget_ids=(runs,)) for _ in range(3)]
    alive = await hold(purse, 10, budget_ids=(runs,))
    assert (await check(grace=timedelta(0))).counts == {"hold_past_lease": 3}
    first = await expire_holds(2)
    second = await expire_holds(2)
    assert {expired.hold_id for expired in first + second} == {placed.id for placed in late}
    assert {expired.organization_id for expired in first} == {purse.organization_id}
    assert await expire_holds(2) == []
    assert (await wallet(purse)).held == 10
    assert (await budget_now(purse, runs)).held == 1
    async with tenant_transaction(purse.organization_id) as session:
        with pytest.raises(HoldClosed):
            await post_hold(session, purse.organization_id, late[0].id, amount=10)
        with pytest.raises(InvalidInput):
            await expire_hold(session, purse.organization_id, alive.id)
        assert (await get_hold(session, purse.organization_id, alive.id)).state == "open"
    assert (await check(grace=timedelta(0))).clean


async def test_sweeper_and_settlement_race_for_one_hold_and_one_wins(purse: Purse) -> None:
    await fund(purse, 1000)
    late = [await hold(purse, 10, lease_seconds=-1) for _ in range(20)]

    async def settle(hold_id: UUID) -> bool:
        try:
            async with tenant_transaction(purse.organization_id) as session:
                await post_hold(session, purse.organization_id, hold_id, amount=10)
        except HoldClosed:
            return False
        return True

    posted, swept = await asyncio.gather(
        asyncio.gather(*(settle(placed.id) for placed in late)), asyncio.gather(*(expire_holds(4) for _ in range(5)))
    )
    left = await expire_holds()
    assert sum(posted) + sum(len(batch) for batch in swept) + len(left) == 20
    after = await wallet(purse)
    assert (after.balance, after.held) == (1000 - 10 * sum(posted), 0)
    assert (await check(grace=timedelta(0))).clean


async def test_an_account_with_money_or_holds_is_not_closed(purse: Purse) -> None:
    await fund(purse, 10)
    await hold(purse, 10)
    async with tenant_transaction(purse.organization_id) as session:
        for account_id in (purse.wallet_id, purse.revenue_id):
            with pytest.raises(AccountInUse):
                await close_account(session, purse.organization_id, account_id)
