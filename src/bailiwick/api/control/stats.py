"""`/api/v1/stats`: what the tenant used in its billing period."""

from __future__ import annotations

import msgspec
from litestar import get
from litestar.di import NamedDependency

from bailiwick import billing
from bailiwick.identity import Caller
from bailiwick.kernel.clock import rfc3339


class PeriodView(msgspec.Struct, frozen=True):
    """The billing period; a calendar month ends at 23:59:59 UTC."""

    start: str
    end: str


class Stats(msgspec.Struct, frozen=True):
    """Completed runs and their tokens, in all and of each agent that ran."""

    tenant_id: str
    period: PeriodView
    runs_total: int
    runs_remaining: int
    tokens_total: int
    plan: str
    plan_run_limit: int
    by_agent: dict[str, billing.AgentUsage]


@get("/api/v1/stats", operation_id="hosted_stats")
async def get_stats(caller: NamedDependency[Caller]) -> Stats:
    """The use of the present billing period."""
    used = await billing.get_statistics(caller.tenant)
    return Stats(
        tenant_id=used.tenant_id,
        period=PeriodView(
            rfc3339(used.period.start, timespec="seconds"), rfc3339(used.period.last_moment, timespec="seconds")
        ),
        runs_total=used.runs,
        runs_remaining=max(0, used.run_limit - used.runs),
        tokens_total=used.tokens,
        plan=used.plan.value,
        plan_run_limit=used.run_limit,
        by_agent=used.by_agent,
    )


ROUTES = [get_stats]
