"""A tenant's allowance: the runs budget and the money that its plan gives for one billing period.

Every change is made under a lock on the organisation's billing, then in the order of locks that holds everywhere:
accounts, budgets, audit log.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, identity, ledger
from bailiwick.billing.periods import Period
from bailiwick.billing.plans import PLANS, Plan
from bailiwick.billing.subscriptions import billing_period, load_subscriptions
from bailiwick.billing.tables import Tenant
from bailiwick.billing.usage import usage_in
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.database import tenant_transaction

_LOCK = text("select pg_advisory_xact_lock(hashtextextended('billing:' || cast(:organization_id as text), 0))")


async def lock_billing(session: AsyncSession, organization_id: UUID) -> None:
    """One at a time changes an organisation's tenant record and subscriptions, also before there are any rows."""
    await session.execute(_LOCK, {"organization_id": str(organization_id)})


async def load_tenant(session: AsyncSession, organization_id: UUID) -> Tenant | None:
    """The tenant record as it stands."""
    return await session.get(Tenant, organization_id, populate_existing=True)


async def renew_period(organization_id: UUID) -> bool:
    """Begins the tenant's next billing period once the present one has ended; whether this call did.

    What was not used is withdrawn, the plan's budget granted anew, and a new runs budget opened. Of callers at the same
    time one renews, the others wait and find it done.
    """
    async with tenant_transaction(organization_id) as session:
        await lock_billing(session, organization_id)
        tenant = await load_tenant(session, organization_id)
        moment = now()
        if tenant is None or moment < tenant.period_end:
            return False
        period = billing_period(await load_subscriptions(session, organization_id), moment)
        await change_allowance(session, tenant, Plan(tenant.plan), period)
        await audit.append(
            session,
            organization_id,
            action="billing_period.renewed",
            actor="system",
            subject=ids.encode(ids.Prefix.TENANT, tenant.id),
            attributes={"plan": tenant.plan, "period_start": rfc3339(period.start), "period_end": rfc3339(period.end)},
        )
    return True


async def change_allowance(session: AsyncSession, tenant: Tenant, plan: Plan, period: Period) -> bool:
    """Brings a tenant to `plan` in `period`; whether anything changed. The caller holds the lock of billing.

    Within a period the difference of the budgets is granted or withdrawn, never more than is neither spent nor held.
    """
    same_period = tenant.period_start == period.start
    if same_period and tenant.plan == plan and tenant.period_end == period.end:
        return False
    tenant.plan = plan.value
    if tenant.account_id is not None:
        if same_period:
            await _adjust(session, tenant, tenant.account_id)
        else:
            await ledger.withdraw_remaining(session, tenant.organization_id, tenant.account_id, "plan_expiry")
            await fund(session, tenant, tenant.account_id)
    await set_period(session, tenant, period)
    tenant.updated_at = now()
    await identity.touch_organization(session, tenant.organization_id)
    return True


async def fund(session: AsyncSession, tenant: Tenant, account_id: UUID) -> None:
    """Grants the plan's whole budget to an account."""
    amount = PLANS[Plan(tenant.plan)].budget_micros
    await ledger.grant(session, tenant.organization_id, account_id, amount, "plan_grant")
    tenant.granted_micros = amount


async def _adjust(session: AsyncSession, tenant: Tenant, account_id: UUID) -> None:
    """Grants or withdraws the difference between what the plan gives and what was granted in this period."""
    missing = PLANS[Plan(tenant.plan)].budget_micros - tenant.granted_micros
    if missing < 0:
        taken = await ledger.withdraw_remaining(session, tenant.organization_id, account_id, "plan_change")
        available = taken.amount if taken is not None else 0
        # The account stays locked, so nobody sees it empty in between.
        tenant.granted_micros -= available
        missing = max(0, available + missing)
    if missing > 0:
        await ledger.grant(session, tenant.organization_id, account_id, missing, "plan_change")
        tenant.granted_micros += missing


async def set_period(session: AsyncSession, tenant: Tenant, period: Period) -> None:
    """Opens or adjusts the runs budget of a period, and writes both on the tenant."""
    organization_id = tenant.organization_id
    run_limit = PLANS[Plan(tenant.plan)].run_limit
    budget = await ledger.open_budget(
        session,
        organization_id,
        scope="organization",
        scope_id=organization_id,
        unit="runs",
        period="billing",
        period_start=period.start,
        period_end=period.end,
        limit_amount=run_limit,
    )
    if tenant.runs_budget_id != budget.id:
        # A period may begin before its budget is opened (a subscription in mid-month): runs made since count as well.
        made = sum(usage.runs for usage in (await usage_in(session, organization_id, period)).values())
        tenant.runs_uncounted = max(0, made - budget.spent)
        tenant.runs_budget_id = budget.id
    limit = max(0, run_limit - tenant.runs_uncounted)
    if budget.limit_amount != limit:
        await ledger.set_limit(session, organization_id, budget.id, limit)
    tenant.period_start, tenant.period_end = period.start, period.end
    tenant.period_subscribed = period.subscribed


async def due_renewals(session: AsyncSession, most: int) -> list[UUID]:
    """Tenants whose period has ended, within a system transaction."""
    rows = await session.scalars(
        select(Tenant.organization_id).where(Tenant.period_end <= func.now()).order_by(Tenant.period_end).limit(most)
    )
    return list(rows)
