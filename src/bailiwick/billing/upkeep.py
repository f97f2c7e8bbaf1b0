"""Upkeep of billing: what nobody's request does. Run every minute or so, by any number of workers."""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import delete, func, or_, select

from bailiwick.billing import litellm, proxy_keys
from bailiwick.billing.allowances import due_renewals, renew_period
from bailiwick.billing.errors import KeyIssueFailed
from bailiwick.billing.plans import PLANS
from bailiwick.billing.tables import StripeEvent, Tenant
from bailiwick.billing.webhook import exists_customer, provision_for_checkout, take_waiting
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

_MOST = 200
# Stripe delivers an event again for up to three days; what still waits after that belongs to nobody here.
_KEEP_EVENTS = timedelta(days=90)
_KEEP_WAITING = timedelta(days=30)
_log = structlog.get_logger(__name__)


async def upkeep() -> None:
    """Renews periods that have ended, completes what was begun at the LiteLLM proxy, drops old events."""
    await renew_due_periods()
    await complete_gateway_tasks()
    await push_budgets()
    await settle_waiting_events()


async def renew_due_periods() -> int:
    """Begins the next period of every tenant whose period has ended; how many."""
    async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
        due = await due_renewals(session, _MOST)
    return sum([await renew_period(organization_id) for organization_id in due])


async def complete_gateway_tasks() -> None:
    """Completes tasks at the LiteLLM proxy whose process died or gave up."""
    if not litellm.is_configured():
        return
    async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
        tasks = await proxy_keys.claim_due(session, _MOST)
    for task in tasks:
        try:
            if task.kind == "provision":
                await provision_for_checkout(task.organization_id)
            else:
                await proxy_keys.resume(task)
        except (litellm.GatewayFailed, KeyIssueFailed) as error:
            _log.warning("gateway_task_failed", kind=task.kind, attempts=task.attempts, reason=str(error))


async def push_budgets() -> None:
    """Tells the LiteLLM proxy of changed plans and new periods."""
    if not litellm.is_configured():
        return
    differs = or_(
        *(
            (Tenant.plan == plan.value) & (Tenant.gateway_budget_micros != terms.budget_micros)
            for plan, terms in PLANS.items()
        ),
        Tenant.gateway_period_start != Tenant.period_start,
    )
    async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
        behind = await session.scalars(
            select(Tenant.organization_id).where(Tenant.gateway == "litellm", differs).limit(_MOST)
        )
        organization_ids = list(behind)
    for organization_id in organization_ids:
        try:
            await proxy_keys.push_budget(organization_id)
        except litellm.GatewayFailed as error:
            _log.warning("gateway_budget_not_pushed", reason=str(error))


async def settle_waiting_events() -> None:
    """Applies events whose customer became known, and drops old ones."""
    async with system_transaction(CrossTenantUse.BILLING_WEBHOOK) as session:
        known = await session.scalars(
            select(StripeEvent.customer_id)
            .where(StripeEvent.outcome == "waiting", exists_customer())
            .distinct()
            .limit(_MOST)
        )
        customer_ids = [customer_id for customer_id in known if customer_id is not None]
        await session.execute(
            delete(StripeEvent).where(
                or_(
                    StripeEvent.received_at < func.now() - _KEEP_EVENTS,
                    (StripeEvent.outcome == "waiting") & (StripeEvent.received_at < func.now() - _KEEP_WAITING),
                )
            )
        )
    for customer_id in customer_ids:
        await take_waiting(customer_id)
