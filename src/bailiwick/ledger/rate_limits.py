"""Limits per minute: budgets of period `minute`, in requests or tokens.

Each is one row for ever. Its window begins with the first use after the last window's end, in place and under the row's
lock, so that as many callers as like may race over any number of processes and exactly the limit is let in. A hold
counts in the window that it was placed in: one that is closed later changes nothing in a newer window.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger.accounts import FRESH
from bailiwick.ledger.errors import BudgetNotFound
from bailiwick.ledger.tables import Budget, BudgetPeriod, BudgetUnit

_WINDOW = timedelta(minutes=1)


async def open_rate_limit(
    session: AsyncSession, organization_id: UUID, *, scope: str, scope_id: UUID, unit: str, limit_amount: int
) -> Budget:
    """The scope's limit per minute in `unit` (requests or tokens), opened with `limit_amount` if there was none.

    One that stands keeps its limit; `set_limit` changes it. Raises InvalidInput.
    """
    if limit_amount < 0:
        raise InvalidInput.of("limit_amount", "must be 0 or more")
    series = {"scope": scope, "scope_id": scope_id, "unit": unit, "period": BudgetPeriod.MINUTE}
    started = func.clock_timestamp()
    opened: Budget | None = await session.scalar(
        insert(Budget)
        .values(organization_id=organization_id, id=uuid7(), period_start=started, period_end=started + _WINDOW)
        .values(limit_amount=limit_amount, **series)
        .on_conflict_do_nothing(
            index_elements=["organization_id", "scope", "scope_id", "unit"],
            index_where=Budget.period == BudgetPeriod.MINUTE.value,
        )
        .returning(Budget)
    )
    if opened is not None:
        return opened
    standing: Budget | None = await session.scalar(
        select(Budget).where(Budget.organization_id == organization_id).filter_by(**series).execution_options(**FRESH)
    )
    if standing is None:  # cannot be: budgets are never deleted
        raise BudgetNotFound
    return standing


async def begin_windows(session: AsyncSession, locked: Sequence[Budget]) -> datetime | None:
    """Begins the next window of each locked limit per minute whose window has ended.

    Yields the moment from which a hold counts in all their windows; None when `locked` has no limit per minute.
    """
    limits = [budget for budget in locked if budget.period == BudgetPeriod.MINUTE]
    if not limits:
        return None
    clock = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    moment: datetime = max(clock, *(limit.period_start for limit in limits))
    ended = [limit.id for limit in limits if limit.period_end is not None and limit.period_end <= moment]
    if ended:
        await session.scalars(
            update(Budget)
            .where(Budget.organization_id == limits[0].organization_id, Budget.id.in_(ended))
            .values(period_start=moment, period_end=moment + _WINDOW, spent=0, held=0, lowered_from=None)
            .returning(Budget)
            .execution_options(**FRESH)
        )
    return moment


def counts(budget: Budget, placed_at: datetime) -> bool:
    """Whether closing a hold of that time still changes the budget. Requests stay counted once admitted."""
    if budget.unit == BudgetUnit.REQUESTS:
        return False
    return budget.period != BudgetPeriod.MINUTE or placed_at >= budget.period_start
