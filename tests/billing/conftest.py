"""Organisations to provision, events as Stripe signs them, and stubs of Stripe and LiteLLM on loopback."""

from __future__ import annotations

import hmac
import itertools
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
import pytest

from bailiwick import identity
from bailiwick.identity import Caller, Credential, Role
from bailiwick.kernel import database, ids, runtime
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.settings import Settings
from tests.billing.stubs import LiteLLMStub, StripeStub

WEBHOOK_SECRET = "whsec_test"
MASTER_KEY = "sk-master"
_numbers = itertools.count(1)


async def new_organization() -> UUID:
    """An organisation of its own."""
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        organization = await identity.create_organization(
            session, name=f"Organisation {next(_numbers)}", plan_tier="free"
        )
        return organization.id


def caller_of(organization_id: UUID, role: Role = Role.ADMIN) -> Caller:
    """A verified caller of an organisation."""
    return Caller(
        credential=Credential.ACCESS_TOKEN,
        organization_id=organization_id,
        organization_name=ids.encode(ids.Prefix.ORGANIZATION, organization_id),
        subject=ids.encode(ids.Prefix.USER, ids.uuid7()),
        user_id=ids.uuid7(),
        role=role,
    )


def public_id(organization_id: UUID) -> str:
    """The organisation's public id."""
    return ids.encode(ids.Prefix.ORGANIZATION, organization_id)


def signed(event: Any, *, secret: str = WEBHOOK_SECRET, at: int | None = None) -> tuple[bytes, str]:
    """A delivery: the body and its Stripe-Signature header."""
    body = event if isinstance(event, bytes) else msgspec.json.encode(event)
    moment = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, sha256).hexdigest()
    return body, f"t={moment},v1={digest}"


def event(
    kind: str, thing: dict[str, Any], *, event_id: str | None = None, created: int | None = None
) -> dict[str, Any]:
    """An event envelope (docs.stripe.com/api/events/object)."""
    return {
        "id": event_id or f"evt_{next(_numbers)}",
        "object": "event",
        "api_version": "2025-09-30.clover",
        "created": int(time.time()) if created is None else created,
        "type": kind,
        "data": {"object": thing},
    }


def subscription(
    subscription_id: str = "sub_1",
    *,
    customer: str = "cus_1",
    status: str = "active",
    lookup_key: str | None = None,
    metadata: dict[str, str] | None = None,
    period: tuple[int, int] | None = None,
    cancels: bool = False,
) -> dict[str, Any]:
    """A Subscription object (docs.stripe.com/api/subscriptions/object), its period on the item as since 2025-03-31."""
    item: dict[str, Any] = {
        "id": "si_1",
        "object": "subscription_item",
        "price": {"id": "price_1", "lookup_key": lookup_key},
    }
    if period is not None:
        item["current_period_start"], item["current_period_end"] = period
    return {
        "id": subscription_id,
        "object": "subscription",
        "customer": customer,
        "status": status,
        "cancel_at_period_end": cancels,
        "metadata": metadata or {},
        "items": {"object": "list", "data": [item]},
    }


def checkout(
    organization_id: UUID | None, *, plan: str | None = None, customer: str = "cus_1", subscription_id: str = "sub_1"
) -> dict[str, Any]:
    """A Checkout Session that was completed (docs.stripe.com/api/checkout/sessions/object)."""
    metadata = {} if organization_id is None else {"org_id": public_id(organization_id)}
    return {
        "id": "cs_1",
        "object": "checkout.session",
        "mode": "subscription",
        "customer": customer,
        "subscription": subscription_id,
        "payment_status": "paid",
        "metadata": metadata | ({} if plan is None else {"plan": plan}),
    }


def failed_invoice(subscription_id: str = "sub_1", *, customer: str = "cus_1") -> dict[str, Any]:
    """An Invoice whose payment failed (docs.stripe.com/api/invoices/object)."""
    return {
        "id": "in_1",
        "object": "invoice",
        "customer": customer,
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription_id, "metadata": {}},
        },
    }


@pytest.fixture
def settings_for_test(settings_for_test: Settings) -> Settings:
    """The webhook's secret is configured; no gateway but our own, no API key."""
    return settings_for_test.model_copy(update={"stripe_webhook_secret": _secret(WEBHOOK_SECRET)})


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


@pytest.fixture
async def organization(db: database.Database) -> UUID:
    """One organisation."""
    return await new_organization()


@pytest.fixture
async def proxy(database_url: str, settings_for_test: Settings) -> AsyncIterator[LiteLLMStub]:
    """A fresh database in use with keys from a LiteLLM proxy."""
    async with LiteLLMStub(MASTER_KEY) as stub:
        settings = settings_for_test.model_copy(
            update={"litellm_url": stub.url, "litellm_master_key": _secret(MASTER_KEY)}
        )
        runtime.start(settings, database_url)
        yield stub
        await runtime.stop()


@pytest.fixture
async def stripe_stub(database_url: str, settings_for_test: Settings) -> AsyncIterator[StripeStub]:
    """A fresh database in use with Stripe's API configured."""
    async with StripeStub("sk_test_1") as stub:
        settings = settings_for_test.model_copy(
            update={"stripe_api_base": stub.url, "stripe_api_key": _secret("sk_test_1")}
        )
        runtime.start(settings, database_url)
        yield stub
        await runtime.stop()
