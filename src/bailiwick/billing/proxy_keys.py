"""Keys from a LiteLLM proxy: the intention is committed, then the proxy called, then the outcome recorded.

Whatever dies in between leaves a task behind, and `upkeep` completes it: a key that nobody holds is deleted there, a
revocation that was begun is ended, a checkout gets the key that it is owed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.billing import litellm
from bailiwick.billing.allowances import lock_billing
from bailiwick.billing.errors import KeyIssueFailed, KeyRevocationFailed
from bailiwick.billing.periods import Period
from bailiwick.billing.plans import PLANS, Plan
from bailiwick.billing.provisioning import (
    Order,
    Provisioned,
    ProxyKey,
    deprovision,
    live_key,
    locked_tenant,
    provision,
    public_key_id,
)
from bailiwick.billing.subscriptions import billing_period, load_subscriptions
from bailiwick.billing.tables import GatewayTask, Tenant
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now
from bailiwick.kernel.crypto import Sealer
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.runtime import runtime

TaskKind = Literal["issue", "discard", "revoke", "provision"]
# By then the process that wrote the task has given up on its call, or died.
_PATIENCE = timedelta(minutes=2)
_LONGEST_WAIT = timedelta(hours=1)
_log = structlog.get_logger(__name__)


async def issue(organization_id: UUID, order: Order) -> Provisioned:
    """Provisions the organisation with a key of the proxy. Raises KeyIssueFailed; then nothing is recorded."""
    key_id = ids.uuid7()
    async with tenant_transaction(organization_id) as session:
        await lock_billing(session, organization_id)
        if await live_key(session, organization_id) is not None:
            return await provision(session, organization_id, order)
        period = billing_period(await load_subscriptions(session, organization_id), now())
        await begin(session, organization_id, "issue", key_id)
    try:
        issued = await litellm.generate_key(
            public_key_id(key_id),
            budget_micros=PLANS[order.plan].budget_micros,
            period_days=_days(period),
            metadata={"organization": ids.encode(ids.Prefix.ORGANIZATION, organization_id), "plan": order.plan.value},
        )
    except litellm.GatewayFailed as error:
        _log.warning("gateway_key_not_issued", reason=str(error))
        async with tenant_transaction(organization_id) as session:
            # It may have been made all the same: an answer can get lost.
            await _to_discard(session, organization_id, key_id)
        raise KeyIssueFailed from None
    sealed = _sealer().seal(issued.raw.encode(), _context(organization_id, key_id))
    async with tenant_transaction(organization_id) as session:
        await lock_billing(session, organization_id)
        lost = await live_key(session, organization_id) is not None
        if lost:
            await _to_discard(session, organization_id, key_id)
        elif not await end(session, organization_id, "issue", key_id):
            raise KeyIssueFailed  # too late: the key is being deleted by upkeep
        provisioned = await provision(
            session, organization_id, order, proxy_key=ProxyKey(key_id, issued.external_id, sealed)
        )
    if lost:
        await discard(organization_id, key_id, raw=issued.raw)
    return provisioned


async def revoke(organization_id: UUID, actor: str) -> bool:
    """Deletes the tenant's key at the proxy, then clears the record; False when it holds none.

    Raises KeyRevocationFailed; then the record is unchanged.
    """
    async with tenant_transaction(organization_id) as session:
        tenant = await locked_tenant(session, organization_id)
        if tenant is None or tenant.key_id is None:
            return False
        key_id, sealed = tenant.key_id, tenant.sealed_key
        await begin(session, organization_id, "revoke", key_id)
    try:
        await _delete_at_proxy(organization_id, key_id, sealed)
    except litellm.GatewayFailed as error:
        _log.warning("gateway_key_not_revoked", reason=str(error))
        async with tenant_transaction(organization_id) as session:
            await end(session, organization_id, "revoke", key_id)
        raise KeyRevocationFailed from None
    await _record_revocation(organization_id, key_id, actor)
    return True


async def resume(task: GatewayTask) -> None:
    """Completes one task that its process did not. Raises GatewayFailed, KeyIssueFailed; then it is tried again."""
    organization_id, key_id = task.organization_id, task.key_id
    match task.kind:
        case "issue":
            async with tenant_transaction(organization_id) as session:
                await lock_billing(session, organization_id)
                abandoned = await _to_discard(session, organization_id, key_id)
            if abandoned:
                await discard(organization_id, key_id)
        case "discard":
            await litellm.delete_key(alias=public_key_id(key_id))
            async with tenant_transaction(organization_id) as session:
                await end(session, organization_id, "discard", key_id)
        case "revoke":
            async with tenant_transaction(organization_id) as session:
                tenant = await session.get(Tenant, organization_id)
                sealed = tenant.sealed_key if tenant is not None and tenant.key_id == key_id else None
            await _delete_at_proxy(organization_id, key_id, sealed)
            await _record_revocation(organization_id, key_id, "system")


async def discard(organization_id: UUID, key_id: UUID, *, raw: str | None = None) -> None:
    """Deletes a key that nobody holds; when that fails its task stays for upkeep."""
    try:
        await litellm.delete_key(raw=raw, alias=public_key_id(key_id))
    except litellm.GatewayFailed as error:
        _log.warning("gateway_key_not_discarded", reason=str(error))
        return
    async with tenant_transaction(organization_id) as session:
        await end(session, organization_id, "discard", key_id)


async def push_budget(organization_id: UUID) -> None:
    """Tells the proxy the tenant's present budget when it differs from what it was last told. Raises GatewayFailed."""
    async with tenant_transaction(organization_id) as session:
        tenant = await session.get(Tenant, organization_id)
        if tenant is None or tenant.key_id is None or tenant.sealed_key is None:
            return
        key_id, budget = tenant.key_id, PLANS[Plan(tenant.plan)].budget_micros
        period = Period(tenant.period_start, tenant.period_end, tenant.period_subscribed)
        anew = tenant.gateway_period_start != period.start
        if not anew and tenant.gateway_budget_micros == budget:
            return
        raw = open_key(organization_id, key_id, tenant.sealed_key)
    await litellm.update_budget(raw, budget_micros=budget, period_days=_days(period), anew=anew)
    async with tenant_transaction(organization_id) as session:
        await session.execute(
            update(Tenant)
            .where(Tenant.organization_id == organization_id, Tenant.key_id == key_id)
            .values(gateway_budget_micros=budget, gateway_period_start=period.start)
        )


