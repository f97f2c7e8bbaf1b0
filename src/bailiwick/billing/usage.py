"""What an organisation used: its completed agent runs in a period, as the counts of traces tell them."""

from __future__ import annotations

from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.billing.errors import TenantNotFound
from bailiwick.billing.periods import Period
from bailiwick.billing.plans import PLANS, Plan
from bailiwick.billing.subscriptions import billing_period, load_subscriptions
from bailiwick.billing.tables import Tenant
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction

_USAGE = text("select agent_id, runs, tokens from invocations_run_usage(:organization_id, :from_ms, :until_ms)")


class AgentUsage(msgspec.Struct, frozen=True):
    """Runs and tokens of one agent."""

    runs: int
    tokens: int


class Statistics(msgspec.Struct, frozen=True):
    """The use of a tenant in its present billing period."""

    tenant_id: str
    period: Period
    plan: Plan
    run_limit: int
    by_agent: dict[str, AgentUsage]

    @property
    def runs(self) -> int:
        """Completed runs of every agent."""
        return sum(usage.runs for usage in self.by_agent.values())

    @property
    def tokens(self) -> int:
        """Tokens of those runs, in and out."""
        return sum(usage.tokens for usage in self.by_agent.values())


async def get_statistics(organization_id: UUID) -> Statistics:
    """The use in the present billing period. Raises TenantNotFound when the organisation was never provisioned."""
    async with tenant_transaction(organization_id) as session:
        tenant = await session.get(Tenant, organization_id)
        if tenant is None:
            raise TenantNotFound
        period = billing_period(await load_subscriptions(session, organization_id), now())
        by_agent = await usage_in(session, organization_id, period)
    plan = Plan(tenant.plan)
    return Statistics(ids.encode(ids.Prefix.TENANT, tenant.id), period, plan, PLANS[plan].run_limit, by_agent)


async def usage_in(session: AsyncSession, organization_id: UUID, period: Period) -> dict[str, AgentUsage]:
    """Each agent's completed runs in a period."""
    rows = await session.execute(
        _USAGE,
        {
            "organization_id": organization_id,
            "from_ms": int(period.start.timestamp() * 1000),
            "until_ms": int(period.end.timestamp() * 1000),
        },
    )
    return {row.agent_id: AgentUsage(row.runs, row.tokens) for row in rows}
