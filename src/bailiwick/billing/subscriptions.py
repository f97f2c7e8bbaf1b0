"""Subscriptions as Stripe reports them: what an event changes, which one counts, how clients see it.

Events arrive more than once and in any order. Each value carries the stamp of the event that set it and yields only to
one at least as recent; so any order of the same events ends in the same state. Of events of one second, which is as
exactly as Stripe tells, the last to arrive counts; with an API key the subscription is read anew, and their order does
not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.billing.periods import Period, calendar_month, period_at
from bailiwick.billing.plans import Plan
from bailiwick.billing.stripe_facts import EventKind, Facts, SubscriptionState
from bailiwick.billing.tables import Subscription
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction

_DEAD = ("canceled", "incomplete", "incomplete_expired")


class SubscriptionView(msgspec.Struct, frozen=True):
    """The subscription that counts for an organisation."""

    customer_id: str | None
    subscription_id: str
    plan: Plan
    status: str
    period: Period
    cancel_at_period_end: bool


async def get_subscription(organization_id: UUID) -> SubscriptionView | None:
    """The organisation's subscription as the webhook last reported it; None without one or after its deletion."""
    async with tenant_transaction(organization_id) as session:
        current = current_of(await load_subscriptions(session, organization_id))
    if current is None:
        return None
    if current.period_start is None or current.period_end is None:
        period = calendar_month(now())
    else:
        period = Period(current.period_start, current.period_end, subscribed=True)
    return SubscriptionView(
        current.customer_id,
        current.id,
        plan_of(current),
        current.status or "incomplete",
        period,
        current.cancel_at_period_end,
    )


async def load_subscriptions(session: AsyncSession, organization_id: UUID) -> Sequence[Subscription]:
    """Every subscription that the organisation ever had."""
    rows = await session.scalars(
        select(Subscription)
        .where(Subscription.organization_id == organization_id)
        .order_by(Subscription.id)
        .execution_options(populate_existing=True)
    )
    return rows.all()


def current_of(subscriptions: Iterable[Subscription]) -> Subscription | None:
    """The one that counts: not deleted, and of several the newest that is not dead already."""
    alive = [one for one in subscriptions if is_alive(one)]
    return max(alive, key=lambda one: (one.status not in _DEAD, one.first_at, one.id), default=None)


def is_alive(subscription: Subscription) -> bool:
    """Whether it was seen to exist and not to end after that."""
    if subscription.alive_stamp is None:
        return False
    return subscription.deleted_stamp is None or subscription.deleted_stamp < subscription.alive_stamp


def plan_of(subscription: Subscription) -> Plan:
    """Its plan; `pro` as long as Stripe named none."""
    return Plan(subscription.plan) if subscription.plan is not None else Plan.PRO


def effective_plan(subscriptions: Sequence[Subscription]) -> Plan | None:
    """The plan that the subscriptions give: the current one's, `free` after the last one's end, None if none began."""
    current = current_of(subscriptions)
    if current is not None:
        return plan_of(current)
    return Plan.FREE if any(one.deleted_stamp is not None for one in subscriptions) else None


def billing_period(subscriptions: Iterable[Subscription], moment: datetime) -> Period:
    """The billing period at `moment`: the current subscription's, else the calendar month."""
    current = current_of(subscriptions)
    if current is None:
        return calendar_month(moment)
    return period_at(moment, current.period_start, current.period_end)


def new_subscription(organization_id: UUID, facts: Facts) -> Subscription:
    """A subscription of which nothing is known but its id."""
    return Subscription(
        organization_id=organization_id,
        id=facts.subscription_id,
        plan_stamp=0,
        status_stamp=0,
        period_stamp=0,
        cancel_at_period_end=False,
        cancel_stamp=0,
        first_at=facts.created,
        revision=0,
    )


def apply_event(subscription: Subscription, facts: Facts) -> None:
    """Takes over what an event says, as far as nothing more recent is known."""
    stamp = _stamp(facts)
    _identify(subscription, facts)
    if facts.kind is EventKind.DELETED:
        subscription.deleted_stamp = max(subscription.deleted_stamp or 0, stamp)
        return
    if facts.kind is not EventKind.PAYMENT_FAILED:
        subscription.alive_stamp = max(subscription.alive_stamp or 0, stamp)
    _take(subscription, facts.state, stamp, certain=False)


def apply_fetched(subscription: Subscription, facts: Facts, state: SubscriptionState) -> None:
    """Takes over the present state that Stripe's API answered when asked because of an event: it beats every event."""
    stamp = _stamp(facts)
    _identify(subscription, facts)
    if state.status == "canceled":
        subscription.deleted_stamp = max(subscription.deleted_stamp or 0, subscription.alive_stamp or 0, stamp)
        return
    subscription.alive_stamp = max(subscription.alive_stamp or 0, (subscription.deleted_stamp or 0) + 1, stamp)
    if state.plan is None and facts.state.plan is not None:
        # The plan named at the checkout need not stand on the subscription.
        _take(subscription, SubscriptionState(plan=facts.state.plan), stamp, certain=False)
    _take(subscription, state, stamp, certain=True)


def _stamp(facts: Facts) -> int:
    return facts.created * 2 + (facts.kind is not EventKind.CHECKOUT)


def _identify(subscription: Subscription, facts: Facts) -> None:
    subscription.customer_id = subscription.customer_id or facts.customer_id
    subscription.first_at = min(subscription.first_at, facts.created)
    subscription.revision += 1


def _take(subscription: Subscription, state: SubscriptionState, stamp: int, *, certain: bool) -> None:
    if state.plan is not None and (certain or stamp >= subscription.plan_stamp):
        subscription.plan, subscription.plan_stamp = state.plan.value, max(stamp, subscription.plan_stamp)
    if state.status is not None and (certain or stamp >= subscription.status_stamp):
        subscription.status, subscription.status_stamp = state.status, max(stamp, subscription.status_stamp)
    if state.period_end is not None and (certain or stamp >= subscription.period_stamp):
        subscription.period_start, subscription.period_end = state.period_start, state.period_end
        subscription.period_stamp = max(stamp, subscription.period_stamp)
    if state.cancel_at_period_end is not None and (certain or stamp >= subscription.cancel_stamp):
        subscription.cancel_at_period_end = state.cancel_at_period_end
        subscription.cancel_stamp = max(stamp, subscription.cancel_stamp)
