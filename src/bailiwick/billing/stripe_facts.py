"""What a Stripe event says that matters here, taken from its JSON with nothing trusted but its signature.

Four types count (contract x-stripe). Members that are missing or of another shape are None, and an event that names no
subscription says nothing. Objects: docs.stripe.com/api/events, /checkout/sessions, /subscriptions, /invoices.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from bailiwick.billing.plans import Plan, plan_named

_LATEST_TIMESTAMP = 253_402_300_799  # 9999-12-31T23:59:59Z
_TEXT_MAX = 255  # Stripe's ids fit in 255 characters

STATUSES = frozenset(
    ("trialing", "active", "past_due", "canceled", "unpaid", "incomplete", "incomplete_expired", "paused")
)


class EventKind(StrEnum):
    """The event types that have an effect."""

    CHECKOUT = "checkout.session.completed"
    UPDATED = "customer.subscription.updated"
    DELETED = "customer.subscription.deleted"
    PAYMENT_FAILED = "invoice.payment_failed"


class SubscriptionState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a subscription as far as an event, or Stripe's API, tells it; None where it does not."""

    plan: Plan | None = None
    status: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    cancel_at_period_end: bool | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One event: which subscription it is about, whose that is, and what it says of it."""

    event_id: str
    kind: EventKind
    created: int
    """Unix seconds at which Stripe made the event."""
    subscription_id: str
    customer_id: str | None = None
    organization: str | None = None
    """`metadata.org_id`."""
    state: SubscriptionState = SubscriptionState()


class Envelope(msgspec.Struct, frozen=True):
    """The identity of any event."""

    id: str
    type: str


def envelope_of(event: object) -> Envelope | None:
    """The identity of a decoded body; None when it is no event."""
    if not isinstance(event, dict):
        return None
    event_id, kind = _text(event.get("id")), _text(event.get("type"))
    return Envelope(event_id, kind) if event_id and kind else None


def facts_of(event: Mapping[str, Any], *, received: int) -> Facts | None:
    """The facts of an event; None when it has no effect here. `received` (Unix seconds) stands in for no `created`."""
    envelope = envelope_of(event)
    if envelope is None or envelope.type not in list(EventKind):
        return None
    kind = EventKind(envelope.type)
    thing = _mapping(_mapping(event.get("data")).get("object"))
    metadata = [_mapping(thing.get("metadata"))]
    if kind in (EventKind.UPDATED, EventKind.DELETED):
        subscription_id, state = _text(thing.get("id")), state_of(thing)
    elif kind is EventKind.CHECKOUT:
        subscription_id, state = _id(thing.get("subscription")), SubscriptionState(plan=_plan(thing), status="active")
    else:
        # Since API version 2025-03-31 an invoice names its subscription under `parent`; before, at the top.
        details = _mapping(_mapping(thing.get("parent")).get("subscription_details"))
        subscription_id = _id(thing.get("subscription")) or _id(details.get("subscription"))
        metadata += [
            _mapping(details.get("metadata")),
            _mapping(_mapping(thing.get("subscription_details")).get("metadata")),
        ]
        state = SubscriptionState(status="past_due")
    if not subscription_id:
        return None
    return Facts(
        event_id=envelope.id,
        kind=kind,
        created=_seconds(event.get("created")) or received,
        subscription_id=subscription_id,
        customer_id=_id(thing.get("customer")),
        organization=next((name for one in metadata if (name := _text(one.get("org_id")))), None),
        state=state,
    )


def state_of(subscription: Mapping[str, Any]) -> SubscriptionState:
    """The state that a Subscription object tells, from an event or from the API."""
    items = [_mapping(item) for item in _list(_mapping(subscription.get("items")).get("data"))]
    # Since API version 2025-03-31 the period stands on each item; items of one subscription may differ, and the one
    # that renews first is the period in which allowances count.
    periods = [(_moment(one.get("current_period_start")), _moment(one.get("current_period_end"))) for one in items]
    periods.insert(
        0, (_moment(subscription.get("current_period_start")), _moment(subscription.get("current_period_end")))
    )
    start, end = min(
        ((start, end) for start, end in periods if start is not None and end is not None and start < end),
        key=lambda period: period[1],
        default=(None, None),
    )
    status = _text(subscription.get("status"))
    cancels = subscription.get("cancel_at_period_end")
    # Subscriptions in flexible billing mode say the same by `cancel_at`.
    if cancels is False and end is not None and _moment(subscription.get("cancel_at")) == end:
        cancels = True
    return SubscriptionState(
        plan=_plan(subscription),
        status=status if status in STATUSES else None,
        period_start=start,
        period_end=end,
        cancel_at_period_end=cancels if isinstance(cancels, bool) else None,
    )


def _plan(thing: Mapping[str, Any]) -> Plan | None:
    """`metadata.plan`, else the lookup_key of a price: both are names of plans."""
    named = plan_named(_mapping(thing.get("metadata")).get("plan"))
    if named is not None:
        return named
    items = _list(_mapping(thing.get("items")).get("data")) or _list(_mapping(thing.get("line_items")).get("data"))
    keys = [_mapping(_mapping(item).get("price")).get("lookup_key") for item in items]
    return next((plan for key in keys if (plan := plan_named(key))), None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    """A short text that PostgreSQL can store."""
    return value if isinstance(value, str) and 0 < len(value) <= _TEXT_MAX and "\x00" not in value else None


def _id(value: object) -> str | None:
    """The id of a reference, which Stripe expands to the whole object on request."""
    return _text(value.get("id")) if isinstance(value, dict) else _text(value)


def _seconds(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _LATEST_TIMESTAMP else None


def _moment(value: object) -> datetime | None:
    seconds = _seconds(value)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
