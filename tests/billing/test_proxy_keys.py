"""Keys from a LiteLLM proxy: issued, deleted and told of changes, whatever fails in between."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from sqlalchemy import text

from bailiwick import billing
from bailiwick.billing import Plan
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.runtime import runtime
from tests.billing.conftest import caller_of, checkout, event, new_organization, public_id, signed, subscription
from tests.billing.stubs import LiteLLMStub
from tests.billing.tenancy import USD, actions, prove_zero_sum, provision, spend, terms_of


async def tasks() -> list[str]:
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        return list(await session.scalars(text("select kind from gateway_tasks order by kind")))


async def make_due() -> None:
    """As if the two minutes of patience were over."""
    async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
        await session.execute(text("update gateway_tasks set due_at = now() - interval '1 second'"))


async def rows_with(secret: str) -> int:
    """Rows of the tables of keys, tenants and history that hold this text."""
    tables = ("tenants", "virtual_keys", "gateway_tasks", "audit_entries", "outbox_events", "accounts", "transfers")
    found = " union all ".join(f"select t::text as line from {table} t" for table in tables)  # noqa: S608  our words
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        counted = await session.scalar(
            text(f"select count(*) from ({found}) rows where line like :s"),  # noqa: S608  our words
            {"s": f"%{secret}%"},
        )
        return counted or 0


async def test_the_proxy_issues_the_key_with_the_plan_s_budget(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    provisioned = await provision(organization_id, Plan.PRO)
    (key,) = proxy.keys.values()
    assert (key["key_alias"], key["max_budget"]) == (provisioned.key_id, 50)
    assert key["budget_duration"] in {"28d", "29d", "30d", "31d"}
    assert key["metadata"] == {"organization": public_id(organization_id), "plan": "pro"}
    assert await tasks() == []

    # Sealed: our gateway gets at it, nobody reads it in the database.
    assert await billing.gateway_key(organization_id) == key["raw"]
    assert await rows_with(key["raw"]) == 0
    async with tenant_transaction(organization_id) as session:
        row = (await session.execute(text("select issuer, external_id from virtual_keys"))).one()
    assert row.issuer == "litellm"
    assert row.external_id in proxy.keys
    assert await billing.gateway_key(await new_organization()) is None


async def test_the_budget_left_is_the_narrower_of_ledger_and_proxy(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    await provision(organization_id, Plan.PRO)
    (key,) = proxy.keys.values()

    async def left() -> int:
        state = await billing.tenant_state(organization_id)
        assert state is not None
        return state.budget_micros

    key["spend"] = 1.801
    assert await left() == 48_199_000
    await spend(organization_id, 5 * USD)
    assert await left() == 45 * USD
    proxy.broken.add("/key/info")
    assert await left() == 45 * USD


@pytest.mark.parametrize("how", ["broken", "deaf"])
async def test_when_the_proxy_refuses_nothing_is_recorded(proxy: LiteLLMStub, how: str) -> None:
    organization_id = await new_organization()
    getattr(proxy, how).add("/key/generate")
    with pytest.raises(billing.KeyIssueFailed) as raised:
        await provision(organization_id, Plan.PRO, vertical="healthcare", baa_signed=True)
    assert (raised.value.status, raised.value.code) == (502, "KEY_ISSUE_FAILED")
    assert await terms_of(organization_id) is None
    assert await billing.tenant_state(organization_id) is None
    assert await actions(organization_id) == []
    async with tenant_transaction(organization_id) as session:
        row = (await session.execute(text("select vertical, baa_signed_at from organizations"))).one()
        assert tuple(row) == ("general", None)
        assert await session.scalar(text("select count(*) from virtual_keys")) == 0

    # A key that was made all the same is not left behind.
    getattr(proxy, how).clear()
    await make_due()
    await billing.upkeep()
    assert (proxy.keys, await tasks()) == ({}, [])
    assert not (await provision(organization_id)).already


async def test_concurrent_provisioning_leaves_one_key_at_the_proxy(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    proxy.together = asyncio.Barrier(4)  # all four are issued before any is recorded
    answers = await asyncio.gather(*(provision(organization_id) for _ in range(4)))
    assert len({answer.key_id for answer in answers}) == 1
    assert [answer.already for answer in answers].count(False) == 1
    assert [key["key_alias"] for key in proxy.keys.values()] == [answers[0].key_id]
    assert await tasks() == []
    async with tenant_transaction(organization_id) as session:
        assert await session.scalar(text("select count(*) from virtual_keys")) == 1
    await prove_zero_sum()


async def test_a_loser_s_key_that_cannot_be_deleted_is_deleted_later(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    proxy.together = asyncio.Barrier(2)
    proxy.broken.add("/key/delete")
    await asyncio.gather(provision(organization_id), provision(organization_id))
    assert (len(proxy.keys), await tasks()) == (2, ["discard"])
    proxy.broken.clear()
    await make_due()
    await billing.upkeep()
    state = await billing.tenant_state(organization_id)
    assert state is not None
    assert [key["key_alias"] for key in proxy.keys.values()] == [state.key_id]
    assert await tasks() == []


async def test_a_process_that_dies_while_issuing_leaves_no_key(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    proxy.together = asyncio.Barrier(2)  # never reached: the answer does not come
    provisioning = asyncio.create_task(provision(organization_id))
    await proxy.issued.wait()
    provisioning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await provisioning
    assert await tasks() == ["issue"]
    await billing.upkeep()
    assert len(proxy.keys) == 1  # it is given its time
    await make_due()
    await billing.upkeep()
    assert (proxy.keys, await tasks()) == ({}, [])
    assert await billing.tenant_state(organization_id) is None


async def test_deprovisioning_deletes_the_key_at_the_proxy(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    await provision(organization_id)
    assert await billing.deprovision_tenant(caller_of(organization_id))
    assert (proxy.keys, await tasks()) == ({}, [])
    assert await billing.tenant_state(organization_id) is None
    assert await billing.gateway_key(organization_id) is None
    assert not await billing.deprovision_tenant(caller_of(organization_id))
    await prove_zero_sum()


async def test_when_the_proxy_cannot_revoke_the_record_is_unchanged(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    await provision(organization_id)
    before = await terms_of(organization_id)
    proxy.broken.add("/key/delete")
    with pytest.raises(billing.KeyRevocationFailed) as raised:
        await billing.deprovision_tenant(caller_of(organization_id))
    assert (raised.value.status, raised.value.message) == (502, "Failed to revoke virtual key. Please try again.")
    assert await terms_of(organization_id) == before
    assert await tasks() == []
    proxy.broken.clear()
    assert await billing.deprovision_tenant(caller_of(organization_id))


async def test_a_key_that_the_proxy_no_longer_knows_counts_as_revoked(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    await provision(organization_id)
    proxy.deaf.add("/key/delete")  # it deletes and answers 500
    with pytest.raises(billing.KeyRevocationFailed):
        await billing.deprovision_tenant(caller_of(organization_id))
    assert proxy.keys == {}
    proxy.deaf.clear()
    assert await billing.deprovision_tenant(caller_of(organization_id))
    assert await billing.tenant_state(organization_id) is None


async def test_concurrent_deprovisioning_revokes_once(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    await provision(organization_id)
    await asyncio.gather(*(billing.deprovision_tenant(caller_of(organization_id)) for _ in range(4)))
    assert (await actions(organization_id)).count("tenant.deprovisioned") == 1
    assert (proxy.keys, await tasks()) == ({}, [])
    await prove_zero_sum()


async def test_a_checkout_that_the_gateway_failed_gets_its_key_later(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    proxy.broken.add("/key/generate")
    await billing.receive_event(*signed(event("checkout.session.completed", checkout(organization_id, plan="starter"))))
    found = await billing.get_subscription(organization_id)
    assert found is not None
    assert found.status == "active"
    assert await billing.tenant_state(organization_id) is None
    assert "provision" in await tasks()
    proxy.broken.clear()
    await make_due()
    await billing.upkeep()
    state = await billing.tenant_state(organization_id)
    assert state is not None
    assert (state.plan, state.budget_micros, await tasks()) == (Plan.STARTER, 25 * USD, [])


async def test_changed_plans_and_new_periods_reach_the_proxy(proxy: LiteLLMStub) -> None:
    organization_id = await new_organization()
    await provision(organization_id, Plan.PILOT)
    (key,) = proxy.keys.values()
    key["spend"] = 3.0
    changed = subscription(metadata={"org_id": public_id(organization_id), "plan": "enterprise"})
    await billing.receive_event(*signed(event("customer.subscription.updated", changed)))
    await billing.upkeep()
    assert (key["max_budget"], key["spend"]) == (500, 3.0)

    async with tenant_transaction(organization_id) as session:
        await session.execute(
            text(
                "update tenants set period_start = '2024-01-01Z', gateway_period_start = '2024-01-01Z',"
                " period_end = '2024-02-01Z'"
            )
        )
    proxy.broken.add("/key/update")
    await billing.upkeep()
    assert key["spend"] == 3.0
    proxy.broken.clear()
    await billing.upkeep()
    assert (key["max_budget"], key["spend"]) == (500, 0)
    calls = len(proxy.calls)
    await billing.upkeep()
    assert len(proxy.calls) == calls


async def test_a_wrong_address_is_no_revocation(proxy: LiteLLMStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 404 of something that is no LiteLLM proxy does not pass for "this key is gone"."""
    organization_id = await new_organization()
    await provision(organization_id)
    started = runtime()
    elsewhere = started.settings.model_copy(update={"litellm_url": f"{proxy.url}/nothing-here"})
    monkeypatch.setattr(
        "bailiwick.billing.litellm.runtime", lambda: msgspec.structs.replace(started, settings=elsewhere)
    )
    with pytest.raises(billing.KeyRevocationFailed):
        await billing.deprovision_tenant(caller_of(organization_id))
    assert await billing.tenant_state(organization_id) is not None
