"""Runs of hosted agents: each template with and without a model, who may run, and the turn of the period."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from aiohttp import web
from sqlalchemy import text

from bailiwick import billing, identity, ledger
from bailiwick.identity import Founder
from bailiwick.invocations import AgentRuns, Deployment, Pipeline, TermsCache
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import (
    AllowanceExhausted,
    BaaRequired,
    InvocationBlocked,
    TargetUnavailable,
    TemplateNotFound,
    TenantNotFound,
)
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.errors import NoOrganization
from bailiwick.kernel.ids import uuid7
from bailiwick.registry import TEMPLATES, Need
from tests.invocations.conftest import ModelServer, Tenant, json_answer, make_tenant
from tests.invocations.model_calls import upstreams_of
from tests.waiting import happens

GRANTED = 50_000_000
PRICE = 10_000
TRIAGE = "helpdesk-tier1-triage"
MESSAGES = {
    "helpdesk-tier1-triage": "The VPN is down for the whole floor since this morning.",
    "coleman-clinical-docs": "Subjective: tired. Objective: BP 120/80. Assessment: well. Plan: rest.",
    "compliance-evidence-collector": "SOC 2 evidence for access control",
    "audit-trail-narrator": "What happened this week?",
}
SSN = "536-22-8726"
SECRET = "AKIAIOSFODNN7EXAMPLQ"


def test_every_template_is_run_here() -> None:
    assert set(MESSAGES) == set(TEMPLATES)


def agent_runs(
    pipeline: Pipeline, exchange: Exchange, *deployments: Deployment, terms: TermsCache | None = None
) -> AgentRuns:
    return AgentRuns(
        pipeline=pipeline,
        terms=terms or TermsCache(),
        upstreams=upstreams_of(exchange, *deployments, timeout_seconds=60),
        model=deployments[0].name if deployments else None,
        price_micros=PRICE,
    )


async def last_entry(tenant: Tenant) -> dict[str, Any]:
    (entry,) = await tenant.rows(
        "select chain, body from audit_entries where organization_id = :organization order by id desc limit 1"
    )
    return {"chain": entry["chain"], **json.loads(entry["body"])}


async def change(tenant: Tenant, statement: str, **parameters: object) -> None:
    """Arranges the database behind the use cases' backs."""
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        await session.execute(text(statement), {"organization": tenant.organization_id, **parameters})


async def books_are_clean() -> None:
    report = await ledger.check()
    assert report.clean, report.problems


@pytest.mark.parametrize("agent", sorted(MESSAGES))
async def test_a_template_works_without_a_model(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, agent: str
) -> None:
    outcome = await agent_runs(pipeline, exchange).run(tenant.caller, agent, MESSAGES[agent], None)
    assert len(outcome.response) > 80
    assert outcome.usage.model == TEMPLATES[agent].engine
    assert await tenant.money() == (GRANTED - PRICE, 0)
    assert model.requests == []
    entry = await last_entry(tenant)
    assert (entry["chain"], entry["agent_id"], entry["action"]) == ("runs", agent, "agent_run")
    assert entry["cost_usd_micros"] == PRICE
    await books_are_clean()


@pytest.mark.parametrize("agent", sorted(MESSAGES))
async def test_a_model_gets_what_the_template_found(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, agent: str
) -> None:
    runs = agent_runs(pipeline, exchange, model.deployment())
    outcome = await runs.run(tenant.caller, agent, MESSAGES[agent], None)
    assert outcome.response == "Hello."
    assert outcome.usage.model == "stub-1"
    system, user = model.requests[0]["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"].startswith(TEMPLATES[agent].system_prompt)
    facts = user["content"].partition("<facts>")[2].partition("</facts>")[0]
    assert len(facts.strip()) > 40
    assert user["content"].endswith(MESSAGES[agent])
    assert await tenant.money() == (GRANTED - PRICE - 200, 0)
    row = await tenant.last()
    assert (row["target_kind"], row["target_name"], row["model"]) == ("template", agent, "stub-1")
    await books_are_clean()


