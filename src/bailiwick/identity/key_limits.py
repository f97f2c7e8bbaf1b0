"""Which budgets a call of a virtual key must hold: its own and its ancestors', the member's, the session's, the
organization's.

A key's columns say what its limits are; `budgets` rows count. A key that replaced another shares its budgets
(`limits_of`), an attenuated key spends on every key above it too. Money of every key is counted, also without a
ceiling: one that is set later counts what was spent in its window before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import ledger
from bailiwick.identity.budget_tiers import (
    BUDGET_TIERS,
    ORGANIZATION_DAY_MICROS,
    ORGANIZATION_MONTH_MICROS,
    session_scope_id,
)
from bailiwick.identity.tables import VirtualKey
from bailiwick.ledger import BudgetPeriod, BudgetScope, BudgetUnit, Series, Standing

NO_CEILING = 2**62
"""The limit of a budget that only counts."""
LimitScope = Literal["key", "session", "member", "workspace_daily", "workspace_monthly"]

_CHAIN = text(
    "with recursive chain as ("
    "  select k.*, 0 as depth from virtual_keys k where k.organization_id = :organization_id and k.id = :key_id"
    "  union all select k.*, chain.depth + 1 from chain"
    "   join virtual_keys k on k.organization_id = :organization_id and k.id = chain.parent_key_id)"
    " select id, coalesce(limits_of, id) as limits_id, membership_id, budget_micros, budget_period, rate_limit_rpm,"
    " rate_limit_tpm from chain order by depth"
)
# Shared with other callers, not with who changes the keys' limits.
_LOCK_CHAIN = text(
    "select id from virtual_keys where organization_id = :organization_id and id = any(:ids) order by id for share"
)
_TIER = text("select budget_tier from memberships where organization_id = :organization_id and id = :id")
_CLOCK = text("select clock_timestamp()")


class Limit(msgspec.Struct, frozen=True):
    """One limit of a call. `amount` in the series' unit; None: it stands only if somebody has set it."""

    scope: LimitScope
    series: Series
    amount: int | None


class CallLimits(msgspec.Struct, frozen=True):
    """What limits a call: the budgets that it must hold, and of the limits in tokens per minute of its key and those
    above it the lowest; None: there is none."""

    budget_ids: Sequence[UUID]
    tokens_per_minute: int | None


class MoneyLimit(msgspec.Struct, frozen=True):
    """A limit in micro-dollars and how much of it is used."""

    scope: LimitScope
    amount: int
    used: int

    @property
    def left(self) -> int:
        """What a call may still cost, never below 0."""
        return max(0, self.amount - self.used)


def limits_of_key(
    limits_id: UUID, *, budget_micros: int | None, budget_period: str, rpm: int | None, tpm: int | None
) -> Iterator[Limit]:
    """What a key's columns limit."""

    def of(unit: BudgetUnit, period: str, amount: int) -> Limit:
        return Limit("key", Series(BudgetScope.VIRTUAL_KEY.value, limits_id, unit.value, period), amount)

    yield of(BudgetUnit.USD_MICROS, budget_period, NO_CEILING if budget_micros is None else budget_micros)
    if rpm is not None:
        yield of(BudgetUnit.REQUESTS, BudgetPeriod.MINUTE.value, rpm)
    if tpm is not None:
        yield of(BudgetUnit.TOKENS, BudgetPeriod.MINUTE.value, tpm)


def limits_of_row(key: VirtualKey | Row[Any], limits_id: UUID) -> list[Limit]:
    """The limits of one key's row."""
    return list(
        limits_of_key(
            limits_id,
            budget_micros=key.budget_micros,
            budget_period=key.budget_period,
            rpm=key.rate_limit_rpm,
            tpm=key.rate_limit_tpm,
        )
    )


def _money(scope: LimitScope, owner: BudgetScope, owner_id: UUID, period: BudgetPeriod, amount: int | None) -> Limit:
    return Limit(scope, Series(owner.value, owner_id, BudgetUnit.USD_MICROS.value, period.value), amount)


async def _limits(
    session: AsyncSession,
    organization_id: UUID,
    key_id: UUID | None,
    membership_id: UUID | None,
    session_name: str | None,
) -> tuple[list[UUID], list[Limit]]:
    """The keys concerned and every limit of a call."""
    keys: Sequence[Row[Any]] = []
    if key_id is not None:
        keys = (await session.execute(_CHAIN, {"organization_id": organization_id, "key_id": key_id})).all()
        membership_id = membership_id or next((key.membership_id for key in keys), None)
    limits = [limit for key in keys for limit in limits_of_row(key, key.limits_id)]
    tier = None
    if membership_id is not None:
        name = await session.scalar(_TIER, {"organization_id": organization_id, "id": membership_id})
        tier = BUDGET_TIERS.get(str(name))
    if session_name is not None:
        owner = session_scope_id(organization_id, session_name)
        ceiling = tier.session_ceiling_micros if tier else None
        limits.append(_money("session", BudgetScope.SESSION, owner, BudgetPeriod.ONCE, ceiling))
    if membership_id is not None and tier is not None:
        for period, amount in (
            (BudgetPeriod.DAY, tier.daily_limit_micros),
            (BudgetPeriod.MONTH, tier.monthly_limit_micros),
        ):
            limits.append(_money("member", BudgetScope.MEMBER, membership_id, period, amount))
    of_all = BudgetScope.ORGANIZATION
    limits.append(_money("workspace_daily", of_all, organization_id, BudgetPeriod.DAY, ORGANIZATION_DAY_MICROS))
    limits.append(_money("workspace_monthly", of_all, organization_id, BudgetPeriod.MONTH, ORGANIZATION_MONTH_MICROS))
    return [key.id for key in keys], limits


