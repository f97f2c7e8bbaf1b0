"""Provisioning: an organisation gets, and gives up, the gateway key that its agent runs are charged to.

Our own gateway issues the key in the transaction that records it. A LiteLLM proxy is called between two transactions
(`proxy_keys`).
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, identity, ledger
from bailiwick.billing.allowances import fund, load_tenant, lock_billing, set_period
from bailiwick.billing.plans import Plan
from bailiwick.billing.subscriptions import billing_period, load_subscriptions
from bailiwick.billing.tables import Tenant
from bailiwick.billing.terms import LIVE_KEY
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now

_LIVE = text(f"select k.id from tenants t join virtual_keys k on {LIVE_KEY} where t.organization_id = :organization_id")  # noqa: S608
_KEY_LABEL = "hosted agents"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is provisioned, by whom. `vertical` and `baa_signed` are recorded when they are given."""

    plan: Plan
    actor: str
    vertical: str | None = None
    baa_signed: bool | None = None
    signed_by: UUID | None = None


class Provisioned(msgspec.Struct, frozen=True):
    """The organisation's key, by its public id, and whether it held it before."""

    key_id: str
    already: bool


class ProxyKey(msgspec.Struct, frozen=True):
    """A key that a LiteLLM proxy issued: our id of it, the proxy's (a hash), and the sealed key."""

    id: UUID
    external_id: str
    sealed: bytes


def public_key_id(key_id: UUID) -> str:
    """The key's id as clients see it, which is also its alias at a LiteLLM proxy."""
    return ids.encode(ids.Prefix.VIRTUAL_KEY, key_id)


async def live_key(session: AsyncSession, organization_id: UUID) -> UUID | None:
    """The organisation's gateway key, unless it has none or it was revoked."""
    found: UUID | None = await session.scalar(_LIVE, {"organization_id": organization_id})
    return found


async def provision(
    session: AsyncSession, organization_id: UUID, order: Order, *, proxy_key: ProxyKey | None = None
) -> Provisioned:
    """Gives the organisation a funded key, unless it holds one: then only vertical and BAA are recorded.

    `proxy_key`: one that a LiteLLM proxy has just issued; default: our own gateway issues one. The caller holds the
    lock of billing.
    """
    held = await live_key(session, organization_id)
    if held is not None:
        if await _record_compliance(session, organization_id, order):
            await _append(session, organization_id, "tenant.updated", order)
        return Provisioned(public_key_id(held), already=True)

    tenant = await load_tenant(session, organization_id)
    if tenant is None:
        tenant = Tenant(organization_id=organization_id, id=ids.uuid7(), runs_uncounted=0)
    elif tenant.account_id is not None:  # of a key that was revoked by itself
        await ledger.withdraw_remaining(session, organization_id, tenant.account_id, "plan_expiry")

    key_id = proxy_key.id if proxy_key is not None else ids.uuid7()
    account = await ledger.open_account(
        session, organization_id, ledger="usd_micros", kind="virtual_key", owner_id=key_id, floor=0
    )
    sink = await ledger.open_account(
        session, organization_id, ledger="usd_micros", kind="model_spend", owner_id=organization_id, floor=None
    )
    tenant.plan = order.plan.value
    tenant.gateway = "litellm" if proxy_key is not None else "bailiwick"
    tenant.key_id, tenant.account_id, tenant.sink_account_id = key_id, account.id, sink.id
    tenant.sealed_key = proxy_key.sealed if proxy_key is not None else None
    with session.no_autoflush:  # the row is complete only with its runs budget
        await fund(session, tenant, account.id)
        period = billing_period(await load_subscriptions(session, organization_id), now())
        await set_period(session, tenant, period)
    tenant.gateway_budget_micros = tenant.granted_micros if proxy_key is not None else None
    tenant.gateway_period_start = period.start if proxy_key is not None else None
    tenant.provisioned_at, tenant.deprovisioned_at, tenant.updated_at = now(), None, now()
    session.add(tenant)

    # The plaintext of our own key goes out of scope here: runs are charged to the key by its id.
    key, _ = await identity.create_virtual_key(
        session, organization_id, membership_id=None, label=_KEY_LABEL, account_id=account.id, key_id=key_id
    )
    if proxy_key is not None:
        key.issuer, key.external_id = "litellm", proxy_key.external_id
    await session.flush()
    if not await _record_compliance(session, organization_id, order):
        await identity.touch_organization(session, organization_id)
    await _append(session, organization_id, "tenant.provisioned", order, plan=order.plan.value, gateway=tenant.gateway)
    return Provisioned(public_key_id(key_id), already=False)


async def deprovision(session: AsyncSession, tenant: Tenant, actor: str) -> None:
    """Revokes the tenant's key, returns its budget and clears the record. The caller holds the lock of billing."""
    if tenant.key_id is None or tenant.account_id is None:
        return
    organization_id, key_id = tenant.organization_id, tenant.key_id
    await identity.revoke_virtual_key(session, organization_id, key_id)
    await ledger.withdraw_remaining(session, organization_id, tenant.account_id, "plan_expiry")
    tenant.key_id = tenant.account_id = tenant.gateway = tenant.sealed_key = None
    tenant.gateway_budget_micros = tenant.gateway_period_start = None
    tenant.granted_micros = 0
    tenant.deprovisioned_at = tenant.updated_at = now()
    await session.flush()
    await identity.touch_organization(session, organization_id)
    await audit.append(
        session,
        organization_id,
        action="tenant.deprovisioned",
        actor=actor,
        subject=ids.encode(ids.Prefix.TENANT, tenant.id),
        attributes={"key": public_key_id(key_id)},
    )


async def locked_tenant(session: AsyncSession, organization_id: UUID) -> Tenant | None:
    """Takes the lock of billing; the tenant record under it."""
    await lock_billing(session, organization_id)
    return await load_tenant(session, organization_id)


async def _record_compliance(session: AsyncSession, organization_id: UUID, order: Order) -> bool:
    """Records line of business and BAA as far as they are given and differ; whether they did."""
    present = await identity.get_organization(session, organization_id)
    changed: dict[str, object] = {}
    if order.vertical is not None and order.vertical != present.vertical:
        changed["vertical"] = order.vertical
    if order.baa_signed is not None and order.baa_signed != (present.baa_signed_at is not None):
        changed["baa_signed_at"] = now() if order.baa_signed else None
        changed["baa_signed_by"] = order.signed_by if order.baa_signed else None
    if changed:
        await identity.touch_organization(session, organization_id, **changed)
    return bool(changed)


async def _append(
    session: AsyncSession, organization_id: UUID, action: str, order: Order, **attributes: object
) -> None:
    tenant = await load_tenant(session, organization_id)
    held = await live_key(session, organization_id)
    if tenant is None or held is None:
        raise RuntimeError("a tenant was provisioned and is not there")
    given = {"vertical": order.vertical, "baa_signed": order.baa_signed}
    await audit.append(
        session,
        organization_id,
        action=action,
        actor=order.actor,
        subject=ids.encode(ids.Prefix.TENANT, tenant.id),
        attributes={
            "key": public_key_id(held),
            **attributes,
            **{name: value for name, value in given.items() if value is not None},
        },
    )
