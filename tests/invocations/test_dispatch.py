"""How targets are called: each one's form of request and answer, retries, the breaker, and what may not be called."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import ssl
from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from bailiwick import ledger
from bailiwick.invocations.dispatch import exchange as exchange_module
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.http_agents import HttpAgentTarget
from bailiwick.invocations.dispatch.models import ModelTarget
from bailiwick.invocations.errors import TargetTimeout, TargetUnavailable
from bailiwick.invocations.pipeline import Call, Pipeline, Target
from bailiwick.invocations.requests import InspectedText, Usage
from bailiwick.kernel.outbound import AddressRefused, Outbound
from tests.invocations.conftest import ModelServer, Tenant, json_answer

GRANTED = 50_000_000
MESSAGES = (InspectedText("Be brief."), InspectedText("Hello"), InspectedText("Hi."), InspectedText("And now?"))
ROLES = ("system", "user", "assistant", "user")


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


def a_model(model: ModelServer, exchange: Exchange, *, timeout_seconds: float = 5, **more: Any) -> ModelTarget:
    return ModelTarget(
        deployment=model.deployment(**more), roles=("user",), exchange=exchange, timeout_seconds=timeout_seconds
    )


def an_agent(model: ModelServer, exchange: Exchange, *, url: str = "", price_micros: int = 500) -> HttpAgentTarget:
    return HttpAgentTarget(
        name="helper",
        url=url or f"{model.base_url}/agent",
        exchange=exchange,
        price_micros=price_micros,
        timeout_seconds=5,
        headers={"x-agent-key": "k"},
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


# Forms of requests and answers


async def test_anthropic_is_asked_in_its_own_form(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering(
        {
            "content": [
                {"type": "text", "text": "Hel"},
                {"type": "tool_use", "id": "t"},
                {"type": "text", "text": "lo"},
            ],
            "usage": {
                "input_tokens": 10,
                "output_tokens": 7,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 30,
            },
        }
    )
    deployment = model.deployment(dialect="anthropic", provider="anthropic", headers={"x-team": "red"})
    target = ModelTarget(deployment=deployment, roles=ROLES, exchange=exchange, timeout_seconds=5)
    usage = Usage()
    assert await target.dispatch([item.text for item in MESSAGES], usage) == "Hello"
    assert model.paths == ["/v1/messages"]
    assert model.headers[0]["x-api-key"] == "sk-test"
    assert model.headers[0]["anthropic-version"] == "2023-06-01"
    assert model.headers[0]["x-team"] == "red"
    assert "authorization" not in model.headers[0]
    assert model.requests[0] == {
        "model": "stub-1",
        "max_tokens": 1000,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "And now?"},
        ],
    }
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (60, 7, 74)  # cached input is input
    assert (usage.provider, usage.model) == ("anthropic", "stub-1")


async def test_azure_is_asked_in_its_own_form(model: ModelServer, exchange: Exchange) -> None:
    deployment = model.deployment(dialect="azure", provider="azure", api_version="2025-01-01")
    target = ModelTarget(deployment=deployment, roles=ROLES, exchange=exchange, timeout_seconds=5)
    assert await target.dispatch([item.text for item in MESSAGES], Usage()) == "Hello."
    assert model.paths == ["/openai/deployments/stub-1/chat/completions?api-version=2025-01-01"]
    assert model.headers[0]["api-key"] == "sk-test"
    assert "authorization" not in model.headers[0]
    assert [message["role"] for message in model.requests[0]["messages"]] == list(ROLES)


async def test_a_model_without_a_key_is_asked_without_one(model: ModelServer, exchange: Exchange) -> None:
    await a_model(model, exchange, api_key=None).dispatch(["Hello"], Usage())
    assert "authorization" not in model.headers[0]
    assert model.paths == ["/chat/completions"]


@pytest.mark.parametrize(("name", "limit"), [("gpt-4o", "max_tokens"), ("o4-mini", "max_completion_tokens")])
async def test_a_model_is_told_how_long_its_answer_may_be(
    model: ModelServer, exchange: Exchange, name: str, limit: str
) -> None:
    deployment = model.deployment(model=name)
    target = ModelTarget(deployment=deployment, roles=("user",), exchange=exchange, timeout_seconds=5)
    await target.dispatch(["Hello"], Usage())
    assert model.requests[0] == {
        "model": name,
        limit: 1000,
        "messages": [{"role": "user", "content": "Hello"}],
    }


async def test_missing_usage_is_charged_by_the_upper_bound(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering({"choices": [{"message": {"content": "Héllo."}}]})
    usage = Usage()
    await a_model(model, exchange).dispatch(["Grüezi"], usage)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (7, 7, 21)
    assert usage.is_estimate


@pytest.mark.parametrize("told", [10**30, -(10**30)])
async def test_counts_beyond_belief_are_settled_within_the_hold(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, told: int
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await json_answer(request, text="ok", input_tokens=told, output_tokens=told)

    model.answer = answer
    target = a_model(model, exchange)
    await pipeline.invoke(a_call(tenant, target))
    held = target.worst_case_micros((InspectedText("Hello"),))
    assert await tenant.money() == (GRANTED - (held if told > 0 else 0), 0)


@pytest.mark.parametrize(
    "content", [{"type": "error", "error": {"type": "overloaded_error"}}, {}, {"content": "text"}, {"content": [1]}]
)
async def test_an_anthropic_answer_that_is_none_is_a_failure(
    model: ModelServer, exchange: Exchange, content: object
) -> None:
    model.answer = answering(content)
    with pytest.raises(TargetUnavailable):
        await a_model(model, exchange, dialect="anthropic").dispatch(["Hello"], Usage())


async def test_an_answer_without_end_is_not_read_to_its_end(model: ModelServer, exchange: Exchange) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    model.answer = flood
    with pytest.raises(TargetUnavailable, match="too large"):
        await a_model(model, exchange, timeout_seconds=60).dispatch(["Hello"], Usage())
    await asyncio.wait_for(model.disconnected.wait(), 5)


async def test_the_targets_own_error_text_is_not_told(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = answering({"error": "the prompt 'Hello' of sk-test is refused"}, status=400)
    with pytest.raises(TargetUnavailable) as refused:
        await pipeline.invoke(a_call(tenant, a_model(model, exchange)))
    assert "sk-test" not in refused.value.message
    assert refused.value.status == 502
    await assert_nothing_was_charged(tenant)


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
    yield Exchange(outbound, CircuitBreaker(failures=3, cooldown_seconds=60), attempts=3, connect_seconds=2)
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
    exchange = Exchange(outbound, CircuitBreaker(failures=3, cooldown_seconds=60), attempts=1, connect_seconds=2)
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


# Failures that may pass


async def test_retry_after_may_be_a_date(model: ModelServer, exchange: Exchange) -> None:
    async def busy_once(request: web.Request) -> web.StreamResponse:
        if len(model.requests) == 1:
            past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
            return web.Response(status=503, headers={"retry-after": format_datetime(past, usegmt=True)})
        return await json_answer(request, text="At last.")

    model.answer = busy_once
    assert await a_model(model, exchange).dispatch(["Hello"], Usage()) == "At last."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 1999 23:59:59", None),  # no zone
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert exchange_module._retry_after(value) == seconds


async def test_a_target_that_wants_to_be_left_alone_for_long_is(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = answering("", status=429, **{"retry-after": "3600"})
    with pytest.raises(TargetUnavailable, match="429"):
        await pipeline.invoke(a_call(tenant, a_model(model, exchange)))
    assert len(model.requests) == 1
    await assert_nothing_was_charged(tenant)


async def test_a_failure_with_a_long_page_is_tried_again(model: ModelServer, exchange: Exchange) -> None:
    async def broken_once(request: web.Request) -> web.StreamResponse:
        if len(model.requests) == 1:
            return web.Response(status=502, body=b"<html>" * 100_000)
        return await json_answer(request, text="At last.")

    model.answer = broken_once
    assert await a_model(model, exchange).dispatch(["Hello"], Usage()) == "At last."


async def test_an_answer_that_breaks_off_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices"')
        assert request.transport is not None
        request.transport.close()
        return response

    model.answer = cut
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, a_model(model, exchange)))
    assert len(model.requests) == 1  # an answer had begun: asking again could cost twice
    await assert_nothing_was_charged(tenant)


async def test_a_refused_connection_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(TargetUnavailable):
            await pipeline.invoke(a_call(tenant, a_model(model, exchange, base_url=url)))
    await assert_nothing_was_charged(tenant)


async def test_a_server_without_tls_is_unavailable_over_https(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    url = model.base_url.replace("http:", "https:")
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, a_model(model, exchange, base_url=url)))
    assert model.requests == []
    await assert_nothing_was_charged(tenant)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    tenant: Tenant, pipeline: Pipeline, exchange: Exchange, model: ModelServer, own_certificate: ssl.SSLContext
) -> None:
    reached = False

    async def answer(_request: web.Request) -> web.StreamResponse:
        nonlocal reached
        reached = True
        return web.Response()

    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own_certificate)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, a_model(model, exchange, base_url=url)))
    assert not reached
    await assert_nothing_was_charged(tenant)
    await runner.cleanup()


# The circuit breaker


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """At zero."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """Opens at the third failure, for ten seconds."""
    return CircuitBreaker(failures=3, cooldown_seconds=10, clock=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.failed("a")


def test_a_breaker_opens_at_its_limit_for_that_target_alone(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert breaker.allows("a")
    fail(breaker, 1)
    assert not breaker.allows("a")
    assert breaker.allows("b")


def test_a_success_between_failures_closes_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.succeeded("a")
    fail(breaker, 2)
    assert breaker.allows("a")


def test_after_the_cooldown_one_caller_probes(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.seconds = 9.9
    assert not breaker.allows("a")
    clock.seconds = 10
    assert [breaker.allows("a") for _ in range(3)] == [True, False, False]
    breaker.succeeded("a")
    assert [breaker.allows("a") for _ in range(3)] == [True, True, True]


def test_a_probe_that_fails_opens_it_again_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.seconds = 10
    assert breaker.allows("a")
    fail(breaker, 1)
    clock.seconds = 19.9
    assert not breaker.allows("a")
    clock.seconds = 20
    assert breaker.allows("a")


def test_a_probe_that_tells_nothing_lets_the_next_one_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.seconds = 10
    assert breaker.allows("a")
    breaker.abandoned("a")
    assert breaker.allows("a")


def test_breakers_of_any_number_of_targets_stay_bounded(breaker: CircuitBreaker) -> None:
    for number in range(10_000):
        breaker.failed(str(number))
    assert len(breaker._states) <= 4096


@pytest.mark.parametrize("ending", ["unreadable", "left", "timeout", "refused", "bad-header"])
async def test_however_a_probe_ends_the_target_is_probed_again(
    model: ModelServer, breaker: CircuitBreaker, clock: Clock, ending: str
) -> None:
    outbound = Outbound(frozenset({"127.0.0.1"}))
    exchange = Exchange(outbound, breaker, attempts=1, connect_seconds=2)
    model.answer = answering("", status=500)
    target = a_model(model, exchange)
    for _ in range(3):
        with pytest.raises(TargetUnavailable):
            await target.dispatch(["Hello"], Usage())
    assert len(model.requests) == 3
    with pytest.raises(TargetUnavailable, match="left alone"):
        await target.dispatch(["Hello"], Usage())
    clock.seconds = 10

    reached = asyncio.Event()

    async def hang(_request: web.Request) -> web.StreamResponse:
        reached.set()
        await asyncio.sleep(60)
        raise AssertionError

    match ending:
        case "unreadable":
            model.answer = answering("x" * (17 * 1024 * 1024))
            with pytest.raises(TargetUnavailable):
                await target.dispatch(["Hello"], Usage())
        case "left":
            model.answer = hang
            probe = asyncio.create_task(target.dispatch(["Hello"], Usage()))
            await asyncio.wait_for(reached.wait(), 5)
            probe.cancel()
            await asyncio.wait([probe])
        case "timeout":
            model.answer = hang
            with pytest.raises(TargetTimeout):
                await a_model(model, exchange, timeout_seconds=0.2).dispatch(["Hello"], Usage())
        case "refused":
            model.answer = answering("", status=404)
            with pytest.raises(TargetUnavailable):
                await target.dispatch(["Hello"], Usage())
        case "bad-header":
            with pytest.raises(ValueError, match="header"):
                await a_model(model, exchange, headers={"x": "two\nlines"}).dispatch(["Hello"], Usage())

    clock.seconds = 20
    model.answer = answering({"choices": [{"message": {"content": "Well again."}}]})
    assert await target.dispatch(["Hello"], Usage()) == "Well again."
    await outbound.close()