async def key_limits(
    session: AsyncSession,
    organization_id: UUID,
    key_id: UUID | None,
    moment: datetime | None = None,
    *,
    membership_id: UUID | None = None,
    session_name: str | None = None,
) -> CallLimits:
    """The limits of a call at `moment` (default: the database's clock), the budget of each opened if need be.

    `key_id` None: a call with an access token, for `membership_id`. The answer may be kept until the organization's
    version rises: admission finds out by itself when a day or month has ended ("stale"), and a limit per minute keeps
    its id for ever. Requests and tokens are among them: an admission tells its tokens.
    """
    moment = moment or (await session.execute(_CLOCK)).scalar_one()
    key_ids, limits = await _limits(session, organization_id, key_id, membership_id, session_name)
    standing = await ledger.find_standing(session, organization_id, [one.series for one in limits], moment=moment)
    if any(_is_missing(limit, now) for limit, now in zip(limits, standing, strict=True)):
        # Read again under the keys' locks, so that a limit that is being changed is not opened as it was.
        await session.execute(_LOCK_CHAIN, {"organization_id": organization_id, "ids": key_ids})
        _, limits = await _limits(session, organization_id, key_id, membership_id, session_name)
        standing = await ledger.find_standing(session, organization_id, [one.series for one in limits], moment=moment)
    found = []
    for limit, now in zip(limits, standing, strict=True):
        if now.budget_id is not None:
            found.append(now.budget_id)
        elif _is_missing(limit, now):
            found.append(await open_limit(session, organization_id, limit, _amount(limit, now), moment))
    of_minutes = [limit.amount for limit in limits if limit.series.unit == BudgetUnit.TOKENS]
    return CallLimits(sorted(set(found)), min((one for one in of_minutes if one is not None), default=None))


def _is_missing(limit: Limit, standing: Standing) -> bool:
    return standing.budget_id is None and _amount(limit, standing) is not None


def _amount(limit: Limit, standing: Standing) -> int | None:
    """A key's limit is what its row says; of the others, what was set last."""
    if limit.scope == "key" or standing.limit_amount is None:
        return limit.amount
    return standing.limit_amount


async def open_limit(
    session: AsyncSession, organization_id: UUID, limit: Limit, amount: int | None, moment: datetime
) -> UUID:
    """Opens a limit's present window, unless it stands; its budget's id."""
    series = msgspec.structs.asdict(limit.series)
    amount = NO_CEILING if amount is None else amount
    if limit.series.period == BudgetPeriod.MINUTE:
        del series["period"]
        return (await ledger.open_rate_limit(session, organization_id, limit_amount=amount, **series)).id
    start, end = moment, None
    if limit.series.period == BudgetPeriod.ONCE:
        start = datetime.fromtimestamp(0, moment.tzinfo)  # one for ever, however many open it at once
    else:
        start, end = ledger.calendar_window(limit.series.period, moment)
    budget = await ledger.open_budget(
        session, organization_id, period_start=start, period_end=end, limit_amount=amount, **series
    )
    return budget.id


async def set_key_limits(session: AsyncSession, key: VirtualKey) -> None:
    """Makes the budgets of a key, whose row the caller has locked and changed, those that its columns say: those of the
    day and month by the database's clock, which admission goes by."""
    moment = (await session.execute(_CLOCK)).scalar_one()
    limits = limits_of_row(key, key.limits_id)
    standing = await ledger.find_standing(session, key.organization_id, [one.series for one in limits], moment=moment)
    for limit, now in zip(limits, standing, strict=True):
        budget_id = now.budget_id
        if budget_id is None:
            budget_id = await open_limit(session, key.organization_id, limit, limit.amount, moment)
        if limit.amount is not None and now.limit_amount != limit.amount:
            await ledger.set_limit(session, key.organization_id, budget_id, limit.amount)


async def money_limits(
    session: AsyncSession,
    organization_id: UUID,
    key_id: UUID | None,
    *,
    membership_id: UUID | None = None,
    session_name: str | None = None,
) -> list[MoneyLimit]:
    """Every ceiling in money of a call now and what is used of it, the one with the least left first. Opens nothing."""
    moment = (await session.execute(_CLOCK)).scalar_one()
    _, limits = await _limits(session, organization_id, key_id, membership_id, session_name)
    limits = [limit for limit in limits if limit.series.unit == BudgetUnit.USD_MICROS]
    standing = await ledger.find_standing(session, organization_id, [one.series for one in limits], moment=moment)
    found = [
        MoneyLimit(limit.scope, amount, now.used)
        for limit, now in zip(limits, standing, strict=True)
        if (amount := _amount(limit, now)) is not None and amount < NO_CEILING
    ]
    return sorted(found, key=lambda limit: limit.left)
