"""Agents behind an HTTP endpoint: what they are sent, what they cost, and which addresses are never called."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from bailiwick import ledger
from bailiwick.invocations.calls import Call, Target
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.http_agents import HttpAgentTarget
from bailiwick.invocations.errors import TargetUnavailable
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.requests import InspectedText, Usage
from bailiwick.kernel.outbound import AddressRefused, Outbound
from tests.invocations.conftest import ModelServer, Tenant

GRANTED = 50_000_000


def a_call(tenant: Tenant, target: Target, texts: tuple[InspectedText, ...] = (InspectedText("Hello"),)) -> Call:
    return Call(
        caller=tenant.caller,
        organization_id=tenant.organization_id,
        kind="chat",
        target=target,
        texts=texts,
        charge=tenant.charge,
        stale=lambda _: None,
    )


def an_agent(
    model: ModelServer,
    exchange: Exchange,
    *,
    url: str = "",
    price_micros: int = 500,
    timeout_seconds: float = 30,
    headers: Mapping[str, str] | None = None,
) -> HttpAgentTarget:
    return HttpAgentTarget(
        name="helper",
        url=url or f"{model.base_url}/agent",
        exchange=exchange,
        price_micros=price_micros,
        timeout_seconds=timeout_seconds,
        headers=headers or {"x-agent-key": "k"},
    )


def answering(content: Any, *, status: int = 200, **headers: str) -> Any:
    """A server that answers this."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        text = content if isinstance(content, str) else json.dumps(content)
        return web.Response(text=text, status=status, content_type="application/json", headers=headers)

    return answer


async def assert_nothing_was_charged(tenant: Tenant) -> None:
    assert await tenant.money() == (GRANTED, 0)
    assert (await tenant.last())["status"] == "failed"
    report = await ledger.check()
    assert report.clean, report.problems


# HTTP agents


async def test_an_agent_is_asked_and_charged_what_it_tells(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = answering(
        {"response": "Done.", "usage": {"input_tokens": 3, "output_tokens": 4}, "cost_usd_micros": 120, "more": 1}
    )
    texts = (InspectedText("Do it"), InspectedText("Politely", "systemPromptOverride"))
    outcome = await pipeline.invoke(a_call(tenant, an_agent(model, exchange), texts))
    assert outcome.response == "Done."
    assert model.requests == [{"agent": "helper", "message": "Do it", "system_prompt": "Politely"}]
    assert model.headers[0]["x-agent-key"] == "k"
    assert await tenant.money() == (GRANTED - 120, 0)
    row = await tenant.last()
    assert (row["target_kind"], row["provider"], row["model"]) == ("http_agent", "http", "helper")
    assert (row["input_tokens"], row["output_tokens"]) == (3, 4)


@pytest.mark.parametrize("case", [(10_000, 500), (10**30, 500), (-7, 0), (0, 0)])
async def test_an_agent_costs_at_most_its_price(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, case: tuple[int, int]
) -> None:
    told, charged = case
    usage = {"input_tokens": 10**30, "output_tokens": -4}
    model.answer = answering({"response": "Done.", "cost_usd_micros": told, "usage": usage})
    await pipeline.invoke(a_call(tenant, an_agent(model, exchange)))
    assert await tenant.money() == (GRANTED - charged, 0)
    assert (await tenant.last())["output_tokens"] == 0
    report = await ledger.check()
    assert report.clean, report.problems


@pytest.mark.parametrize(
    "content", ["", "Done.", "[]", "{}", '{"response": 7}', '{"response": "x", "usage": {"input_tokens": "many"}}']
)
async def test_an_agents_answer_that_cannot_be_read_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, content: str
) -> None:
    model.answer = answering(content)
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, an_agent(model, exchange)))
    await assert_nothing_was_charged(tenant)


async def test_an_agents_answer_is_inspected(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = answering({"response": "The key is AKIAIOSFODNN7EXAMPLQ."})
    outcome = await pipeline.invoke(a_call(tenant, an_agent(model, exchange)))
    assert outcome.response == "The key is [REDACTED_SECRET]."
    assert outcome.decision == "HIJACK"


# What may not be called


@pytest.fixture
async def guarded() -> AsyncIterator[Exchange]:
    """Calls to other servers, none of them private."""
    outbound = Outbound()
    yield Exchange(outbound, CircuitBreaker(failures=3, cooldown_seconds=60), attempts=3, connect_seconds=20)
    await outbound.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/agent",
        "http://[::1]:{port}/agent",
        "http://[::ffff:127.0.0.1]:{port}/agent",
        "http://0.0.0.0:{port}/agent",
        "http://10.0.0.8/agent",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:{port}/agent",  # a name that resolves to loopback
        "http://127.1:{port}/agent",
        "http://2130706433:{port}/agent",
        "http://user:password@example.com/agent",
        "file:///etc/passwd",
        "gopher://example.com/",
    ],
)
async def test_an_address_that_may_not_be_called_is_not_called(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, guarded: Exchange, url: str
) -> None:
    port = model.base_url.rpartition(":")[2]
    target = an_agent(model, guarded, url=url.replace("{port}", port))
    with pytest.raises(AddressRefused):
        await pipeline.invoke(a_call(tenant, target))
    assert model.requests == []
    await assert_nothing_was_charged(tenant)
    assert (await tenant.last())["error_code"] == AddressRefused.code


async def test_an_allowed_name_is_called(model: ModelServer) -> None:
    port = model.base_url.rpartition(":")[2]
    outbound = Outbound(frozenset({f"localhost:{port}"}))
    exchange = Exchange(outbound, CircuitBreaker(failures=3, cooldown_seconds=60), attempts=1, connect_seconds=20)
    model.answer = answering({"response": "Done."})
    target = an_agent(model, exchange, url=f"http://localhost:{port}/agent")
    assert await target.dispatch(["Hello"], Usage()) == "Done."
    await outbound.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, status: int
) -> None:
    model.answer = answering("", status=status, location=f"{model.base_url}/elsewhere")
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, an_agent(model, exchange)))
    assert model.paths == ["/agent"]
    await assert_nothing_was_charged(tenant)
