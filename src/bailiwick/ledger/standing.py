"""Where budgets stand: of each series that is asked for, what its present window has used. Opens nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.ledger.tables import BudgetPeriod

# The latest window of each series, by the index on (organization_id, scope, scope_id, unit, period, period_start).
_LATEST = text(
    "select w.ordinal, b.* from unnest(cast(:scopes as text[]), cast(:scope_ids as uuid[]), cast(:units as text[]),"
    " cast(:periods as text[])) with ordinality as w (scope, scope_id, unit, period, ordinal)"
    " cross join lateral ("
    "  select b.id, b.period_start, b.period_end, b.limit_amount, b.spent, b.held from budgets b"
    "   where b.organization_id = :organization_id and b.scope = w.scope and b.scope_id = w.scope_id"
    "     and b.unit = w.unit and b.period = w.period and (b.period = 'minute' or b.period_start <= :moment)"
    "   order by b.period_start desc limit 1) b order by w.ordinal"
)


class Series(msgspec.Struct, frozen=True):
    """The budgets of one scope, unit and period that follow each other in time."""

    scope: str
    scope_id: UUID
    unit: str
    period: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A series at one moment. `budget_id` None: its last window has ended, or it has none yet."""

    budget_id: UUID | None
    limit_amount: int | None
    """Of the present window, else of the last; None: there was none."""
    spent: int = 0
    held: int = 0
    period_end: datetime | None = None

    @property
    def used(self) -> int:
        """Spent and held."""
        return self.spent + self.held


async def find_standing(
    session: AsyncSession, organization_id: UUID, series: Sequence[Series], *, moment: datetime
) -> list[Standing]:
    """The standing of each series at `moment`, in their order. A limit per minute whose window has ended has used
    nothing and keeps its id; a budget of a day or month that has ended is to be opened anew."""
    rows = await session.execute(
        _LATEST,
        {
            "organization_id": organization_id,
            "scopes": [one.scope for one in series],
            "scope_ids": [one.scope_id for one in series],
            "units": [one.unit for one in series],
            "periods": [one.period for one in series],
            "moment": moment,
        },
    )
    found = [Standing(budget_id=None, limit_amount=None)] * len(series)
    for row in rows:
        is_minute = series[row.ordinal - 1].period == BudgetPeriod.MINUTE
        is_over = row.period_end is not None and row.period_end <= moment
        found[row.ordinal - 1] = Standing(
            budget_id=None if is_over and not is_minute else row.id,
            limit_amount=row.limit_amount,
            spent=0 if is_over else row.spent,
            held=0 if is_over else row.held,
            period_end=None if is_over else row.period_end,
        )
    return found
