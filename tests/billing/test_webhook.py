"""Stripe events: their effects, once each, in whatever order they come."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text

from bailiwick import billing, ledger
from bailiwick.billing import Plan
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction
from bailiwick.kernel.runtime import runtime
from tests.billing.conftest import (
    checkout,
    event,
    failed_invoice,
    new_organization,
    public_id,
    signed,
    subscription,
)
from tests.billing.stubs import StripeStub
from tests.billing.tenancy import USD, actions, live_terms, prove_zero_sum, provision, runs_left, spend

NOW = int(time.time())
DAY = 86_400
PERIOD = (NOW - 5 * DAY, NOW + 25 * DAY)


async def deliver(*events: dict[str, Any]) -> None:
    for one in events:
        await billing.receive_event(*signed(one))


async def budget_usd(organization_id: UUID) -> float | None:
    state = await billing.tenant_state(organization_id)
    return None if state is None else state.budget_micros / USD


async def subscription_of(organization_id: UUID) -> billing.SubscriptionView:
    found = await billing.get_subscription(organization_id)
    assert found is not None
    return found


async def test_a_checkout_activates_and_provisions(organization: UUID) -> None:
    await deliver(event("checkout.session.completed", checkout(organization)))
    found = await subscription_of(organization)
    assert (found.customer_id, found.subscription_id) == ("cus_1", "sub_1")
    assert (found.plan, found.status, found.cancel_at_period_end) == (Plan.PRO, "active", False)
    assert await budget_usd(organization) == 50
    assert await runs_left(organization) == 1000
    assert await actions(organization) == ["tenant.provisioned", "subscription.updated"]


async def test_a_checkout_for_a_provisioned_tenant_keeps_the_key_and_changes_the_plan(organization: UUID) -> None:
    held = await provision(organization, Plan.PILOT)
    await spend(organization, 2 * USD)
    await deliver(event("checkout.session.completed", checkout(organization, plan="enterprise")))
    state = await billing.tenant_state(organization)
    assert state == billing.TenantState(Plan.ENTERPRISE, held.key_id, 498 * USD)
    assert await runs_left(organization) == 10_000
    await prove_zero_sum()


async def test_an_update_is_copied(organization: UUID) -> None:
    await deliver(
        event("checkout.session.completed", checkout(organization), created=NOW - 100),
        event(
            "customer.subscription.updated",
            subscription(status="trialing", lookup_key="starter", period=PERIOD, cancels=True),
            created=NOW - 50,
        ),
    )
    found = await subscription_of(organization)
    assert (found.plan, found.status, found.cancel_at_period_end) == (Plan.STARTER, "trialing", True)
    assert found.period.end == datetime.fromtimestamp(PERIOD[1], UTC)
    assert (await billing.get_statistics(organization)).period == found.period
    assert await budget_usd(organization) == 25
    assert await runs_left(organization) == 250


async def test_older_api_versions_have_the_period_at_the_top(organization: UUID) -> None:
    thing = subscription() | {"current_period_start": PERIOD[0], "current_period_end": PERIOD[1]}
    thing["metadata"] = {"org_id": public_id(organization), "plan": "pilot"}
    await deliver(event("customer.subscription.updated", thing))
    found = await subscription_of(organization)
    assert (found.plan, found.period.end) == (Plan.PILOT, datetime.fromtimestamp(PERIOD[1], UTC))


async def test_the_plan_is_named_by_metadata_before_the_price(organization: UUID) -> None:
    await deliver(event("checkout.session.completed", checkout(organization, plan="starter"), created=NOW - 9))
    await deliver(
        event(
            "customer.subscription.updated",
            subscription(lookup_key="pro", metadata={"plan": "enterprise"}),
            created=NOW - 8,
        )
    )
    assert (await subscription_of(organization)).plan is Plan.ENTERPRISE
    # Neither named, or not known: unchanged.
    await deliver(event("customer.subscription.updated", subscription(lookup_key="price of old"), created=NOW - 7))
    assert (await subscription_of(organization)).plan is Plan.ENTERPRISE


async def test_deletion_ends_at_the_free_plan_and_keeps_the_key(organization: UUID) -> None:
    await deliver(event("checkout.session.completed", checkout(organization)))
    held = await billing.tenant_state(organization)
    await deliver(event("customer.subscription.deleted", subscription(status="canceled")))
    assert await billing.get_subscription(organization) is None
    state = await billing.tenant_state(organization)
    assert held is not None
    assert state == billing.TenantState(Plan.FREE, held.key_id, 1 * USD)
    assert await runs_left(organization) == 25
    await prove_zero_sum()


@pytest.mark.parametrize("shape", ["parent", "top"])
async def test_a_failed_payment_is_past_due(organization: UUID, shape: str) -> None:
    invoice = failed_invoice()
    if shape == "top":
        del invoice["parent"]
        invoice["subscription"] = "sub_1"
    await deliver(event("checkout.session.completed", checkout(organization)), event("invoice.payment_failed", invoice))
    found = await subscription_of(organization)
    assert (found.status, found.plan) == ("past_due", Plan.PRO)
    await deliver(event("customer.subscription.updated", subscription(status="active")))
    assert (await subscription_of(organization)).status == "active"


async def test_a_smaller_plan_takes_back_no_more_than_is_neither_spent_nor_held(organization: UUID) -> None:
    await provision(organization, Plan.PRO)
    terms = await live_terms(organization)
    assert terms.account_id is not None
    await spend(organization, 44 * USD)
    async with tenant_transaction(organization) as session:
        hold = await ledger.place_hold(
            session,
            organization,
            debit_account_id=terms.account_id,
            credit_account_id=terms.sink_account_id,
            amount=2 * USD,
            kind="invocation",
            lease_expires_at=now() + timedelta(minutes=5),
        )
    await deliver(event("checkout.session.completed", checkout(organization, plan="pilot"), created=NOW - 50))
    assert await budget_usd(organization) == 0
    async with tenant_transaction(organization) as session:
        await ledger.post_hold(session, organization, hold.id, amount=2 * USD)
    # Up again: what the bigger plan gives, less what was used.
    await deliver(event("customer.subscription.updated", subscription(metadata={"plan": "pro"}), created=NOW - 40))
    assert await budget_usd(organization) == 4
    await prove_zero_sum()


async def test_an_event_has_its_effect_once(organization: UUID) -> None:
    first = event("checkout.session.completed", checkout(organization, plan="pilot"), created=NOW - 100)
    second = event("customer.subscription.updated", subscription(metadata={"plan": "starter"}), created=NOW - 50)
    await deliver(first, second)
    recorded = await actions(organization)
    await deliver(first, second, first, second)
    await asyncio.gather(*(deliver(second) for _ in range(5)))
    assert await actions(organization) == recorded
    assert (await subscription_of(organization)).plan is Plan.STARTER


async def test_the_same_event_delivered_at_once_counts_once(organization: UUID) -> None:
    one = event("checkout.session.completed", checkout(organization))
    await asyncio.gather(*(deliver(one) for _ in range(8)))
    assert (await actions(organization)).count("subscription.updated") == 1
    assert (await actions(organization)).count("tenant.provisioned") == 1
    assert await budget_usd(organization) == 50


async def test_different_events_at_once_all_count(organization: UUID) -> None:
    events = [event("checkout.session.completed", checkout(organization), created=NOW - 100)]
    events += [
        event(
            "customer.subscription.updated", subscription(metadata={"plan": plan}, period=PERIOD), created=NOW - 50 + at
        )
        for at, plan in enumerate(("pilot", "starter", "enterprise", "starter"))
    ]
    await asyncio.gather(*(deliver(one) for one in random.sample(events, len(events))))
    found = await subscription_of(organization)
    assert (found.plan, await budget_usd(organization), await runs_left(organization)) == (Plan.STARTER, 25, 250)
    assert (await actions(organization)).count("subscription.updated") == 5
    await prove_zero_sum()


def story(organization_id: UUID, tag: str) -> list[dict[str, Any]]:
    """A life: checkout, two updates, a failed payment, a new attempt; only the checkout names the organisation."""
    sub, customer = f"sub_{tag}", f"cus_{tag}"
    return [
        event(
            "checkout.session.completed", checkout(organization_id, customer=customer, subscription_id=sub), created=1
        ),
        event(
            "customer.subscription.updated",
            subscription(sub, customer=customer, lookup_key="starter", period=PERIOD),
            created=2,
        ),
        event("invoice.payment_failed", failed_invoice(sub, customer=customer), created=3),
        event(
            "customer.subscription.updated",
            subscription(sub, customer=customer, lookup_key="enterprise", period=PERIOD, cancels=True, status="unpaid"),
            created=4,
        ),
    ]


async def outcome(organization_id: UUID) -> tuple[object, ...]:
    """What a story leaves behind, but for its own ids."""
    found = await billing.get_subscription(organization_id)
    state = await billing.tenant_state(organization_id)
    assert state is not None
    return (
        None if found is None else (found.plan, found.status, found.period, found.cancel_at_period_end),
        state.plan,
        state.budget_micros,
        await runs_left(organization_id),
        (await billing.get_statistics(organization_id)).period,
    )


async def test_any_order_of_events_ends_in_the_same_state(db: Database) -> None:
    outcomes = set()
    for number, order in enumerate(permutations(range(4))):
        organization_id = await new_organization()
        events = story(organization_id, str(number))
        await deliver(*(events[place] for place in order))
        outcomes.add(await outcome(organization_id))
    assert len(outcomes) == 1
    (told, plan, *_) = outcomes.pop()
    assert isinstance(told, tuple)
    assert (told[0], told[1], plan) == (Plan.ENTERPRISE, "unpaid", Plan.ENTERPRISE)
    await prove_zero_sum()


async def test_any_order_of_a_life_that_ends_and_begins_anew_ends_in_the_same_state(db: Database) -> None:
    """Twenty random orders of the events of two subscriptions, the first of which ends, with repeats among them."""
    chance = random.Random(4)
    outcomes = set()
    for number in range(20):
        organization_id = await new_organization()
        customer = f"cus_n{number}"
        events = [
            *story(organization_id, f"n{number}"),
            event("customer.subscription.deleted", subscription(f"sub_n{number}", customer=customer), created=6),
            event(
                "checkout.session.completed",
                checkout(organization_id, plan="pilot", customer=customer, subscription_id=f"sub_m{number}"),
                created=5,
            ),
            event(
                "customer.subscription.updated",
                subscription(f"sub_m{number}", customer=customer, period=(PERIOD[0] + DAY, PERIOD[1] + DAY)),
                created=7,
            ),
        ]
        order: Sequence[dict[str, Any]] = [*events, *chance.sample(events, 3)]
        await deliver(*chance.sample(order, len(order)))
        outcomes.add(await outcome(organization_id))
    assert len(outcomes) == 1
    (told, plan, budget, left, _) = outcomes.pop()
    assert isinstance(told, tuple)
    assert (told[0], told[1], plan, budget, left) == (Plan.PILOT, "active", Plan.PILOT, 10 * USD, 100)
    await prove_zero_sum()


async def test_an_end_that_overtakes_its_beginning_stays_an_end(organization: UUID) -> None:
    gone = subscription(status="canceled") | {"metadata": {"org_id": public_id(organization)}}
    await deliver(
        event("customer.subscription.deleted", gone, created=NOW - 10),
        event("checkout.session.completed", checkout(organization, plan="pro"), created=NOW - 90),
    )
    assert await billing.get_subscription(organization) is None
    state = await billing.tenant_state(organization)
    assert state is not None
    assert state.plan is Plan.FREE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"evt_1"',
        b"{}",
        b"[" * 100_000,
        b'{"id": 5, "type": ["x"], "data": null}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": 7}}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": {"metadata": [], "customer": {}}}}',
        b'{"id": "evt_1", "type": "customer.subscription.updated", "data": {"object": {"id": "sub_1", "items": 1}}}',
        b'{"id": "evt_1", "type": "customer.subscription.updated", "created": 1e400, "data": {"object": {"id": "s"}}}',
        b'{"id": "evt_\\u0000", "type": "invoice.payment_failed", "data": {"object": {"subscription": "s"}}}',
    ],
)
async def test_what_is_signed_but_no_event_has_no_effect(organization: UUID, body: bytes) -> None:
    await billing.receive_event(*signed(body))
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        assert await session.scalar(text("select count(*) from subscriptions")) == 0
        assert await session.scalar(text("select count(*) from tenants")) == 0


async def test_unknown_types_and_organisations_have_no_effect(organization: UUID) -> None:
    stranger = checkout(organization) | {"metadata": {"org_id": "org_2unknown"}}
    await deliver(
        event("customer.created", {"id": "cus_1", "metadata": {"org_id": public_id(organization)}}),
        event("checkout.session.completed", stranger),
        event("customer.subscription.updated", subscription("sub_9", customer="cus_9")),
    )
    assert await billing.get_subscription(organization) is None
    assert await billing.tenant_state(organization) is None


async def test_an_unsigned_event_changes_nothing(organization: UUID) -> None:
    one = event("checkout.session.completed", checkout(organization))
    for body, header in (
        signed(one, secret="whsec_other"),
        signed(one, at=NOW - 3600),
        (msgspec.json.encode(one), ""),
    ):
        with pytest.raises(billing.WebhookSignatureInvalid):
            await billing.receive_event(body, header)
    assert await billing.get_subscription(organization) is None


def without_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if BAILIWICK_STRIPE_WEBHOOK_SECRET were not set."""
    started = runtime()
    bare = msgspec.structs.replace(
        started, settings=started.settings.model_copy(update={"stripe_webhook_secret": None})
    )
    monkeypatch.setattr("bailiwick.billing.webhook.runtime", lambda: bare)


