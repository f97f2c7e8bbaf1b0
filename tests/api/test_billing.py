"""The subscription and Stripe's webhook through HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, sign_up
from tests.api.conftest import contract_client
from tests.api.servers import running_server
from tests.billing.conftest import WEBHOOK_SECRET, checkout, event, failed_invoice, signed, subscription
from tests.conftest import clone, drop

WEBHOOK = "/api/v1/billing/webhook"
SUBSCRIPTION = "/api/v1/billing/subscription"
NONE = {"customer_id": None, "subscription_id": None, "plan": "free", "status": "none"}
INVALID = {"error": "Invalid Stripe signature", "code": "WEBHOOK_SIGNATURE_INVALID"}
DAY = 86_400


@pytest.fixture(scope="module")
def billed(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that takes Stripe's events."""
    database_url = clone(server_url, template_database)
    folder = tmp_path_factory.mktemp("billed")
    with (
        running_server(database_url, folder, stripe_webhook_secret=WEBHOOK_SECRET) as server,
        contract_client(server) as client,
    ):
        yield client
    drop(server_url, database_url)


@pytest.fixture
def tenant(billed: httpx.Client) -> Account:
    """A new account there."""
    return sign_up(billed)


def deliver(client: httpx.Client, one: Any, **more: Any) -> httpx.Response:
    body, header = signed(one, **more)
    return client.post(WEBHOOK, content=body, headers={"stripe-signature": header, "content-type": "application/json"})


def told(client: httpx.Client, account: Account) -> dict[str, Any]:
    answer = client.get(SUBSCRIPTION, headers=account.headers)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def bought(account: Account, **more: Any) -> dict[str, Any]:
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    return checkout(
        organization_id, customer=f"cus_{account.user_id}", subscription_id=f"sub_{account.user_id}", **more
    )


def owned(account: Account, **more: Any) -> dict[str, Any]:
    return subscription(f"sub_{account.user_id}", customer=f"cus_{account.user_id}", **more)


def test_the_life_of_a_subscription(billed: httpx.Client, tenant: Account) -> None:
    assert told(billed, tenant) == NONE
    now = int(time.time())
    answer = deliver(billed, event("checkout.session.completed", bought(tenant), created=now - 9))
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    state = told(billed, tenant)
    assert (state["plan"], state["status"], state["cancel_at_period_end"]) == ("pro", "active", False)
    status = billed.get("/api/v1/provision/tenant/status", headers=tenant.headers).json()
    assert (status["provisioned"], status["plan"], status["budgetUsd"]) == (True, "pro", 50)

    period = (now - DAY, now + 29 * DAY)
    deliver(
        billed,
        event(
            "customer.subscription.updated",
            owned(tenant, lookup_key="enterprise", period=period, cancels=True),
            created=now - 8,
        ),
    )
    state = told(billed, tenant)
    assert state == {
        "customer_id": f"cus_{tenant.user_id}",
        "subscription_id": f"sub_{tenant.user_id}",
        "plan": "enterprise",
        "status": "active",
        "current_period_end": state["current_period_end"],
        "cancel_at_period_end": True,
        "features": {
            "run_limit": 10_000,
            "agents_included": [
                "coleman-clinical-docs",
                "helpdesk-tier1-triage",
                "compliance-evidence-collector",
                "audit-trail-narrator",
            ],
            "baa_available": True,
        },
    }
    assert datetime.fromisoformat(state["current_period_end"]) == datetime.fromtimestamp(period[1], UTC)
    stats = billed.get("/api/v1/stats", headers=tenant.headers).json()
    assert (stats["plan"], stats["plan_run_limit"]) == ("enterprise", 10_000)
    assert datetime.fromisoformat(stats["period"]["start"]) == datetime.fromtimestamp(period[0], UTC)

    failed = failed_invoice(f"sub_{tenant.user_id}", customer=f"cus_{tenant.user_id}")
    deliver(billed, event("invoice.payment_failed", failed, created=now - 7))
    assert told(billed, tenant)["status"] == "past_due"
    deliver(billed, event("customer.subscription.deleted", owned(tenant), created=now - 6))
    assert told(billed, tenant) == NONE
    after = billed.get("/api/v1/provision/tenant/status", headers=tenant.headers).json()
    assert (after["plan"], after["keyId"], after["budgetUsd"]) == ("free", status["keyId"], 1)
    assert billed.get("/api/v1/stats", headers=tenant.headers).json()["plan_run_limit"] == 25


def test_events_without_a_time_count_as_they_come(billed: httpx.Client, tenant: Account) -> None:
    """The contract's envelope needs only id, type and data."""

    def bare(kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        whole = event(kind, thing)
        return {name: whole[name] for name in ("id", "type", "data")}

    deliver(billed, bare("checkout.session.completed", bought(tenant)))
    for plan in ("starter", "pilot", "enterprise"):
        deliver(billed, bare("customer.subscription.updated", owned(tenant, metadata={"plan": plan})))
        assert told(billed, tenant)["plan"] == plan
    deliver(billed, bare("customer.subscription.deleted", owned(tenant)))
    assert told(billed, tenant) == NONE


def test_what_proves_nothing_changes_nothing(billed: httpx.Client, tenant: Account) -> None:
    one = event("checkout.session.completed", bought(tenant))
    body, header = signed(one)
    for headers in ({}, {"stripe-signature": ""}, {"stripe-signature": "t=1"}, {"stripe-signature": header + "0"}):
        answer = billed.post(WEBHOOK, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (400, INVALID)
    for answer in (
        deliver(billed, one, secret="whsec_other"),
        deliver(billed, one, at=int(time.time()) - 301),
        billed.post(WEBHOOK, content=body + b" ", headers={"stripe-signature": header}),
        billed.post(WEBHOOK, content=b'{"a": "\\u0000"}', headers={"stripe-signature": header}),
    ):
        assert (answer.status_code, answer.json()) == (400, INVALID)
    assert told(billed, tenant) == NONE


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"\xff", b"[]", b'{"id": "evt_\\u0000"}', b"[" * 5_000, b'{"id": "evt_x", "type": "x"}']
)
def test_any_signed_body_is_received(billed: httpx.Client, body: bytes) -> None:
    assert deliver(billed, body).json() == {"received": True}


def test_a_server_without_a_secret_takes_nothing(client: httpx.Client, account: Account) -> None:
    one = event("checkout.session.completed", bought(account))
    assert deliver(client, one).json() == INVALID
    assert deliver(client, one, secret="").json() == INVALID
    assert told(client, account) == NONE


def test_a_subscription_is_its_own_organisation_s(billed: httpx.Client, tenant: Account) -> None:
    other = sign_up(billed)
    deliver(billed, event("checkout.session.completed", bought(tenant)))
    assert told(billed, other) == NONE
    assert billed.get(SUBSCRIPTION).status_code == 401
