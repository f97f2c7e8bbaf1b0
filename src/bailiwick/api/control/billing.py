"""`/api/v1/billing`: the subscription, and Stripe's webhook."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from msgspec import UNSET, UnsetType

from bailiwick import billing
from bailiwick.api.unstorable_text import read_body
from bailiwick.billing import PLANS, Plan
from bailiwick.identity import Caller
from bailiwick.kernel.clock import rfc3339


class Features(msgspec.Struct, frozen=True):
    """What the plan includes."""

    run_limit: int
    agents_included: tuple[str, ...]
    baa_available: bool


class SubscriptionAnswer(msgspec.Struct, frozen=True):
    """The subscription; without one only the first four members, ids null, plan free, status none."""

    customer_id: str | None = None
    subscription_id: str | None = None
    plan: str = Plan.FREE.value
    status: str = "none"
    current_period_end: str | UnsetType = UNSET
    cancel_at_period_end: bool | UnsetType = UNSET
    features: Features | UnsetType = UNSET


class Received(msgspec.Struct, frozen=True):
    """The event was taken."""

    received: Literal[True] = True


@get("/api/v1/billing/subscription", operation_id="hosted_get_subscription")
async def get_subscription(caller: NamedDependency[Caller]) -> SubscriptionAnswer:
    """The subscription as Stripe last reported it."""
    subscription = await billing.get_subscription(caller.tenant)
    if subscription is None:
        return SubscriptionAnswer()
    included = PLANS[subscription.plan]
    return SubscriptionAnswer(
        customer_id=subscription.customer_id,
        subscription_id=subscription.subscription_id,
        plan=subscription.plan.value,
        status=subscription.status,
        current_period_end=rfc3339(subscription.period.last_moment, timespec="seconds"),
        cancel_at_period_end=subscription.cancel_at_period_end,
        features=Features(included.run_limit, included.agents_included, included.baa_available),
    )


async def _take_any_body(request: Request[Any, Any, Any]) -> None:
    """In place of the family's look at bodies: here the signature speaks first, and any signed body is taken."""
    await read_body(request)


@post(
    "/api/v1/billing/webhook",
    operation_id="hosted_stripe_webhook",
    status_code=200,
    public=True,
    before_request=_take_any_body,
)
async def stripe_webhook(request: Request[Any, Any, Any]) -> Received:
    """Takes a Stripe event; what is signed is always taken, also when it has no effect."""
    await billing.receive_event(await request.body(), request.headers.get("stripe-signature"))
    return Received()


ROUTES = [get_subscription, stripe_webhook]
