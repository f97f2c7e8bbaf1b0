"""`/api/v1/provision/tenant`: the organisation's gateway key."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from bailiwick import billing
from bailiwick.billing import Plan
from bailiwick.identity import Caller, Role

_ALREADY = "Tenant already provisioned. Use DELETE to re-provision."
_NOT = "Tenant was not provisioned."


class ProvisionRequest(msgspec.Struct, rename="camel"):
    """`vertical` and `baaSigned` record line of business and signed BAA; when absent they stay as they are."""

    org_id: Annotated[str, Meta(min_length=1, max_length=200)]
    plan: Literal["pilot", "starter", "pro", "enterprise"]
    vertical: Literal["general", "healthcare", "behavioral_health"] | UnsetType = UNSET
    baa_signed: bool | UnsetType = UNSET


class ProvisionResult(msgspec.Struct, frozen=True, rename="camel"):
    """The key's id; `message` when the organisation held it before."""

    key_id: str
    success: Literal[True] = True
    message: str | UnsetType = UNSET


class DeprovisionResult(msgspec.Struct, frozen=True):
    """Done; `message` when there was nothing to revoke."""

    success: Literal[True] = True
    message: str | UnsetType = UNSET


class ProvisionStatus(msgspec.Struct, frozen=True, rename="camel"):
    """`budgetUsd` is what the key may still spend, in US dollars, rounded down to cents."""

    provisioned: bool
    plan: str
    key_id: str | None
    budget_usd: float | None


@post("/api/v1/provision/tenant", operation_id="hosted_provision_tenant", status_code=200, min_role=Role.ADMIN)
async def provision_tenant(caller: NamedDependency[Caller], data: JSONBody[ProvisionRequest]) -> ProvisionResult:
    """Issues the organisation's gateway key, once."""
    provisioned = await billing.provision_tenant(
        caller,
        organization=data.org_id,
        plan=Plan(data.plan),
        vertical=None if data.vertical is UNSET else data.vertical,
        baa_signed=None if data.baa_signed is UNSET else data.baa_signed,
    )
    return ProvisionResult(provisioned.key_id, message=_ALREADY if provisioned.already else UNSET)


@delete("/api/v1/provision/tenant", operation_id="hosted_deprovision_tenant", status_code=200, min_role=Role.ADMIN)
async def deprovision_tenant(caller: NamedDependency[Caller]) -> DeprovisionResult:
    """Revokes the gateway key; the tenant record stays."""
    return DeprovisionResult(message=UNSET if await billing.deprovision_tenant(caller) else _NOT)


@get("/api/v1/provision/tenant/status", operation_id="hosted_provision_status")
async def provision_status(caller: NamedDependency[Caller]) -> ProvisionStatus:
    """Whether the organisation holds a key, and what is left of its budget."""
    state = await billing.tenant_state(caller.tenant)
    if state is None:
        return ProvisionStatus(provisioned=False, plan=Plan.FREE.value, key_id=None, budget_usd=None)
    return ProvisionStatus(
        provisioned=True, plan=state.plan.value, key_id=state.key_id, budget_usd=state.budget_micros // 10_000 / 100
    )


ROUTES = [provision_tenant, deprovision_tenant, provision_status]
