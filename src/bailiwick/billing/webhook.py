"""Stripe's webhook: each event has its effect once, whatever the order in which events arrive.

With a Stripe API key configured an event only says that something changed: what the subscription is now is fetched, and
fetched again if another event was recorded meanwhile. Without one the event is believed (`subscriptions.apply_event`).
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, secrets
from bailiwick.billing import litellm, proxy_keys, stripe_api
from bailiwick.billing.allowances import change_allowance, load_tenant, lock_billing
from bailiwick.billing.errors import KeyIssueFailed
from bailiwick.billing.plans import Plan
from bailiwick.billing.provisioning import Order, live_key, provision
from bailiwick.billing.stripe_facts import EventKind, Facts, SubscriptionState, facts_of
from bailiwick.billing.stripe_signature import verify_signature
from bailiwick.billing.subscriptions import (
    apply_event,
    apply_fetched,
    billing_period,
    effective_plan,
    load_subscriptions,
    new_subscription,
)
from bailiwick.billing.tables import StripeCustomer, StripeEvent, Subscription
from bailiwick.billing.tenants import fulfil
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import narrow, system_transaction
from bailiwick.kernel.runtime import Runtime, runtime


class _LookedUp(msgspec.Struct, frozen=True):
    """The secret as it was found, and until when (monotonic seconds) that is believed; anyone may make us look."""

    of: Runtime
    secret: str | None
    until: float


ACTOR = "stripe"
SECRET_REFERENCE = "stripe__hosted-agents__webhook-secret"
_SECRET_SECONDS = 60
_MOST_FETCHES = 5
_MOST_WAITING = 100
_looked_up: _LookedUp | None = None
_log = structlog.get_logger(__name__)

_LOCK_CUSTOMER = text("select pg_advisory_xact_lock(hashtextextended('stripe:' || cast(:customer_id as text), 0))")
_BY_EXTERNAL_ID = text(
    "select e.organization_id from external_organizations e join organizations o on o.id = e.organization_id"
    " where e.external_id = :external_id and o.deleted_at is null limit 2"
)
_BY_ID = text("select id from organizations where id = :id and deleted_at is null")


async def receive_event(body: bytes, signature: str | None) -> None:
    """Takes one delivery of the webhook. Raises WebhookSignatureInvalid; what is signed is taken, even if ignored."""
    verify_signature(body, signature, await _webhook_secret(), at=now().timestamp())
    try:
        event: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    facts = facts_of(event, received=int(now().timestamp())) if isinstance(event, dict) else None
    if facts is None:
        return
    await take(facts)
    if facts.customer_id is not None:
        await take_waiting(facts.customer_id)


async def take(facts: Facts) -> None:
    """Gives an event its effect, unless it had it before."""
    for attempt in range(_MOST_FETCHES + 1):
        target = await _prepare(facts)
        if target is None:
            return
        organization_id, revision = target
        state = None
        if attempt < _MOST_FETCHES and stripe_api.is_configured():
            state = await stripe_api.fetch_subscription(facts.subscription_id)
        if await _apply(organization_id, facts, state, revision):
            break


async def take_waiting(customer_id: str) -> None:
    """Gives events their effect that came before their customer was known."""
    async with system_transaction(CrossTenantUse.BILLING_WEBHOOK) as session:
        rows = await session.scalars(
            select(StripeEvent.facts)
            .where(StripeEvent.customer_id == customer_id, StripeEvent.outcome == "waiting")
            .where(exists_customer())
            .order_by(StripeEvent.created)
            .limit(_MOST_WAITING)
        )
        waiting = [msgspec.convert(facts, Facts) for facts in rows]
    for facts in waiting:
        await take(facts)


def exists_customer() -> Any:
    """The condition that an event's customer is known by now."""
    return select(StripeCustomer.id).where(StripeCustomer.id == StripeEvent.customer_id).exists()


async def provision_for_checkout(organization_id: UUID) -> None:
    """Gives an organisation the key that its checkout is owed. Raises KeyIssueFailed; then it is tried again later."""
    async with system_transaction(CrossTenantUse.BILLING_WEBHOOK) as session:
        plan = effective_plan(await load_subscriptions(session, organization_id))
        held = await live_key(session, organization_id)
    if plan is not None and held is None:
        await fulfil(organization_id, Order(plan=plan, actor=ACTOR))
    async with system_transaction(CrossTenantUse.BILLING_WEBHOOK) as session:
        await proxy_keys.end(session, organization_id, "provision", organization_id)


async def _prepare(facts: Facts) -> tuple[UUID, int] | None:
    """Whose event it is, and the revision of its subscription; None when there is nothing (more) to do now."""
    async with system_transaction(CrossTenantUse.BILLING_WEBHOOK) as session:
        await _lock_customer(session, facts)
        outcome = await session.scalar(select(StripeEvent.outcome).where(StripeEvent.id == facts.event_id))
        if outcome not in (None, "waiting"):
            return None
        organization_id = await _organization_of(session, facts)
        if organization_id is None:
            # An organisation that is named and unknown stays unknown; a customer may become known by a later event.
            waits = facts.organization is None and facts.customer_id is not None
            await session.execute(
                insert(StripeEvent)
                .values(
                    id=facts.event_id,
                    type=facts.kind.value,
                    created=facts.created,
                    customer_id=facts.customer_id,
                    outcome="waiting" if waits else "ignored",
                    facts=msgspec.to_builtins(facts) if waits else None,
                )
                .on_conflict_do_nothing()
            )
            return None
        revision = await session.scalar(
            select(Subscription.revision).where(
                Subscription.organization_id == organization_id, Subscription.id == facts.subscription_id
            )
        )
        return organization_id, revision or 0


