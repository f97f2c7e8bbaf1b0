"""What tests of billing do to, and ask of, one organisation."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from bailiwick import billing, ledger
from bailiwick.billing import Plan
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from tests.billing.conftest import caller_of, public_id

USD = 1_000_000


async def provision(organization_id: UUID, plan: Plan = Plan.PRO, **more: object) -> billing.Provisioned:
    return await billing.provision_tenant(
        caller_of(organization_id),
        organization=public_id(organization_id),
        plan=plan,
        **more,  # type: ignore[arg-type]
    )


async def terms_of(organization_id: UUID) -> billing.Terms | None:
    async with tenant_transaction(organization_id) as session:
        return await billing.invocation_terms(session, organization_id)


async def live_terms(organization_id: UUID) -> billing.Terms:
    terms = await terms_of(organization_id)
    assert terms is not None
    assert terms.account_id is not None
    return terms


async def runs_left(organization_id: UUID) -> int:
    async with tenant_transaction(organization_id) as session:
        return await ledger.remaining(session, organization_id, (await live_terms(organization_id)).runs_budget_id)


async def balance(organization_id: UUID, account_id: UUID) -> int:
    async with tenant_transaction(organization_id) as session:
        return (await ledger.get_account(session, organization_id, account_id)).balance


async def spend(organization_id: UUID, amount: int) -> None:
    terms = await live_terms(organization_id)
    assert terms.account_id is not None
    async with tenant_transaction(organization_id) as session:
        await ledger.transfer(
            session,
            organization_id,
            debit_account_id=terms.account_id,
            credit_account_id=terms.sink_account_id,
            amount=amount,
            kind="invocation",
        )


async def actions(organization_id: UUID) -> list[str]:
    async with tenant_transaction(organization_id) as session:
        rows = await session.scalars(
            text("select body::json ->> 'action' from audit_entries where organization_id = :id order by sequence"),
            {"id": organization_id},
        )
        return list(rows)


async def prove_zero_sum() -> None:
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        assert await session.scalar(text("select coalesce(sum(balance), 0) from accounts")) == 0
