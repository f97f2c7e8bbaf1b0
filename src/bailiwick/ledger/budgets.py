"""Budgets: caps on what a scope may use in a window of time."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from bailiwick.kernel.clock import now
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger.accounts import FRESH
from bailiwick.ledger.errors import BudgetNotFound
from bailiwick.ledger.tables import Budget, BudgetPeriod


def calendar_window(period: str, moment: datetime) -> tuple[datetime, datetime]:
    """The UTC day or calendar month (`period`) around `moment`: start included, end excluded."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == BudgetPeriod.DAY:
        return day, day + timedelta(days=1)
    if period == BudgetPeriod.MONTH:
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    raise ValueError(f"{period} is no calendar period")


async def open_budget(
    session: AsyncSession,
    organization_id: UUID,
    *,
    scope: str,
    scope_id: UUID,
    unit: str,
    period: str,
    period_start: datetime,
    period_end: datetime | None,
    limit_amount: int,
) -> Budget:
    """The scope's budget of this unit, period and start, opened with `limit_amount` (in `unit`) if there was none.

    One that stands keeps its limit; `set_limit` changes it. Raises InvalidInput.
    """
    if limit_amount < 0:
        raise InvalidInput.of("limit_amount", "must be 0 or more")
    if period_end is not None and period_end <= period_start:
        raise InvalidInput.of("period_end", "must be after period_start")
    series = {"scope": scope, "scope_id": scope_id, "unit": unit, "period": period}
    opened: Budget | None = await session.scalar(
        insert(Budget)
        .values(organization_id=organization_id, id=uuid7(), period_start=period_start, period_end=period_end)
        .values(limit_amount=limit_amount, **series)
        .on_conflict_do_nothing(
            index_elements=["organization_id", "scope", "scope_id", "unit", "period", "period_start"]
        )
        .returning(Budget)
    )
    if opened is not None:
        return opened
    standing: Budget | None = await session.scalar(
        select(Budget)
        .where(Budget.organization_id == organization_id, Budget.period_start == period_start)
        .filter_by(**series)
        .execution_options(**FRESH)
    )
    if standing is None:  # cannot be: budgets are never deleted
        raise BudgetNotFound
    return standing


async def set_limit(session: AsyncSession, organization_id: UUID, budget_id: UUID, limit_amount: int) -> Budget:
    """Sets a budget's limit (in its unit). Below what is used already, nothing more is let in.

    Raises InvalidInput, BudgetNotFound.
    """
    if limit_amount < 0:
        raise InvalidInput.of("limit_amount", "must be 0 or more")
    changed: Budget | None = await session.scalar(
        update(Budget)
        .where(Budget.organization_id == organization_id, Budget.id == budget_id)
        .values(limit_amount=limit_amount, lowered_from=func.greatest(Budget.lowered_from, Budget.limit_amount))
        .returning(Budget)
        .execution_options(**FRESH)
    )
    if changed is None:
        raise BudgetNotFound
    return changed


async def get_budget(session: AsyncSession, organization_id: UUID, budget_id: UUID) -> Budget:
    """One budget as it stands. Raises BudgetNotFound."""
    found = await session.get(Budget, (organization_id, budget_id), populate_existing=True)
    if found is None:
        raise BudgetNotFound
    return found


async def remaining(session: AsyncSession, organization_id: UUID, budget_id: UUID) -> int:
    """What is left of a budget, in its unit: limit less spent and held, never below 0. Raises BudgetNotFound."""
    return max(0, (await get_budget(session, organization_id, budget_id)).left)


async def current_budgets(
    session: AsyncSession,
    organization_id: UUID,
    scopes: Collection[tuple[str, UUID]],
    *,
    moment: datetime | None = None,
) -> list[Budget]:
    """The budgets of these (scope, scope id) pairs that count at `moment` (default: now), by id.

    A day's or month's budget whose window has ended is opened anew with its last limit, so a cap never lapses at
    midnight. The last `billing` budget counts until billing opens the next. Whoever keeps the answer reads it again at
    the earliest `period_end` in it.
    """
    moment = moment or now()
    later = aliased(Budget)
    superseded = exists().where(
        later.organization_id == Budget.organization_id,
        later.scope == Budget.scope,
        later.scope_id == Budget.scope_id,
        later.unit == Budget.unit,
        later.period == Budget.period,
        later.period_start > Budget.period_start,
        later.period_start <= moment,
    )
    latest = await session.scalars(
        select(Budget)
        .where(
            Budget.organization_id == organization_id,
            tuple_(Budget.scope, Budget.scope_id).in_(scopes),
            Budget.period_start <= moment,
            ~superseded,
        )
        .execution_options(**FRESH)
    )
    counting = []
    for budget in latest.all():
        ended = budget.period_end is not None and budget.period_end <= moment
        if ended and budget.period == BudgetPeriod.ONCE:
            continue
        if ended and budget.period in (BudgetPeriod.DAY, BudgetPeriod.MONTH):
            counting.append(await _open_next(session, budget, moment))
        else:
            counting.append(budget)
    return sorted(counting, key=lambda budget: budget.id)


async def _open_next(session: AsyncSession, ended: Budget, moment: datetime) -> Budget:
    start, end = calendar_window(ended.period, moment)
    return await open_budget(
        session,
        ended.organization_id,
        scope=ended.scope,
        scope_id=ended.scope_id,
        unit=ended.unit,
        period=ended.period,
        period_start=max(start, ended.period_end or start),
        period_end=end,
        limit_amount=ended.limit_amount,
    )
