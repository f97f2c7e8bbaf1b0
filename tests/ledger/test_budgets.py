"""Budgets: windows that follow each other, limits that change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bailiwick.kernel.database import tenant_transaction
from bailiwick.ledger import BudgetExceeded, calendar_window, check, current_budgets, open_budget, remaining, set_limit
from tests.ledger.conftest import Purse
from tests.ledger.test_holds import budget, hold
from tests.ledger.test_transfers import fund

LEAP_DAY = datetime(2028, 2, 29, 13, 30, tzinfo=UTC)


def test_calendar_windows_include_their_start_and_exclude_their_end() -> None:
    day = (datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC))
    month = (datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC))
    assert calendar_window("day", LEAP_DAY) == day
    assert calendar_window("month", LEAP_DAY) == month
    assert calendar_window("day", day[1])[0] == day[1]
    assert calendar_window("month", datetime(2027, 12, 31, 23, 59, tzinfo=UTC))[1] == datetime(2028, 1, 1, tzinfo=UTC)


async def test_a_lowered_limit_lets_nothing_more_in_and_the_books_stay_right(purse: Purse) -> None:
    await fund(purse, 1000)
    budget_id = await budget(purse, "usd_micros", 100)
    await hold(purse, 60, budget_ids=(budget_id,))
    async with tenant_transaction(purse.organization_id) as session:
        assert (await set_limit(session, purse.organization_id, budget_id, 50)).left == -10
        assert await remaining(session, purse.organization_id, budget_id) == 0
    with pytest.raises(BudgetExceeded):
        await hold(purse, 1, budget_ids=(budget_id,))
    async with tenant_transaction(purse.organization_id) as session:
        await set_limit(session, purse.organization_id, budget_id, 70)
    await hold(purse, 10, budget_ids=(budget_id,))
    assert (await check()).clean


async def test_the_next_window_opens_once_with_the_last_limit_and_nothing_spent(purse: Purse) -> None:
    mine = purse.organization_id
    start, end = calendar_window("month", LEAP_DAY)
    async with tenant_transaction(mine) as session:
        for period, opened_end in (("month", end), ("billing", end), ("once", end)):
            await open_budget(
                session,
                mine,
                scope="organization",
                scope_id=mine,
                unit="usd_micros",
                period=period,
                period_start=start,
                period_end=opened_end,
                limit_amount=40,
            )

    async def at(moment: datetime) -> dict[str, tuple[datetime, datetime | None, int]]:
        async with tenant_transaction(mine) as session:
            counting = await current_budgets(session, mine, [("organization", mine)], moment=moment)
            return {one.period: (one.period_start, one.period_end, one.limit_amount) for one in counting}

    assert await at(start - timedelta(seconds=1)) == {}
    assert await at(LEAP_DAY) == dict.fromkeys(("month", "billing", "once"), (start, end, 40))
    june = datetime(2028, 6, 3, tzinfo=UTC)
    following = {"month": (*calendar_window("month", june), 40), "billing": (start, end, 40)}
    assert await asyncio.gather(*(at(june) for _ in range(5))) == [following] * 5
