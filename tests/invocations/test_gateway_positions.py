"""Every position of every dialect through the pipeline: what the provider received, and what the client got."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from bailiwick import dlp
from bailiwick.invocations.calls import StreamCall
from bailiwick.invocations.dialects import Dialect, ServerEvent, encode_event
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import DlpPolicyViolation, DlpWithheld
from bailiwick.invocations.inspection import GATEWAY
from bailiwick.invocations.pipeline import Pipeline
from tests.invocations.conftest import ModelServer, Tenant
from tests.invocations.dialects.streams import STREAMS, told
from tests.invocations.dialects.test_positions import ANSWERS, REQUESTS
from tests.invocations.dialects.test_positions import SECRET as PLACE
from tests.invocations.model_calls import model_call, read_events
from tests.invocations.test_streams import sent, sse
from tests.waiting import until_async

KEY, SSN = "AKIAIOSFODNN7EXAMPLQ", "536-22-8726"
TEXT = f"Use {KEY} now, his SSN is {SSN}, and write to ann@example.com please."
MASKED = "Use [REDACTED_SECRET] now, his SSN is [REDACTED_PII], and write to ann@example.com please."
ANTHROPIC_KEY = "sk-ant-api03-Zk9wQ2xvT0hKbGFzZGZnaGprbDEyMzQ1Njc4OTA"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\\nMIIEpAIBAAKCAQEA7bq\\n-----END RSA PRIVATE KEY-----"
_PROVIDERS: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"protocol": "openai"},
    Dialect.MESSAGES: {"protocol": "anthropic"},
    Dialect.RESPONSES: {"protocol": "openai", "endpoints": (Dialect.CHAT, Dialect.RESPONSES)},
}
_EMPTY: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"choices": [{"message": {"content": None}}]},
    Dialect.MESSAGES: {"type": "message", "content": []},
    Dialect.RESPONSES: {"object": "response", "output": []},
}


def with_text(body: dict[str, Any], text: str) -> dict[str, Any]:
    """The body of a table with a text in its place."""
    replaced: dict[str, Any] = json.loads(json.dumps(body).replace(PLACE, text))
    return replaced


def answers(model: ModelServer, body: dict[str, Any]) -> None:
    async def give(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body)

    model.answer = give


class Caller:
    """Calls in one dialect."""

    def __init__(self, tenant: Tenant, model: ModelServer, exchange: Exchange, dialect: Dialect) -> None:
        self._parts = (tenant, model.deployment(**_PROVIDERS[dialect]), exchange)
        self._dialect = dialect

    def call(self, body: dict[str, Any]) -> StreamCall:
        return model_call(*self._parts, {"model": "fast", **body}, dialect=self._dialect, policy=GATEWAY)


def test_the_table_is_about_what_detectors_find() -> None:
    assert {finding.type for finding in dlp.scan(TEXT)} == {"AWS_ACCESS_KEY_ID", "SSN", "EMAIL_ADDRESS"}


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_requests_leave_masked_from_every_position(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, dialect: Dialect
) -> None:
    answers(model, _EMPTY[dialect])
    caller = Caller(tenant, model, exchange, dialect)
    for body, field in [(body, field) for name, body, field in REQUESTS if name == dialect]:
        outcome = await pipeline.invoke(caller.call(with_text(body, TEXT)))
        received = json.dumps(model.requests[-1])
        assert MASKED in received, field
        assert KEY not in received, field
        assert SSN not in received, field
        assert outcome.decision == "HIJACK", field
        assert {flag["field"] for flag in outcome.record.flags} == {field}


@pytest.mark.parametrize("case", list(itertools.product(Dialect, [ANTHROPIC_KEY, PRIVATE_KEY])))
async def test_what_may_not_leave_does_not_from_any_position(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, case: tuple[Dialect, str]
) -> None:
    dialect, value = case
    caller = Caller(tenant, model, exchange, dialect)
    for name, body, _ in REQUESTS:
        if name == dialect and "arguments" not in json.dumps(body):
            with pytest.raises(DlpPolicyViolation):
                await pipeline.invoke(caller.call(with_text(body, f"see {value} here")))
    assert model.requests == []


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_answers_go_out_masked_from_every_position(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, dialect: Dialect
) -> None:
    caller = Caller(tenant, model, exchange, dialect)
    for name, body, field in ANSWERS:
        if name != dialect:
            continue
        answers(model, with_text(body, TEXT))
        outcome = await pipeline.invoke(caller.call({"messages": []}))
        content = outcome.response.content.decode()
        assert MASKED in content, field
        assert KEY not in content, field
        assert outcome.decision == "HIJACK", field
        answers(model, with_text(body, f"see {ANTHROPIC_KEY} here"))
        with pytest.raises(DlpWithheld):
            await pipeline.invoke(caller.call({"messages": []}))


def _ending(dialect: Dialect, events: Sequence[ServerEvent]) -> str:
    """Why a stream says that it is over."""
    if dialect is Dialect.RESPONSES:
        data = events[-1][1]
        assert data is not None
        return str(data["response"]["incomplete_details"]["reason"])
    data = events[-2][1]
    assert data is not None
    return str(data["choices"][0]["finish_reason"] if dialect is Dialect.CHAT else data["delta"]["stop_reason"])


def _stream(dialect: Dialect, text: str, size: int) -> Sequence[ServerEvent]:
    arguments = json.dumps({"note": text, "to": [text]})
    cut = [[whole[at : at + size] for at in range(0, len(whole), size)] for whole in (text, arguments)]
    return STREAMS[dialect](*cut)


@pytest.mark.parametrize("case", list(itertools.product(Dialect, [1, 7, 10_000])))
async def test_streams_go_out_masked_however_they_are_cut(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, case: tuple[Dialect, int]
) -> None:
    dialect, size = case
    model.answer = sent(*map(encode_event, _stream(dialect, TEXT, size)))
    events: list[ServerEvent] = []
    caller = Caller(tenant, model, exchange, dialect)
    await read_events(pipeline.stream(caller.call({"messages": [], "max_tokens": 900})), events)
    assert KEY not in str(events)
    assert SSN not in str(events)
    text, arguments = told(dialect, events).values()
    assert text == MASKED
    assert json.loads(arguments) == {"note": MASKED, "to": [MASKED]}
    row = await tenant.last()
    assert (row["status"], row["decision"]) == ("completed", "HIJACK")


@pytest.mark.parametrize("case", list(itertools.product(Dialect, [1, 7, 10_000])))
async def test_streams_end_before_what_may_not_go_out(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, case: tuple[Dialect, int]
) -> None:
    dialect, size = case
    text = "Nothing to see here. " * 40 + ANTHROPIC_KEY + " and nothing there. " * 40
    model.answer = sent(*map(encode_event, _stream(dialect, text, size)))
    events: list[ServerEvent] = []
    caller = Caller(tenant, model, exchange, dialect)
    try:
        await read_events(pipeline.stream(caller.call({"messages": [], "max_tokens": 900})), events)
    except DlpWithheld:
        assert events == []  # it all came in one read
    else:
        assert (
            _ending(dialect, events)
            == {
                Dialect.CHAT: "content_filter",
                Dialect.MESSAGES: "refusal",
                Dialect.RESPONSES: "content_filter",
            }[dialect]
        )
    assert ANTHROPIC_KEY[:10] not in str(events)
    row = await tenant.last()
    assert (row["status"], row["decision"], row["error_code"]) == ("blocked", "KILL", "policy_denied")


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_name_beside_a_diagnosis_cuts_the_stream_wherever_they_stand(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, dialect: Dialect
) -> None:
    text = "The patient is Mary Johnson. " + "Nothing to see here. " * 30 + "She has type 2 diabetes."
    events_sent = list(map(encode_event, _stream(dialect, text, 20)))
    harmless = text.index("She has") // 20  # so many events at least
    events: list[ServerEvent] = []

    async def has_begun() -> bool:
        return bool(events)

    async def in_two(send: Any) -> None:
        for item in events_sent[:harmless]:
            await send(item)
        await until_async(has_begun)
        for item in events_sent[harmless:]:
            await send(item)

    model.answer = sse(in_two)
    caller = Caller(tenant, model, exchange, dialect)
    await read_events(pipeline.stream(caller.call({"messages": [], "max_tokens": 900})), events)
    assert "diabetes" not in str(events)
    assert _ending(dialect, events) in ("content_filter", "refusal")
    assert (await tenant.last())["status"] == "blocked"


async def test_words_before_a_value_tell_what_it_is(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    answers(model, _EMPTY[Dialect.CHAT])
    arguments = json.dumps({"ssn": "536228726", "password": "correct-horse-7", "count": "536228726"})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    caller = Caller(tenant, model, exchange, Dialect.CHAT)
    await pipeline.invoke(caller.call({"messages": [{"role": "assistant", "tool_calls": [call]}]}))
    received = json.loads(model.requests[-1]["messages"][0]["tool_calls"][0]["function"]["arguments"])
    assert received == {"ssn": "[REDACTED_PII]", "password": "[REDACTED_SECRET]", "count": "536228726"}


async def test_signed_thinking_goes_on_as_it_is(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    answers(model, _EMPTY[Dialect.MESSAGES])
    thinking = {"type": "thinking", "thinking": TEXT, "signature": "c2ln"}
    caller = Caller(tenant, model, exchange, Dialect.MESSAGES)
    body = {"messages": [{"role": "assistant", "content": [thinking]}], "max_tokens": 9}
    await pipeline.invoke(caller.call(body))
    assert model.requests[-1]["messages"][0]["content"] == [thinking]
    flags = json.loads(json.dumps((await tenant.last())["findings"]))
    assert {flag["type"] for flag in flags} == {"AWS_ACCESS_KEY_ID", "SSN", "EMAIL_ADDRESS"}