async def _apply(organization_id: UUID, facts: Facts, state: SubscriptionState | None, revision: int) -> bool:
    """Records the event and all that follows from it; False when `state` was fetched too early and must be again."""
    async with system_transaction(CrossTenantUse.BILLING_WEBHOOK) as session:
        await _lock_customer(session, facts)
        await narrow(session, organization_id)
        await lock_billing(session, organization_id)
        subscription = await session.get(Subscription, (organization_id, facts.subscription_id), populate_existing=True)
        if state is not None and (subscription.revision if subscription is not None else 0) != revision:
            return False
        if not await _claim(session, organization_id, facts):
            return True
        if subscription is None:
            subscription = new_subscription(organization_id, facts)
            session.add(subscription)
        if state is None:
            apply_event(subscription, facts)
        else:
            apply_fetched(subscription, facts, state)
        await session.flush()
        if facts.customer_id is not None:
            await session.execute(
                insert(StripeCustomer)
                .values(id=facts.customer_id, organization_id=organization_id)
                .on_conflict_do_nothing()
            )
        owed = await _follow(session, organization_id, facts)
        await audit.append(
            session,
            organization_id,
            action="subscription.updated",
            actor=ACTOR,
            subject=facts.subscription_id,
            attributes={
                "event": facts.event_id,
                "type": facts.kind.value,
                "plan": subscription.plan,
                "status": subscription.status,
            },
        )
    if owed:
        try:
            await provision_for_checkout(organization_id)
        except KeyIssueFailed:
            _log.warning("checkout_not_provisioned", organization=str(organization_id))
    return True


async def _follow(session: AsyncSession, organization_id: UUID, facts: Facts) -> bool:
    """Brings the tenant to what its subscriptions now say; whether a checkout is owed a key of a LiteLLM proxy."""
    subscriptions = await load_subscriptions(session, organization_id)
    plan = effective_plan(subscriptions)
    if plan is None:
        return False
    tenant = await load_tenant(session, organization_id)
    if tenant is not None:
        await change_allowance(session, tenant, plan, billing_period(subscriptions, now()))
        await session.flush()
    if facts.kind is not EventKind.CHECKOUT or await live_key(session, organization_id) is not None:
        return False
    if litellm.is_configured():
        await proxy_keys.begin(session, organization_id, "provision", organization_id)
        return True
    await provision(session, organization_id, Order(plan=Plan(plan), actor=ACTOR))
    return False


async def _claim(session: AsyncSession, organization_id: UUID, facts: Facts) -> bool:
    """Marks the event as applied; False when it was already."""
    claimed = await session.scalar(
        insert(StripeEvent)
        .values(
            id=facts.event_id,
            type=facts.kind.value,
            created=facts.created,
            organization_id=organization_id,
            customer_id=facts.customer_id,
            outcome="applied",
        )
        .on_conflict_do_nothing()
        .returning(StripeEvent.id)
    )
    if claimed is None:
        claimed = await session.scalar(
            update(StripeEvent)
            .where(StripeEvent.id == facts.event_id, StripeEvent.outcome == "waiting")
            .values(outcome="applied", organization_id=organization_id, facts=None)
            .returning(StripeEvent.id)
        )
    return claimed is not None


async def _organization_of(session: AsyncSession, facts: Facts) -> UUID | None:
    """The organisation that the metadata name, else that of the subscription, else that of the customer."""
    if facts.organization is not None:
        identifier = ids.decode(ids.Prefix.ORGANIZATION, facts.organization)
        if identifier is not None:
            known: UUID | None = await session.scalar(_BY_ID, {"id": identifier})
            if known is not None:
                return known
        # Two issuers may both know an organisation of this name: then it is nobody's.
        found = list(await session.scalars(_BY_EXTERNAL_ID, {"external_id": facts.organization}))
        return found[0] if len(found) == 1 else None
    of_subscription: UUID | None = await session.scalar(
        select(Subscription.organization_id).where(Subscription.id == facts.subscription_id).limit(1)
    )
    if of_subscription is not None:
        return of_subscription
    of_customer: UUID | None = await session.scalar(
        select(StripeCustomer.organization_id).where(StripeCustomer.id == facts.customer_id)
    )
    return of_customer


async def _lock_customer(session: AsyncSession, facts: Facts) -> None:
    """So that an event does not begin to wait for its customer while another makes the customer known."""
    if facts.customer_id is not None:
        await session.execute(_LOCK_CUSTOMER, {"customer_id": facts.customer_id})


async def _webhook_secret() -> str | None:
    """The webhook's secret; None when none is configured."""
    global _looked_up
    configured = runtime().settings.stripe_webhook_secret
    if configured is not None:
        return configured.get_secret_value()
    if _looked_up is None or _looked_up.of is not runtime() or _looked_up.until < time.monotonic():
        try:
            found = (await secrets.secret_of_installation(SECRET_REFERENCE)).reveal()
        except secrets.SecretNotFound:
            found = None
        _looked_up = _LookedUp(runtime(), found, time.monotonic() + _SECRET_SECONDS)
    return _looked_up.secret
