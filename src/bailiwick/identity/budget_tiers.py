"""Limits that stand until somebody sets others: by members' tier, by organization (governance contract, Budgets)."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid5

import msgspec

_USD = 1_000_000  # micro-dollars


class BudgetTier(msgspec.Struct, frozen=True, kw_only=True):
    """What a member of a tier may use: money in micro-dollars, tokens for one request."""

    session_ceiling_micros: int
    daily_limit_micros: int
    monthly_limit_micros: int
    max_tokens_per_request: int


def _tier(session: int, day: int, month: int, tokens: int) -> BudgetTier:
    return BudgetTier(
        session_ceiling_micros=session * _USD,
        daily_limit_micros=day * _USD,
        monthly_limit_micros=month * _USD,
        max_tokens_per_request=tokens,
    )


BUDGET_TIERS: Mapping[str, BudgetTier] = {
    "JUNIOR": _tier(5, 10, 150, 50_000),
    "SENIOR": _tier(15, 25, 400, 200_000),
    "STAFF": _tier(40, 60, 1_000, 500_000),
    "PRINCIPAL": _tier(100, 150, 2_500, 1_000_000),
}
ORGANIZATION_DAY_MICROS = 100 * _USD
ORGANIZATION_MONTH_MICROS = 2_000 * _USD


def session_scope_id(organization_id: UUID, session_name: str) -> UUID:
    """What a session's budgets are found by: sessions are named by their callers, budgets by UUIDs."""
    return uuid5(organization_id, f"session:{session_name}")
