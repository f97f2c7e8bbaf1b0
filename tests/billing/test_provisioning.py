"""Provisioning by our own gateway: one key, a funded account, a runs budget; and giving them up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from bailiwick import billing, identity
from bailiwick.billing import Plan, allowances
from bailiwick.identity import Role
from bailiwick.kernel import clock, ids
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.errors import RoleRequired
from tests.billing.conftest import caller_of, new_organization, public_id
from tests.billing.tenancy import (
    USD,
    actions,
    balance,
    live_terms,
    prove_zero_sum,
    provision,
    runs_left,
    spend,
    terms_of,
)


async def test_an_organisation_never_provisioned_has_neither_terms_nor_state(organization: UUID) -> None:
    assert await terms_of(organization) is None
    assert await billing.tenant_state(organization) is None
    with pytest.raises(billing.TenantNotFound) as raised:
        await billing.get_statistics(organization)
    assert (raised.value.code, raised.value.message) == ("TENANT_NOT_FOUND", "Organization not found.")


async def test_provisioning_funds_the_key_and_opens_the_runs_budget(organization: UUID) -> None:
    provisioned = await provision(organization, Plan.PRO, vertical="healthcare", baa_signed=True)
    assert not provisioned.already
    assert provisioned.key_id.startswith("vk_")

    terms = await live_terms(organization)
    assert (terms.plan, terms.vertical, terms.baa_signed) == (Plan.PRO, "healthcare", True)
    assert ids.decode(ids.Prefix.VIRTUAL_KEY, provisioned.key_id) == terms.key_id
    assert await runs_left(organization) == 1000
    state = await billing.tenant_state(organization)
    assert state == billing.TenantState(Plan.PRO, provisioned.key_id, 50 * USD)
    assert await actions(organization) == ["tenant.provisioned"]
    await prove_zero_sum()


async def test_nothing_of_the_key_but_its_hash_is_kept(organization: UUID) -> None:
    await provision(organization)
    async with tenant_transaction(organization) as session:
        row = (await session.execute(text("select key_hash, issuer, external_id from virtual_keys"))).one()
        sealed = await session.scalar(text("select sealed_key from tenants"))
    assert len(row.key_hash) == 32
    assert (row.issuer, row.external_id, sealed) == ("bailiwick", None, None)


async def test_a_second_call_changes_neither_key_nor_plan_but_records_vertical_and_baa(organization: UUID) -> None:
    first = await provision(organization, Plan.STARTER)
    before = await live_terms(organization)
    again = await provision(organization, Plan.ENTERPRISE)
    assert again == billing.Provisioned(first.key_id, already=True)
    assert await terms_of(organization) == before

    await provision(organization, Plan.ENTERPRISE, vertical="behavioral_health", baa_signed=True)
    after = await live_terms(organization)
    assert (after.plan, after.key_id, after.vertical, after.baa_signed) == (
        Plan.STARTER, before.key_id, "behavioral_health", True,
    )  # fmt: skip
    assert after.organization_version > before.organization_version
    assert await actions(organization) == ["tenant.provisioned", "tenant.updated"]
    await provision(organization, baa_signed=False)
    assert not (await live_terms(organization)).baa_signed


async def test_who_may_provision_and_for_whom(organization: UUID) -> None:
    with pytest.raises(RoleRequired):
        await billing.provision_tenant(
            caller_of(organization, Role.DEVELOPER), organization=public_id(organization), plan=Plan.PRO
        )
    with pytest.raises(billing.OrgMismatch) as raised:
        await billing.provision_tenant(
            caller_of(organization), organization=public_id(await new_organization()), plan=Plan.PRO
        )
    assert raised.value.message == "orgId in request does not match authenticated organization"
    with pytest.raises(RoleRequired):
        await billing.deprovision_tenant(caller_of(organization, Role.VIEWER))
    assert await terms_of(organization) is None


async def test_concurrent_provisioning_issues_one_key(organization: UUID) -> None:
    answers = await asyncio.gather(*(provision(organization) for _ in range(8)))
    assert len({answer.key_id for answer in answers}) == 1
    assert [answer.already for answer in answers].count(False) == 1
    async with tenant_transaction(organization) as session:
        assert await session.scalar(text("select count(*) from virtual_keys")) == 1
    assert (await live_terms(organization)).plan is Plan.PRO
    await prove_zero_sum()


async def test_deprovisioning_revokes_the_key_and_returns_what_is_left(organization: UUID) -> None:
    await provision(organization)
    terms = await live_terms(organization)
    assert terms.account_id is not None
    await spend(organization, 3 * USD)
    assert await billing.deprovision_tenant(caller_of(organization))
    assert not await billing.deprovision_tenant(caller_of(organization))

    assert await balance(organization, terms.account_id) == 0
    assert await balance(organization, terms.sink_account_id) == 3 * USD
    assert await billing.tenant_state(organization) is None
    after = await terms_of(organization)
    assert after is not None
    assert after.key_id is None
    assert after.organization_version > terms.organization_version
    assert (await billing.get_statistics(organization)).plan is Plan.PRO  # the record outlives the key
    async with tenant_transaction(organization) as session:
        assert await session.scalar(text("select count(*) from virtual_keys where revoked_at is null")) == 0
    await prove_zero_sum()


async def test_provisioning_anew_issues_another_key_and_keeps_the_period_s_runs(organization: UUID) -> None:
    first = await provision(organization, Plan.PILOT)
    async with tenant_transaction(organization) as session:
        await session.execute(text("update budgets set spent = 40"))
    await billing.deprovision_tenant(caller_of(organization))
    second = await provision(organization, Plan.STARTER)
    assert second.key_id != first.key_id
    assert await runs_left(organization) == 250 - 40
    state = await billing.tenant_state(organization)
    assert state is not None
    assert (state.plan, state.budget_micros) == (Plan.STARTER, 25 * USD)


async def test_a_key_that_was_revoked_by_itself_leaves_the_organisation_unprovisioned(organization: UUID) -> None:
    first = await provision(organization)
    key_id = ids.decode(ids.Prefix.VIRTUAL_KEY, first.key_id)
    assert key_id is not None
    async with tenant_transaction(organization) as session:
        await identity.revoke_virtual_key(session, organization, key_id)
    assert await billing.tenant_state(organization) is None
    terms = await terms_of(organization)
    assert terms is not None
    assert (terms.key_id, terms.account_id) == (None, None)
    second = await provision(organization)
    assert not second.already
    state = await billing.tenant_state(organization)
    assert state is not None
    assert state.budget_micros == 50 * USD
    await prove_zero_sum()


async def test_one_organisation_sees_nothing_of_another(organization: UUID) -> None:
    other = await new_organization()
    await provision(organization)
    assert await billing.tenant_state(other) is None
    async with tenant_transaction(other) as session:
        assert await billing.invocation_terms(session, organization) is None
        assert await session.scalar(text("select count(*) from tenants")) == 0
    assert not await billing.deprovision_tenant(caller_of(other))
    assert await billing.tenant_state(organization) is not None


async def test_the_period_renews_once_however_many_ask(organization: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    await provision(organization, Plan.PILOT)
    before = await live_terms(organization)
    assert before.account_id is not None
    await spend(organization, 4 * USD)
    async with tenant_transaction(organization) as session:
        await session.execute(text("update budgets set spent = 99"))
    assert not await billing.renew_period(organization)

    later = before.period_end.astimezone(UTC)
    monkeypatch.setattr(allowances, "now", lambda: later)
    renewed = await asyncio.gather(*(billing.renew_period(organization) for _ in range(6)))
    assert renewed.count(True) == 1
    after = await live_terms(organization)
    assert after.key_id == before.key_id
    assert after.runs_budget_id != before.runs_budget_id
    assert after.period_end > before.period_end
    assert after.organization_version > before.organization_version
    assert await runs_left(organization) == 100
    assert await balance(organization, before.account_id) == 10 * USD
    assert (await actions(organization)).count("billing_period.renewed") == 1
    await prove_zero_sum()


async def test_upkeep_renews_what_is_due(organization: UUID) -> None:
    await provision(organization)
    async with tenant_transaction(organization) as session:
        await session.execute(
            text("update tenants set period_start = '2024-01-01Z', period_end = '2024-02-01Z'"),
        )
    await billing.upkeep()
    assert (await live_terms(organization)).period_end > clock.now()


async def test_statistics_count_completed_agent_runs_of_the_period(organization: UUID, db: Database) -> None:
    await provision(organization, Plan.PILOT)
    month_start = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)

    async def run(agent: str, *, at: datetime, status: str = "completed", kind: str = "agent_run") -> None:
        run_id = UUID(int=ids.uuid_at(at).int | ids.uuid7().int & ((1 << 80) - 1))
        async with tenant_transaction(organization) as session:
            await session.execute(
                text(
                    "insert into invocations (organization_id, id, kind, target_kind, target_name, subject, status,"
                    " input_tokens, output_tokens)"
                    " values (:o, :id, :kind, 'template', :agent, 'usr_1', :status, 30, 12)"
                ),
                {
                    "o": organization,
                    "id": run_id,
                    "kind": kind,
                    "agent": agent,
                    "status": status,
                },
            )
            await session.execute(
                text("select invocations_count_traces(cast(:os as uuid[]), cast(:ids as uuid[]))"),
                {"os": [organization], "ids": [run_id]},
            )

    await run("triage", at=month_start)
    await run("triage", at=clock.now())
    await run("narrator", at=clock.now())
    await run("triage", at=clock.now(), status="blocked")
    await run("triage", at=clock.now(), status="failed")
    await run("gpt", at=clock.now(), kind="chat")
    await run("triage", at=clock.now(), kind="chat")  # a model may be called as an agent is
    await run("triage", at=long_ago)
    used = await billing.get_statistics(organization)
    assert used.by_agent == {"narrator": billing.AgentUsage(1, 42), "triage": billing.AgentUsage(2, 84)}
    assert (used.runs, used.tokens, used.run_limit) == (3, 126, 100)
    assert used.period.start == month_start
    assert used.period.last_moment.strftime("%H:%M:%S") == "23:59:59"