def open_key(organization_id: UUID, key_id: UUID, sealed: bytes) -> str:
    """The raw key of the proxy, for a call to it and nothing else."""
    return _sealer().open(sealed, _context(organization_id, key_id)).decode()


async def begin(session: AsyncSession, organization_id: UUID, kind: TaskKind, key_id: UUID) -> None:
    """Writes that something is under way; `upkeep` sees to it when it is still there after two minutes."""
    due_at = now() + _PATIENCE
    await session.execute(
        insert(GatewayTask)
        .values(organization_id=organization_id, kind=kind, key_id=key_id, due_at=due_at)
        .on_conflict_do_update(index_elements=["organization_id", "kind", "key_id"], set_={"due_at": due_at})
    )


async def end(session: AsyncSession, organization_id: UUID, kind: TaskKind, key_id: UUID) -> bool:
    """Removes a task; whether it was there."""
    found = await session.scalar(
        delete(GatewayTask)
        .where(GatewayTask.organization_id == organization_id, GatewayTask.kind == kind, GatewayTask.key_id == key_id)
        .returning(GatewayTask.kind)
    )
    return found is not None


async def claim_due(session: AsyncSession, most: int) -> list[GatewayTask]:
    """Tasks past due, put off for the next try, within a system transaction; two workers do not take the same one."""
    due = (
        select(GatewayTask.organization_id, GatewayTask.kind, GatewayTask.key_id)
        .where(GatewayTask.due_at <= func.now())
        .order_by(GatewayTask.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    tasks = await session.scalars(
        update(GatewayTask)
        .where(
            GatewayTask.organization_id == due.c.organization_id,
            GatewayTask.kind == due.c.kind,
            GatewayTask.key_id == due.c.key_id,
        )
        .values(
            attempts=GatewayTask.attempts + 1,
            due_at=func.now()
            + func.least(_LONGEST_WAIT, _PATIENCE * func.power(2, func.least(GatewayTask.attempts, 10))),
        )
        .returning(GatewayTask)
    )
    return list(tasks)


async def _delete_at_proxy(organization_id: UUID, key_id: UUID, sealed: bytes | None) -> None:
    if not litellm.is_configured():
        raise litellm.GatewayFailed("the key is a LiteLLM proxy's, and none is configured any more")
    raw = open_key(organization_id, key_id, sealed) if sealed is not None else None
    await litellm.delete_key(raw=raw, alias=public_key_id(key_id))


async def _record_revocation(organization_id: UUID, key_id: UUID, actor: str) -> None:
    async with tenant_transaction(organization_id) as session:
        tenant = await locked_tenant(session, organization_id)
        await end(session, organization_id, "revoke", key_id)
        if tenant is not None and tenant.key_id == key_id:  # else another call was faster
            await deprovision(session, tenant, actor)


async def _to_discard(session: AsyncSession, organization_id: UUID, key_id: UUID) -> bool:
    """Turns the task of issuing a key into one of discarding it; False when it is no longer there."""
    if not await end(session, organization_id, "issue", key_id):
        return False
    await begin(session, organization_id, "discard", key_id)
    return True


def _days(period: Period) -> int:
    return max(1, round((period.end - period.start) / timedelta(days=1)))


def _sealer() -> Sealer:
    return runtime().sealer("gateway-key")


def _context(organization_id: UUID, key_id: UUID) -> str:
    return f"{organization_id}/{key_id}"