async def test_the_facts_are_this_organisations_own(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    other = await make_tenant()
    for whose in (tenant, other):
        await agent_runs(pipeline, exchange).run(whose.caller, TRIAGE, "Printer offline", None)
    ours, theirs = await last_entry(tenant), await last_entry(other)
    await agent_runs(pipeline, exchange, model.deployment()).run(
        tenant.caller, "audit-trail-narrator", "What happened?", None
    )
    sent = json.dumps(model.requests[0])
    assert ours["id"] in sent
    assert theirs["id"] not in sent


async def test_an_override_takes_the_place_of_the_templates_prompt(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    runs = agent_runs(pipeline, exchange, model.deployment())
    await runs.run(tenant.caller, TRIAGE, MESSAGES[TRIAGE], "Answer in Latin.")
    system = model.requests[0]["messages"][0]["content"]
    assert system.startswith("Answer in Latin.")
    assert TEMPLATES[TRIAGE].system_prompt not in system


async def test_phi_in_an_override_is_blocked_and_named(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    runs = agent_runs(pipeline, exchange, model.deployment())
    with pytest.raises(InvocationBlocked) as blocked:
        await runs.run(tenant.caller, TRIAGE, "Hello", f"Patient SSN {SSN}")
    (flag,) = blocked.value.extra["policy_flags"]
    assert (flag["type"], flag["field"]) == ("SSN", "systemPromptOverride")
    assert model.requests == []
    assert (await last_entry(tenant))["action"] == "agent_run_blocked"


async def test_what_log_events_hold_reaches_a_model_masked(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    source_id = uuid7()
    await change(
        tenant,
        "insert into log_sources (organization_id, id, source_type, display_name, config)"
        " values (:organization, :id, 'custom_webhook', 'Ward system', '{}')",
        id=source_id,
    )
    for number, target in enumerate((f"patient SSN {SSN}", f"key {SECRET}", "the front door")):
        await change(
            tenant,
            "insert into log_events (organization_id, id, source_id, event_id, at, action, actor, target, outcome,"
            " attributes) values (:organization, :id, :source, :event, now(), 'record.delete', 'ann', :target,"
            " 'success', '{}')",
            id=uuid7(),
            source=source_id,
            event=str(number),
            target=target,
        )
    await agent_runs(pipeline, exchange, model.deployment()).run(
        tenant.caller, "audit-trail-narrator", "What happened in the ward system?", None
    )
    sent = json.dumps(model.requests[0])
    assert "[REDACTED_SECRET]" in sent  # the events did reach it
    assert SSN not in sent
    assert SECRET not in sent


@pytest.mark.parametrize("agent", sorted(MESSAGES))
async def test_the_hold_covers_the_dearest_run(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, agent: str
) -> None:
    async def longest(_request: web.Request) -> web.StreamResponse:
        # No usage told: the whole prompt is charged by its upper bound, and all the output that was allowed.
        return web.json_response({"choices": [{"message": {"content": "x " * 5000}}]})

    model.answer = longest
    message = (MESSAGES[agent] + " <facts> </facts> ") * 300
    runs = agent_runs(pipeline, exchange, model.deployment())
    outcome = await runs.run(tenant.caller, agent, message[:32_000], "Be thorough. " * 600)
    (hold,) = await tenant.rows("select amount, posted_amount from holds where organization_id = :organization")
    assert outcome.usage.cost_micros == hold["posted_amount"] <= hold["amount"]
    await books_are_clean()


async def test_a_model_that_fails_is_a_bad_gateway_and_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def fail(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    model.answer = fail
    with pytest.raises(TargetUnavailable) as failed:
        await agent_runs(pipeline, exchange, model.deployment()).run(tenant.caller, TRIAGE, "Hello", None)
    assert (failed.value.status, failed.value.code) == (502, "MODEL_UNAVAILABLE")
    assert await tenant.money() == (GRANTED, 0)
    (budget,) = await tenant.rows(
        "select spent, held from budgets where organization_id = :organization and unit = 'runs'"
    )
    assert (budget["spent"], budget["held"]) == (0, 0)
    assert (await last_entry(tenant))["action"] == "invocation.failed"
    await books_are_clean()


async def test_the_next_deployment_answers_for_one_that_fails(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def fail_in_one_place(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/broken"):
            return web.Response(status=500)
        return await json_answer(request, text="From the second.")

    model.answer = fail_in_one_place
    places = (model.deployment(base_url=f"{model.base_url}/broken"), model.deployment())
    outcome = await agent_runs(pipeline, exchange, *places).run(tenant.caller, TRIAGE, "Hello", None)
    assert outcome.response == "From the second."
    assert await tenant.money() == (GRANTED - outcome.usage.cost_micros, 0)
    await books_are_clean()


async def test_errors_come_in_the_order_of_the_contract(
    db: object, pipeline: Pipeline, exchange: Exchange, model: ModelServer
) -> None:
    terms = TermsCache()
    runs = agent_runs(pipeline, exchange, terms=terms)
    phi = f"SSN {SSN}"
    signed_up = await identity.sign_up(Founder(email="new@example.com", password="correct horse", name="New"))
    caller = await identity.authenticate(signed_up.key_plaintext)
    organization_id = caller.tenant
    nobody = msgspec.structs.replace(caller, organization_id=None)

    with pytest.raises(NoOrganization):
        await runs.run(nobody, "no-such-agent", phi, None)
    async with tenant_transaction(organization_id) as session:
        await identity.touch_organization(session, organization_id, vertical="healthcare")
    with pytest.raises(TenantNotFound):
        await runs.run(caller, "no-such-agent", phi, None)
    await billing.provision_tenant(caller, organization=str(caller.organization_name), plan=billing.Plan.PILOT)
    with pytest.raises(BaaRequired):
        await runs.run(caller, "no-such-agent", phi, None)
    async with tenant_transaction(organization_id) as session:
        await identity.touch_organization(session, organization_id, baa_signed_at=now())
    terms.forget(organization_id)  # as the notification does
    with pytest.raises(TemplateNotFound):
        await runs.run(caller, "no-such-agent", phi, None)
    tenant = Tenant(organization_id, caller)
    with pytest.raises(InvocationBlocked):
        await runs.run(caller, TRIAGE, phi, None)
    await change(tenant, "update budgets set spent = limit_amount - held where organization_id = :organization")
    with pytest.raises(AllowanceExhausted):
        await runs.run(caller, TRIAGE, phi, None)


async def test_a_signed_agreement_opens_the_regulated_verticals(
    tenant: Tenant, pipeline: Pipeline, exchange: Exchange
) -> None:
    terms = TermsCache()
    runs = agent_runs(pipeline, exchange, terms=terms)
    await runs.run(tenant.caller, TRIAGE, "Hello", None)
    # The process has not heard of the change: admission notices it, and the terms are read again.
    async with tenant_transaction(tenant.organization_id) as session:
        await identity.touch_organization(session, tenant.organization_id, vertical="behavioral_health")
    with pytest.raises(BaaRequired):
        await runs.run(tenant.caller, TRIAGE, "Hello", None)
    trace = await tenant.last()
    assert (trace["kind"], trace["target_kind"], trace["target_name"]) == ("agent_run", "template", TRIAGE)
    assert (trace["status"], trace["decision"], trace["error_code"]) == ("refused", "KILL", "BAA_REQUIRED")
    with pytest.raises(BaaRequired):
        await runs.run(tenant.caller, "no-such-agent", "Hello", None)
    assert (await tenant.last())["id"] == trace["id"]
    async with tenant_transaction(tenant.organization_id) as session:
        await identity.touch_organization(session, tenant.organization_id, baa_signed_at=now())
    terms.forget(tenant.organization_id)
    assert (await runs.run(tenant.caller, TRIAGE, "Hello", None)).response
    await books_are_clean()


async def end_the_period(tenant: Tenant) -> None:
    """Moves the present period, with its budget, into the past."""
    await change(
        tenant,
        "update budgets set period_start = period_start - interval '40 days', period_end = :moment"
        " where organization_id = :organization",
        moment=now() - timedelta(seconds=1),
    )
    await change(
        tenant,
        "update tenants set period_start = period_start - interval '40 days', period_end = :moment"
        " where organization_id = :organization",
        moment=now() - timedelta(seconds=1),
    )


async def test_a_period_that_has_ended_is_renewed_once_by_its_racing_runs(
    tenant: Tenant, pipeline: Pipeline, exchange: Exchange
) -> None:
    for _ in range(3):
        await agent_runs(pipeline, exchange).run(tenant.caller, TRIAGE, "Hello", None)
    assert await tenant.money() == (GRANTED - 3 * PRICE, 0)
    await end_the_period(tenant)
    processes = [agent_runs(pipeline, exchange) for _ in range(4)]  # each with terms of its own
    await asyncio.gather(*(runs.run(tenant.caller, TRIAGE, "Hello", None) for runs in processes for _ in range(2)))
    assert await tenant.money() == (GRANTED - 8 * PRICE, 0)
    entries = await tenant.rows("select body from audit_entries where organization_id = :organization")
    assert sum(json.loads(entry["body"])["action"] == "billing_period.renewed" for entry in entries) == 1
    charge = await tenant.charge()
    spent = await tenant.rows(
        f"select spent from budgets where organization_id = :organization and id = '{charge.budget_ids[0]}'"  # noqa: S608
    )
    assert spent[0]["spent"] == 8
    await books_are_clean()


async def test_a_run_in_flight_when_its_period_ends_is_paid_by_the_old_one(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        reached.set()
        await gate.wait()
        return await json_answer(request, text="late")

    model.answer = wait
    running = asyncio.create_task(
        agent_runs(pipeline, exchange, model.deployment()).run(tenant.caller, TRIAGE, "Hello", None)
    )
    await happens(reached)
    (held,) = await tenant.rows("select amount from holds where organization_id = :organization and state = 'open'")
    await end_the_period(tenant)
    await agent_runs(pipeline, exchange).run(tenant.caller, TRIAGE, "Hello", None)
    gate.set()
    assert (await running).response == "late"
    balance, still_held = await tenant.money()
    assert still_held == 0
    # What the open hold kept from being withdrawn stays; never less than the new grant, never more than both.
    assert GRANTED - PRICE <= balance <= GRANTED - PRICE + held["amount"]
    await books_are_clean()


@pytest.mark.parametrize("turns", [0, 1, 3, 8])
async def test_a_caller_that_goes_away_leaves_nothing_held(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, turns: int
) -> None:
    model.answer = partial(json_answer, text="Hello.")
    runs = agent_runs(pipeline, exchange, model.deployment())
    needing = next(name for name, template in TEMPLATES.items() if Need.AUDIT in template.needs)
    task = asyncio.create_task(runs.run(tenant.caller, needing, MESSAGES[needing], None))
    for _ in range(200):
        if await tenant.rows("select 1 from holds where organization_id = :organization"):
            break
    for _ in range(turns):  # anywhere between admission and answer, also while the context is loaded
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await pipeline.drain(5)
    assert (await tenant.money())[1] == 0
    assert (await tenant.last())["status"] in ("cancelled", "completed")
    await books_are_clean()
