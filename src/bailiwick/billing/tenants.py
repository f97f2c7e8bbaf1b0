"""A tenant's use cases: provision, deprovision, tell the state."""

from __future__ import annotations

from uuid import UUID

import msgspec

from bailiwick import ledger
from bailiwick.billing import litellm, proxy_keys
from bailiwick.billing.allowances import load_tenant, lock_billing
from bailiwick.billing.errors import OrgMismatch
from bailiwick.billing.plans import Plan
from bailiwick.billing.provisioning import (
    Order,
    Provisioned,
    deprovision,
    live_key,
    locked_tenant,
    provision,
    public_key_id,
)
from bailiwick.identity import Caller, Role
from bailiwick.kernel import ids
from bailiwick.kernel.database import tenant_transaction


class TenantState(msgspec.Struct, frozen=True):
    """What a member sees of the provisioning: the key's public id, and what its budget still holds in micro-dollars."""

    plan: Plan
    key_id: str
    budget_micros: int


async def provision_tenant(
    caller: Caller, *, organization: str, plan: Plan, vertical: str | None = None, baa_signed: bool | None = None
) -> Provisioned:
    """Issues the organisation's gateway key with the plan's budget, unless it holds one.

    `organization` is the organisation as the caller's token names it. Raises RoleRequired, OrgMismatch, KeyIssueFailed.
    """
    caller.require(Role.ADMIN)
    if organization != caller.organization_name and ids.decode(ids.Prefix.ORGANIZATION, organization) != caller.tenant:
        raise OrgMismatch
    order = Order(plan=plan, actor=caller.subject, vertical=vertical, baa_signed=baa_signed, signed_by=caller.user_id)
    return await fulfil(caller.tenant, order)


async def fulfil(organization_id: UUID, order: Order) -> Provisioned:
    """Provisions through the gateway that this installation uses. Raises KeyIssueFailed."""
    if litellm.is_configured():
        return await proxy_keys.issue(organization_id, order)
    async with tenant_transaction(organization_id) as session:
        await lock_billing(session, organization_id)
        return await provision(session, organization_id, order)


async def deprovision_tenant(caller: Caller) -> bool:
    """Revokes the organisation's gateway key and returns its budget; False when it held none.

    Raises RoleRequired, KeyRevocationFailed.
    """
    caller.require(Role.ADMIN)
    async with tenant_transaction(caller.tenant) as session:
        tenant = await locked_tenant(session, caller.tenant)
        if tenant is None or tenant.key_id is None:
            return False
        if tenant.gateway != "litellm":
            await deprovision(session, tenant, caller.subject)
            return True
    return await proxy_keys.revoke(caller.tenant, caller.subject)


async def tenant_state(organization_id: UUID) -> TenantState | None:
    """The state of the provisioning; None for an organisation that holds no key."""
    async with tenant_transaction(organization_id) as session:
        tenant = await load_tenant(session, organization_id)
        key_id = await live_key(session, organization_id)
        if tenant is None or key_id is None or tenant.account_id is None:
            return None
        account = await ledger.get_account(session, organization_id, tenant.account_id)
        left = max(0, account.available or 0)
    if tenant.sealed_key is not None and litellm.is_configured():
        # The key may be used at the proxy directly as well; the narrower of the two counts is what is left.
        try:
            at_proxy = await litellm.budget_left_micros(proxy_keys.open_key(organization_id, key_id, tenant.sealed_key))
        except litellm.GatewayFailed:
            at_proxy = None
        left = left if at_proxy is None else min(left, at_proxy)
    return TenantState(Plan(tenant.plan), public_key_id(key_id), left)


async def gateway_key(organization_id: UUID) -> str | None:
    """The raw key for calls to the LiteLLM proxy on behalf of an organisation; None when it holds none from there."""
    async with tenant_transaction(organization_id) as session:
        tenant = await load_tenant(session, organization_id)
        if tenant is None or tenant.key_id is None or tenant.sealed_key is None:
            return None
        return proxy_keys.open_key(organization_id, tenant.key_id, tenant.sealed_key)