async def test_without_a_configured_secret_nothing_is_taken(
    organization: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_setting(monkeypatch)
    one = event("checkout.session.completed", checkout(organization))
    with pytest.raises(billing.WebhookSignatureInvalid):
        await billing.receive_event(*signed(one))
    with pytest.raises(billing.WebhookSignatureInvalid):
        await billing.receive_event(*signed(one, secret=""))


async def test_the_secret_may_be_one_of_the_installation_s_secrets(
    organization: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAILIWICK_SECRET_STRIPE__HOSTED_AGENTS__WEBHOOK_SECRET", "whsec_elsewhere")
    without_setting(monkeypatch)
    one = event("checkout.session.completed", checkout(organization))
    with pytest.raises(billing.WebhookSignatureInvalid):
        await billing.receive_event(*signed(one))
    await billing.receive_event(*signed(one, secret="whsec_elsewhere"))
    assert (await subscription_of(organization)).status == "active"


async def test_an_external_issuer_s_organisation_is_known_by_its_name(organization: UUID) -> None:
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        await session.execute(
            text(
                "insert into external_organizations (issuer, external_id, organization_id) values ('i', 'org_2abc', :o)"
            ),
            {"o": organization},
        )
    await deliver(event("checkout.session.completed", checkout(None) | {"metadata": {"org_id": "org_2abc"}}))
    assert (await subscription_of(organization)).status == "active"


async def test_two_organisations_do_not_touch_each_other(organization: UUID) -> None:
    other = await new_organization()
    await deliver(
        event("checkout.session.completed", checkout(organization, plan="pilot")),
        event("checkout.session.completed", checkout(other, plan="starter", customer="cus_2", subscription_id="sub_2")),
        event("customer.subscription.deleted", subscription("sub_2", customer="cus_2")),
    )
    assert (await subscription_of(organization)).plan is Plan.PILOT
    assert await billing.get_subscription(other) is None
    assert await budget_usd(organization) == 10


async def test_stripe_s_present_state_beats_the_event(stripe_stub: StripeStub) -> None:
    organization_id = await new_organization()
    stripe_stub.subscriptions["sub_1"] = subscription(status="past_due", lookup_key="enterprise", period=PERIOD)
    await deliver(event("checkout.session.completed", checkout(organization_id, plan="pilot")))
    found = await subscription_of(organization_id)
    assert (found.plan, found.status) == (Plan.ENTERPRISE, "past_due")
    assert found.period.end == datetime.fromtimestamp(PERIOD[1], UTC)
    assert await budget_usd(organization_id) == 500

    stripe_stub.subscriptions["sub_1"]["status"] = "canceled"
    await deliver(event("customer.subscription.updated", subscription(status="active")))
    assert await billing.get_subscription(organization_id) is None


async def test_an_event_is_believed_when_stripe_cannot_tell(stripe_stub: StripeStub) -> None:
    organization_id = await new_organization()
    stripe_stub.down = True
    await deliver(event("checkout.session.completed", checkout(organization_id, plan="pilot")))
    assert (await subscription_of(organization_id)).plan is Plan.PILOT
    assert stripe_stub.calls


async def test_fetched_states_of_concurrent_events_end_with_the_latest(stripe_stub: StripeStub) -> None:
    organization_id = await new_organization()
    stripe_stub.subscriptions["sub_1"] = subscription(lookup_key="pilot")
    await deliver(event("checkout.session.completed", checkout(organization_id)))

    async def change_and_tell(plan: str) -> None:
        stripe_stub.subscriptions["sub_1"] = subscription(lookup_key=plan)
        await deliver(event("customer.subscription.updated", subscription(lookup_key="pilot")))

    await asyncio.gather(*(change_and_tell(plan) for plan in ("pro", "enterprise", "pro", "starter")))
    assert (await subscription_of(organization_id)).plan is Plan.STARTER
    await prove_zero_sum()
