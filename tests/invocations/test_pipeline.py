"""The pipeline against a real database and a real model server: every end is settled, once, for what was used."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import pytest
from aiohttp import web

from bailiwick import billing, dlp, identity, ledger
from bailiwick.dlp import DlpUnavailable
from bailiwick.invocations import sweep
from bailiwick.invocations.calls import StreamCall
from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import (
    AllowanceExhausted,
    CredentialRevoked,
    InvocationBlocked,
    OutputBlocked,
    TargetTimeout,
    TargetUnavailable,
)
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.kernel.database import Database, tenant_transaction
from tests.invocations.conftest import ModelServer, Tenant, end_leases, json_answer, make_tenant
from tests.invocations.model_calls import chat_body, model_call, said
from tests.waiting import happens

GRANTED = 50_000_000


def chat(
    tenant: Tenant, deployment: Deployment, exchange: Exchange, text: str = "Hello", *, timeout_seconds: float = 30
) -> StreamCall:
    return model_call(tenant, deployment, exchange, chat_body(text), timeout_seconds=timeout_seconds)


async def books_are_clean() -> None:
    report = await ledger.check()
    assert report.clean, report.problems


async def test_a_completed_call_is_charged_recorded_audited_and_told(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    outcome = await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert said(outcome) == "Hello."
    assert outcome.usage.cost_micros == 200  # 100 x 1 + 50 x 2
    assert await tenant.money() == (GRANTED - 200, 0)
    row = await tenant.last()
    assert (row["status"], row["decision"], row["cost_micros"]) == ("completed", "BYPASS", 200)
    assert (row["input_tokens"], row["output_tokens"], row["model"]) == (100, 50, "stub-1")
    entries = await tenant.rows(
        "select body from audit_entries where organization_id = :organization order by sequence desc limit 1"
    )
    assert '"action":"invocation.completed"' in entries[0]["body"]
    events = await tenant.rows("select topic, payload from outbox_events where organization_id = :organization")
    assert [event["payload"]["status"] for event in events if event["topic"] == "invocation.settled"] == ["completed"]
    assert model.headers[0]["authorization"] == "Bearer sk-test"
    await books_are_clean()


async def test_phi_reaches_no_model_and_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    with pytest.raises(InvocationBlocked) as blocked:
        await pipeline.invoke(chat(tenant, model.deployment(), exchange, "His SSN is 536-22-8726"))
    assert [flag["type"] for flag in blocked.value.extra["policy_flags"]] == ["SSN"]
    assert model.requests == []
    assert await tenant.money() == (GRANTED, 0)
    row = await tenant.last()
    assert (row["status"], row["decision"], row["error_code"]) == ("blocked", "KILL", "DLP_INPUT_BLOCKED")
    await books_are_clean()


async def test_what_admission_refuses_is_refused_whatever_its_input_holds(
    db: object, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    tenant = await make_tenant(billing.Plan.PILOT)
    dear = model.deployment(max_output_tokens=1_000_000_000, input_price=0.0)
    with pytest.raises(AllowanceExhausted):
        await pipeline.invoke(chat(tenant, dear, exchange, "His SSN is 536-22-8726"))
    row = await tenant.last()
    assert (row["status"], row["error_code"]) == ("refused", "insufficient_funds")
    assert model.requests == []


async def test_an_input_too_long_to_be_inspected_ahead_is_inspected_after_admission(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    with pytest.raises(InvocationBlocked):
        await pipeline.invoke(chat(tenant, model.deployment(), exchange, "word " * 5_000 + "His SSN is 536-22-8726"))
    assert model.requests == []
    assert (await tenant.last())["status"] == "blocked"


async def test_a_secret_reaches_the_model_masked_and_an_answer_leaves_masked(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = partial(json_answer, text="Use AKIAIOSFODNN7EXAMPLQ now")
    outcome = await pipeline.invoke(
        chat(tenant, model.deployment(), exchange, "My key is AKIAIOSFODNN7EXAMPLQ, why is it refused?")
    )
    sent = model.requests[0]["messages"][0]["content"]
    assert "AKIA" not in sent
    assert "[REDACTED_SECRET]" in sent
    assert "AKIA" not in said(outcome)
    assert (await tenant.last())["decision"] == "HIJACK"


async def test_phi_in_an_answer_is_withheld_and_charged(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = partial(json_answer, text="Her SSN is 536-22-8726")
    with pytest.raises(OutputBlocked):
        await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert await tenant.money() == (GRANTED - 200, 0)
    assert (await tenant.last())["status"] == "blocked"
    await books_are_clean()


async def test_inspection_that_does_not_work_lets_nothing_pass(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_text: str) -> list[object]:
        raise DlpUnavailable

    monkeypatch.setattr(dlp, "scan", broken)
    with pytest.raises(DlpUnavailable):
        await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert model.requests == []
    assert await tenant.money() == (GRANTED, 0)
    assert (await tenant.last())["status"] == "failed"


async def test_a_busy_model_is_asked_again_after_what_it_says(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def busy_once(request: web.Request) -> web.StreamResponse:
        if len(model.requests) == 1:
            return web.Response(status=429, headers={"retry-after": "0"})
        return await json_answer(request, text="At last.")

    model.answer = busy_once
    outcome = await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert said(outcome) == "At last."
    assert len(model.requests) == 2
    assert await tenant.money() == (GRANTED - 200, 0)


async def test_a_model_that_refuses_the_request_is_not_asked_again(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "no such model"}, status=404)

    model.answer = refuse
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert len(model.requests) == 1
    assert await tenant.money() == (GRANTED, 0)
    assert (await tenant.last())["error_code"] == "MODEL_UNAVAILABLE"


async def test_a_failing_model_is_left_alone_after_some_failures(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def fail(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    model.answer = fail
    for _ in range(2):
        with pytest.raises(TargetUnavailable):
            await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert len(model.requests) == 3  # the breaker opened at the third; the second call reached nobody
    assert await tenant.money() == (GRANTED, 0)
    await books_are_clean()


async def test_a_model_that_does_not_answer_in_time_is_given_up(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    model.answer = hang
    with pytest.raises(TargetTimeout):
        await pipeline.invoke(chat(tenant, model.deployment(), exchange, timeout_seconds=1))
    await happens(model.disconnected)
    assert await tenant.money() == (GRANTED, 0)
    assert (await tenant.last())["status"] == "failed"


@pytest.mark.parametrize("answer", ["not json", "[]"])
async def test_an_answer_that_cannot_be_read_is_a_failure(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, answer: str
) -> None:
    async def nonsense(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=answer, content_type="application/json")

    model.answer = nonsense
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(chat(tenant, model.deployment(), exchange))
    assert (await tenant.money())[1] == 0
    await books_are_clean()


async def test_a_caller_that_goes_away_is_settled_and_the_model_stopped(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    reached = asyncio.Event()

    async def hang(_request: web.Request) -> web.StreamResponse:
        reached.set()
        await asyncio.sleep(60)
        raise AssertionError

    model.answer = hang
    running = asyncio.create_task(pipeline.invoke(chat(tenant, model.deployment(), exchange)))
    await happens(reached)
    assert (await tenant.money())[1] > 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await happens(model.disconnected)
    row = await tenant.last()
    assert (row["status"], row["output_tokens"], row["cost_micros"] > 0) == ("cancelled", 0, True)  # it was read
    assert await tenant.money() == (GRANTED - row["cost_micros"], 0)
    await books_are_clean()


async def test_a_caller_that_goes_away_during_admission_leaves_no_hold(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    for turns in range(12):  # cancelled at every point on the way in
        running = asyncio.create_task(pipeline.invoke(chat(tenant, model.deployment(), exchange)))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
    assert await pipeline.drain(10)
    assert (await tenant.money())[1] == 0
    assert await tenant.rows("select 1 from holds where organization_id = :organization and state = 'open'") == []
    await books_are_clean()


async def test_a_revoked_key_stops_at_admission_in_a_process_that_has_not_heard(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    call = chat(tenant, model.deployment(), exchange)
    await pipeline.invoke(call)
    remembered = await tenant.charge()

    async def remember() -> object:
        return remembered

    key_id = tenant.caller.key_id
    assert key_id is not None
    async with tenant_transaction(tenant.organization_id) as session:
        await identity.revoke_virtual_key(session, tenant.organization_id, key_id)
    with pytest.raises(CredentialRevoked):
        await pipeline.invoke(call)
    assert len(model.requests) == 1


async def test_changed_terms_are_read_again(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    old = await tenant.charge()
    forgotten: list[object] = []
    answers = [old]

    async def charge() -> object:
        return answers.pop() if answers else await tenant.charge()

    async with tenant_transaction(tenant.organization_id) as session:
        await identity.touch_organization(session, tenant.organization_id)
    call = chat(tenant, model.deployment(), exchange)
    changed = msgspec.structs.replace(call, charge=charge, stale=forgotten.append)
    assert said(await pipeline.invoke(changed)) == "Hello."
    assert forgotten == [tenant.organization_id]


async def test_exactly_as_many_racing_callers_are_admitted_as_the_money_allows(
    db: object, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    tenant = await make_tenant(billing.Plan.PILOT)  # 10 USD, 100 runs
    # Each call holds 2 USD: a million output tokens at 2 USD.
    dear = model.deployment(max_output_tokens=1_000_000, input_price=0.0)
    gate = asyncio.Event()

    all_reached = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        if len(model.requests) == 5:
            all_reached.set()
        await gate.wait()
        return await json_answer(request, text="ok", input_tokens=0, output_tokens=1_000_000)

    model.answer = wait
    calls = [asyncio.create_task(pipeline.invoke(chat(tenant, dear, exchange, timeout_seconds=30))) for _ in range(20)]
    await happens(all_reached)
    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, AllowanceExhausted) for result in results) == 15
    assert len(model.requests) == 5
    assert await tenant.money() == (0, 0)
    await books_are_clean()


async def test_the_sweeper_gives_back_what_a_dead_process_held(
    db: Database, tenant: Tenant, model: ModelServer, exchange: Exchange
) -> None:
    leasing = Pipeline(db, lease_seconds=300)
    reached = asyncio.Event()
    gate = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        reached.set()
        await gate.wait()
        return await json_answer(request, text="too late")

    model.answer = hang
    running = asyncio.create_task(leasing.invoke(chat(tenant, model.deployment(), exchange)))
    await happens(reached)
    assert await sweep() == 0  # its lease still runs
    end_leases(db)
    assert sum(await asyncio.gather(sweep(), sweep())) == 1
    assert await tenant.money() == (GRANTED, 0)
    assert (await tenant.last())["status"] == "lost"
    entries = await tenant.rows(
        "select body from audit_entries where organization_id = :organization order by sequence desc limit 1"
    )
    assert '"action":"invocation.lost"' in entries[0]["body"]
    gate.set()
    with pytest.raises(Exception, match="too late"):
        await running
    assert await tenant.money() == (GRANTED, 0)
    await books_are_clean()
    await leasing.close()
