"""Calls of models: each provider's form, every dialect from every other, what is passed on, and what is counted."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import pytest
from aiohttp import web

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import Dialect, InvalidBody, ServerEvent, Untranslatable, input_tokens_bound
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.model_requests import ModelRequest
from bailiwick.invocations.dispatch.upstreams import ModelAnswer, Upstreams
from bailiwick.invocations.errors import ProviderRefused, TargetTimeout, TargetUnavailable
from bailiwick.invocations.requests import Usage
from tests.invocations.conftest import ModelServer
from tests.invocations.model_calls import upstreams_of
from tests.invocations.provider_answers import (
    NO_ANSWERS,
    answering,
    asked,
    by_place,
    event,
    hanging,
    saying,
    sending,
    streamed,
    text_in,
    until_asked,
    whole,
)
from tests.waiting import PATIENCE_SECONDS, happens

CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES
BODIES: dict[Dialect, dict[str, Any]] = {
    CHAT: {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]},
    MESSAGES: {"model": "fast", "max_tokens": 300, "messages": [{"role": "user", "content": "Hello"}]},
    RESPONSES: {"model": "fast", "input": "Hello"},
}
PIECES = [f"Piece {number}. " for number in range(10)]
ANSWER = "".join(PIECES)


def a_request(dialect: Dialect = CHAT, *, most: int = 200, stream: bool = False, **more: Any) -> ModelRequest:
    headers = more.pop("headers", {})
    return ModelRequest(
        dialect=dialect, body={**BODIES[dialect], **more}, most_output_tokens=most, stream=stream, headers=headers
    )


async def complete(
    exchange: Exchange, deployment: Deployment, request: ModelRequest, usage: Usage | None = None, **more: Any
) -> ModelAnswer:
    return await upstreams_of(exchange, deployment, **more).complete("fast", request, usage or Usage())


async def read(
    upstreams: Upstreams, request: ModelRequest, usage: Usage | None = None, into: list[ServerEvent] | None = None
) -> list[ServerEvent]:
    """The events of a whole stream; what came before an error stands in `into`."""
    events: list[ServerEvent] = [] if into is None else into
    async with upstreams.stream("fast", request, usage or Usage()) as answer:
        async for some in answer:
            events += some
    return events


async def give_up(calling: asyncio.Task[Any]) -> None:
    """The caller leaves."""
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


def texts(dialect: Dialect, events: list[ServerEvent]) -> str:
    """The text that a stream's events bring."""
    found = ""
    for _, data in events:
        if data is None:
            continue
        if dialect is CHAT:
            found += "".join(choice["delta"].get("content") or "" for choice in data.get("choices", ()))
        elif dialect is MESSAGES and data["type"] == "content_block_delta":
            found += data["delta"].get("text", "")
        elif dialect is RESPONSES and data["type"] == "response.output_text.delta":
            found += data["delta"]
    return found


# Each provider's form


async def test_openai_is_asked_in_its_own_form(model: ModelServer, exchange: Exchange) -> None:
    request = a_request(temperature=0.3, something_new={"a": [1]})
    answer = await complete(exchange, model.deployment(headers={"x-team": "red"}), request)
    assert model.paths == ["/chat/completions"]
    assert model.headers[0]["authorization"] == "Bearer sk-test"
    assert model.headers[0]["x-team"] == "red"
    assert model.headers[0]["content-type"] == "application/json"
    assert model.requests[0] == {
        "model": "stub-1",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.3,
        "something_new": {"a": [1]},
        "max_tokens": 200,
    }
    assert request.body["model"] == "fast"  # what came is left as it was
    assert answer.body["choices"][0]["message"]["content"] == "Hello."


async def test_anthropic_is_asked_in_its_own_form(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering(whole(MESSAGES, "Hello."))
    deployment = model.deployment(protocol="anthropic", provider="anthropic")
    headers = {
        "anthropic-version": "2024-01-01",
        "anthropic-beta": "new-thing",
        "x-api-key": "vk_client",
        "cookie": "c",
    }
    await complete(exchange, deployment, a_request(MESSAGES, headers=headers))
    assert model.paths == ["/v1/messages"]
    assert model.headers[0]["x-api-key"] == "sk-test"
    assert model.headers[0]["anthropic-version"] == "2024-01-01"
    assert model.headers[0]["anthropic-beta"] == "new-thing"
    assert not {"authorization", "cookie"} & set(model.headers[0])
    assert model.requests[0] == {**BODIES[MESSAGES], "model": "stub-1", "max_tokens": 200}


async def test_a_client_of_another_protocol_has_no_say_in_anthropics_headers(
    model: ModelServer, exchange: Exchange
) -> None:
    model.answer = answering(whole(MESSAGES, "Hello."))
    deployment = model.deployment(protocol="anthropic", provider="anthropic", base_url=f"{model.base_url}/v1")
    await complete(exchange, deployment, a_request(headers={"anthropic-version": "1", "openai-beta": "x"}))
    assert model.paths == ["/v1/messages"]
    assert model.headers[0]["anthropic-version"] == "2023-06-01"
    assert "openai-beta" not in model.headers[0]


@pytest.mark.parametrize(
    ("base", "version", "path"),
    [
        ("", "2025-01-01", "/openai/deployments/stub-1/chat/completions?api-version=2025-01-01"),
        ("", None, "/openai/deployments/stub-1/chat/completions?api-version=2024-10-21"),
        ("/openai/v1", None, "/openai/v1/chat/completions"),
        ("/openai/v1", "preview", "/openai/v1/chat/completions?api-version=preview"),
    ],
)
async def test_azure_is_asked_in_its_own_form(
    model: ModelServer, exchange: Exchange, base: str, version: str | None, path: str
) -> None:
    deployment = model.deployment(
        protocol="azure", provider="azure", api_version=version, base_url=model.base_url + base
    )
    await complete(exchange, deployment, a_request())
    assert model.paths == [path]
    assert model.headers[0]["api-key"] == "sk-test"
    assert "authorization" not in model.headers[0]


async def test_a_name_of_a_model_does_not_lead_elsewhere(model: ModelServer, exchange: Exchange) -> None:
    deployment = model.deployment(protocol="azure", provider="azure", model="../../openai/files?a=#", pattern="*")
    await complete(exchange, deployment, a_request())
    (path,) = model.paths
    assert path.startswith("/openai/deployments/..%2F..%2Fopenai%2Ffiles%3Fa=%23/chat/completions?api-version=")


async def test_a_server_without_a_key_is_asked_without_one(model: ModelServer, exchange: Exchange) -> None:
    deployment = model.deployment(provider="ollama_chat", api_key=None, base_url=f"{model.base_url}/v1")
    await complete(exchange, deployment, a_request())
    assert model.paths == ["/v1/chat/completions"]
    assert "authorization" not in model.headers[0]


async def test_a_server_that_speaks_the_clients_dialect_is_asked_in_it(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering(whole(MESSAGES, "Hello."))
    deployment = model.deployment(provider="hosted_vllm", endpoints=(CHAT, MESSAGES), base_url=f"{model.base_url}/v1")
    await complete(exchange, deployment, a_request(MESSAGES))
    assert model.paths == ["/v1/messages"]


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("gpt-4o", {}, {"max_tokens": 200}),
        ("o4-mini", {}, {"max_completion_tokens": 200}),
        ("gpt-5", {"max_completion_tokens": 150}, {"max_completion_tokens": 150}),
        ("gpt-4o", {"max_tokens": 5000}, {"max_tokens": 200}),
        ("gpt-4o", {"max_tokens": 5000, "n": 2}, {"max_tokens": 100, "n": 2}),
    ],
)
async def test_no_model_is_asked_for_more_than_is_held(
    model: ModelServer, exchange: Exchange, name: str, given: dict[str, Any], sent: dict[str, int]
) -> None:
    await complete(exchange, model.deployment(model=name), a_request(**given))
    assert model.requests[0] == {"model": name, "messages": BODIES[CHAT]["messages"], **sent}


async def test_without_a_bound_of_the_clients_each_deployment_has_its_own(
    model: ModelServer, exchange: Exchange
) -> None:
    upstreams = upstreams_of(exchange, model.deployment(max_output_tokens=70))
    assert upstreams.most_output_tokens("fast") == 70
    await upstreams.complete("fast", a_request(most=1000), Usage())
    await upstreams.complete("fast", a_request(most=1000, max_tokens=500), Usage())
    assert [request["max_tokens"] for request in model.requests] == [70, 500]


async def test_of_the_providers_headers_only_harmless_ones_are_passed_on(
    model: ModelServer, exchange: Exchange
) -> None:
    kept: dict[str, Any] = {"x-request-id": "req_1", "x-ratelimit-remaining-tokens": "7", "openai-processing-ms": "9"}
    kept |= {"x-should-retry": "false", "retry-after-ms": "20"}
    model.answer = answering(whole(CHAT, "Hi."), **kept, set_cookie="a=b", openai_organization="ours")
    answer = await complete(exchange, model.deployment(), a_request())
    assert answer.headers == kept


# Every dialect from every other


PAIRS = [pair for pair in itertools.product(Dialect, Dialect) if pair[1] is not RESPONSES or pair[0] is RESPONSES]


def speaking(model: ModelServer, provider: Dialect, **more: Any) -> Deployment:
    protocol = "anthropic" if provider is MESSAGES else "openai"
    return model.deployment(protocol=protocol, endpoints=(provider,), **more)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_whole_answer_comes_in_the_clients_dialect(
    model: ModelServer, exchange: Exchange, client: Dialect, provider: Dialect
) -> None:
    model.answer = answering(whole(provider, "Hello there."))
    usage = Usage()
    answer = await complete(exchange, speaking(model, provider), a_request(client), usage)
    assert text_in(client, answer.body) == "Hello there."
    assert answer.body["model"] == "stub-1"
    assert answer.deployment.name == "fast"
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros, usage.is_estimate) == (100, 50, 200, False)
    assert (usage.provider, usage.model) == ("openai", "stub-1")


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_stream_comes_in_the_clients_dialect(
    model: ModelServer, exchange: Exchange, client: Dialect, provider: Dialect
) -> None:
    model.answer = sending(*streamed(provider, PIECES))
    usage = Usage()
    events = await read(upstreams_of(exchange, speaking(model, provider)), a_request(client, stream=True), usage)
    assert texts(client, events) == ANSWER
    assert model.requests[0]["stream"] is True
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros, usage.is_estimate) == (100, 50, 200, False)
    assert usage.first_token_ms is not None


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_an_error_comes_in_the_clients_dialect(
    model: ModelServer, exchange: Exchange, client: Dialect, provider: Dialect
) -> None:
    error = {"type": "invalid_request_error", "message": "temperature is too high", "param": None, "code": "bad"}
    model.answer = answering(
        {"type": "error", "error": error} if provider is MESSAGES else {"error": error}, status=422, request_id="r1"
    )
    with pytest.raises(ProviderRefused) as refused:
        await complete(exchange, speaking(model, provider), a_request(client))
    assert refused.value.status == 422
    assert refused.value.body["error"]["message"] == "temperature is too high"
    assert (refused.value.body.get("type") == "error") is (client is MESSAGES)
    assert refused.value.headers == {"request-id": "r1"}
    assert len(model.requests) == 1


@pytest.mark.parametrize("client", [CHAT, MESSAGES])
async def test_a_model_that_speaks_responses_alone_is_for_its_clients(
    model: ModelServer, exchange: Exchange, client: Dialect
) -> None:
    with pytest.raises(Untranslatable):
        await complete(exchange, speaking(model, RESPONSES), a_request(client))
    assert model.requests == []


async def test_a_model_that_writes_no_answers_is_not_asked_for_one(model: ModelServer, exchange: Exchange) -> None:
    with pytest.raises(InvalidBody):
        await complete(exchange, model.deployment(endpoints=()), a_request())
    assert model.requests == []


# What is counted


@pytest.mark.parametrize("provider", list(Dialect))
async def test_cached_tokens_cost_what_cached_tokens_cost(
    model: ModelServer, exchange: Exchange, provider: Dialect
) -> None:
    model.answer = answering(whole(provider, "Hello.", input_tokens=1000, cached=800))
    usage = Usage()
    await complete(exchange, speaking(model, provider, cached_input_price=1e-7), a_request(provider), usage)
    assert (usage.input_tokens, usage.cached_tokens) == (1000, 800)
    assert usage.cost_micros == 200 + 80 + 100
    assert usage.raw_cost_micros == 1000 + 100


async def test_writing_to_the_providers_cache_costs_more(model: ModelServer, exchange: Exchange) -> None:
    answer = whole(MESSAGES, "Hello.", input_tokens=1000)
    answer["usage"]["cache_creation_input_tokens"] = 400
    model.answer = answering(answer)
    usage = Usage()
    await complete(exchange, speaking(model, MESSAGES, cache_write_price=2e-6), a_request(MESSAGES), usage)
    assert (usage.input_tokens, usage.cost_micros, usage.raw_cost_micros) == (1400, 1000 + 800 + 100, None)


@pytest.mark.parametrize("ends_with_all", [True, False])
async def test_an_hour_of_the_providers_cache_costs_more_still(
    model: ModelServer, exchange: Exchange, ends_with_all: bool
) -> None:
    told = {"input_tokens": 1000, "cache_creation_input_tokens": 400, "cache_read_input_tokens": 0}
    first = {**told, "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 300}}
    answer = whole(MESSAGES, "Hello.")
    answer["usage"] = {**first, "output_tokens": 50}
    model.answer = answering(answer)
    deployment = speaking(model, MESSAGES, cache_write_price=1.25e-6)
    usage = Usage()
    await complete(exchange, deployment, a_request(MESSAGES), usage)
    assert (usage.input_tokens, usage.cost_micros) == (1400, 1000 + 125 + 600 + 100)
    message = {**answer, "content": [], "usage": {**first, "output_tokens": 1}}
    end = {**(told if ends_with_all else {}), "output_tokens": 50}  # without the parts of what is cached
    model.answer = sending(
        event({"type": "message_start", "message": message}, "message_start"),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end}, "message_delta"),
        event({"type": "message_stop"}, "message_stop"),
    )
    usage = Usage()
    await read(upstreams_of(exchange, deployment), a_request(MESSAGES, stream=True), usage)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (1400, 50, 1000 + 125 + 600 + 100)


async def test_thinking_is_output_with_a_price_of_its_own(model: ModelServer, exchange: Exchange) -> None:
    answer = whole(CHAT, "Hello.")
    answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 30}
    model.answer = answering(answer)
    usage = Usage()
    await complete(exchange, model.deployment(reasoning_price=4e-6), a_request(), usage)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.cost_micros) == (50, 30, 100 + 40 + 120)


_TIERED = [
    (CHAT, "priority", "priority", 500),
    (CHAT, "fast", "priority", 500),
    (CHAT, "priority", "default", 200),  # OpenAI may do less than it is asked
    (CHAT, "flex", "flex", 100),
    (CHAT, "priority", None, 200),  # a server that does not know the field
    (CHAT, None, "priority", 500),  # the default of the project at OpenAI
    (RESPONSES, "priority", "priority", 500),
    (RESPONSES, "auto", "default", 200),
]


@pytest.mark.parametrize(("dialect", "asked", "done", "micros"), _TIERED)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_tier_of_openais_answer_decides_on_its_price(
    model: ModelServer,
    exchange: Exchange,
    *,
    dialect: Dialect,
    asked: str | None,
    done: str | None,
    micros: int,
    stream: bool,
) -> None:
    told = {} if done is None else {"service_tier": done}
    if not stream:
        model.answer = answering({**whole(dialect, ANSWER), **told})
    elif dialect is CHAT:  # the last chunk, with the usage, does not repeat it
        first = {"id": "c", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}], **told}
        model.answer = sending(event(first), *streamed(CHAT, PIECES))
    else:
        completed = {"type": "response.completed", "response": {**whole(RESPONSES, ANSWER), **told}}
        model.answer = sending(event(completed, "response.completed"))
    deployment = speaking(model, dialect, input_price=1e-6, output_price=2e-6)
    usage = Usage()
    request = a_request(dialect, stream=stream, service_tier=asked)
    if stream:
        await read(upstreams_of(exchange, deployment), request, usage)
    else:
        await complete(exchange, deployment, request, usage)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (100, 50, micros)


async def test_anthropics_fast_mode_and_region_have_their_prices(model: ModelServer, exchange: Exchange) -> None:
    answer = whole(MESSAGES, ANSWER)
    answer["usage"] |= {"speed": "fast", "inference_geo": "us"}
    model.answer = answering(answer)
    deployment = speaking(model, MESSAGES, input_price=1e-6, output_price=2e-6, price_factors={"fast": 2})
    usage = Usage()
    await complete(exchange, deployment, a_request(MESSAGES, speed="fast", inference_geo="us"), usage)
    assert usage.cost_micros == 440
    assert model.requests[0]["speed"] == "fast"


@pytest.mark.parametrize("stream", [False, True])
async def test_who_gives_up_while_the_provider_has_the_request_pays_for_its_input(
    model: ModelServer, exchange: Exchange, stream: bool
) -> None:
    model.answer = hanging
    usage = Usage()
    deployment = speaking(model, CHAT, input_price=1e-6, output_price=2e-6)
    request = a_request(stream=stream, service_tier="priority")
    calling = asyncio.create_task(
        read(upstreams_of(exchange, deployment), request, usage)
        if stream
        else complete(exchange, deployment, request, usage)
    )
    await until_asked(model)
    await give_up(calling)
    assert (usage.provider, usage.output_tokens, usage.is_estimate) == (deployment.provider, 0, True)
    assert usage.cost_micros == math.ceil(usage.input_tokens * 2.5) > 0


async def test_who_gives_up_on_embeddings_pays_for_them(model: ModelServer, exchange: Exchange) -> None:
    model.answer = hanging
    usage = Usage()
    upstreams = upstreams_of(exchange, speaking(model, CHAT, input_price=1e-6, embeds=True))
    calling = asyncio.create_task(upstreams.embed("fast", {"input": "Hello"}, usage, most_input_tokens=9))
    await until_asked(model)
    await give_up(calling)
    assert (usage.input_tokens, usage.cost_micros) == (9, 9)


async def test_who_gives_up_before_there_is_a_connection_pays_nothing(exchange: Exchange, model: ModelServer) -> None:
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()  # until the caller hangs up
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        usage = Usage()
        deployment = model.deployment(base_url=f"https://127.0.0.1:{port}")  # and nobody shakes hands
        calling = asyncio.create_task(complete(exchange, deployment, a_request(), usage))
        await happens(connected)
        await give_up(calling)
    assert usage == Usage()


async def test_a_stream_that_breaks_off_is_charged_by_what_it_was_asked_for(
    model: ModelServer, exchange: Exchange
) -> None:
    model.answer = sending(*streamed(CHAT, PIECES)[:3], then="cut")
    deployment = speaking(model, CHAT, input_price=1e-6, output_price=2e-6)
    usage, plain = Usage(), Usage()
    for tier, used in (("priority", usage), (None, plain)):
        with pytest.raises(TargetUnavailable):
            await read(upstreams_of(exchange, deployment), a_request(stream=True, service_tier=tier), used)
    assert usage.output_tokens == plain.output_tokens > 0
    assert usage.cost_micros == math.ceil(plain.cost_micros * 2.5)


@pytest.mark.parametrize("provider", list(Dialect))
async def test_missing_usage_is_charged_by_the_upper_bound(
    model: ModelServer, exchange: Exchange, provider: Dialect
) -> None:
    answer = whole(provider, "Héllo.")
    del answer["usage"]
    model.answer = answering(answer)
    usage = Usage()
    await complete(exchange, speaking(model, provider), a_request(provider), usage)
    assert usage.is_estimate
    assert usage.input_tokens == input_tokens_bound(provider, model.requests[0])
    assert 7 <= usage.output_tokens <= 200


@pytest.mark.parametrize("told", [10**30, 2**62, -(10**30)])
async def test_counts_beyond_belief_are_bounded(model: ModelServer, exchange: Exchange, told: int) -> None:
    model.answer = answering(whole(CHAT, "Hello.", input_tokens=told, output_tokens=told))
    usage = Usage()
    await complete(exchange, model.deployment(), a_request(), usage)
    assert 0 <= usage.cost_micros < 2**40


@pytest.mark.parametrize("provider", list(Dialect))
async def test_a_stream_is_counted_by_its_bytes_until_the_provider_tells(
    model: ModelServer, exchange: Exchange, provider: Dialect
) -> None:
    model.answer = sending(*streamed(provider, PIECES)[:-4], then="hang")
    usage = Usage()
    upstreams = upstreams_of(exchange, speaking(model, provider))
    async with upstreams.stream("fast", a_request(provider, stream=True, most=10_000), usage) as answer:
        received = ""
        async for events in answer:
            received += texts(provider, events)
            assert usage.is_estimate
            assert usage.output_tokens == len(received)
            if len(received) >= len("".join(PIECES[:6])):
                break
    assert usage.cost_micros == usage.input_tokens + 2 * len(received)
    await happens(model.disconnected)


# Streams that end as they should not


@pytest.mark.parametrize(("provider", "then"), list(itertools.product(Dialect, ["end", "cut"])))
async def test_a_stream_that_breaks_off_is_a_failure(
    model: ModelServer, exchange: Exchange, provider: Dialect, then: str
) -> None:
    model.answer = sending(*streamed(provider, PIECES)[:6], then=then)
    events: list[ServerEvent] = []
    with pytest.raises(TargetUnavailable):
        await read(upstreams_of(exchange, speaking(model, provider)), a_request(provider, stream=True), into=events)
    assert ANSWER.startswith(texts(provider, events))
    assert texts(provider, events)
    assert len(model.requests) == 1  # an answer had begun


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_an_error_in_the_middle_ends_the_stream(
    model: ModelServer, exchange: Exchange, client: Dialect, provider: Dialect
) -> None:
    failure: Any = {"error": {"message": "Slow down", "type": "rate_limit_error"}}
    if provider is MESSAGES:
        failure["type"] = "error"
    if provider is RESPONSES:
        failure = {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down", "sequence_number": 3}
    model.answer = sending(*streamed(provider, PIECES)[:5], event(failure, "" if provider is CHAT else "error"))
    with pytest.raises(ProviderRefused) as refused:
        await read(upstreams_of(exchange, speaking(model, provider)), a_request(client, stream=True))
    assert refused.value.status == 429
    assert refused.value.body["error"]["message"] == "Slow down"


@pytest.mark.parametrize("content", [b"data: {not json\n\n", b"data: [1]\n\n", b"data: " + b"x" * 2**24 + b"x\n\n"])
async def test_a_stream_that_cannot_be_read_is_a_failure(
    model: ModelServer, exchange: Exchange, content: bytes
) -> None:
    model.answer = sending(*streamed(CHAT, PIECES)[:4], content)
    with pytest.raises(TargetUnavailable):
        await read(upstreams_of(exchange, model.deployment()), a_request(stream=True))


async def test_a_model_that_does_not_stop_is_cut(model: ModelServer, exchange: Exchange) -> None:
    model.answer = sending(*streamed(CHAT, ["word " * 1000] * 20), then="hang")
    with pytest.raises(TargetUnavailable, match="more than it was asked for"):
        await read(upstreams_of(exchange, model.deployment()), a_request(stream=True, most=100))
    await happens(model.disconnected)


async def test_a_model_that_says_nothing_after_its_end_is_not_waited_for(
    model: ModelServer, exchange: Exchange
) -> None:
    model.answer = sending(*streamed(CHAT, PIECES), then="hang")
    async with asyncio.timeout(PATIENCE_SECONDS):
        events = await read(upstreams_of(exchange, model.deployment()), a_request(stream=True))
    assert texts(CHAT, events) == ANSWER


@pytest.mark.parametrize("content", ["", "<html>", "[1]", "{", '{"choices": []}', '{"choices": 7}', "{}"])
async def test_an_answer_that_is_none_is_a_failure(model: ModelServer, exchange: Exchange, content: str) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=content, content_type="application/json")

    model.answer = answer
    with pytest.raises(TargetUnavailable):
        await complete(exchange, model.deployment(), a_request(MESSAGES))
    assert len(model.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_nothing_is_used_of_what_is_no_answer(
    model: ModelServer, exchange: Exchange, client: Dialect, provider: Dialect, stream: bool
) -> None:
    for kind in NO_ANSWERS:
        model.answer = saying(kind)
        usage = Usage()
        deployment = speaking(model, provider, base_url=f"{model.base_url}/{kind}", retries=0)
        with pytest.raises(TargetUnavailable) as failed:
            if stream:
                await read(upstreams_of(exchange, deployment), a_request(client, stream=True), usage)
            else:
                await complete(exchange, deployment, a_request(client), usage)
        assert (usage, failed.value.status) == (Usage(), 502), kind
        if kind in ("error", *(("error-event", "error-after-ping") if stream else ())):
            assert isinstance(failed.value, ProviderRefused), kind
            assert failed.value.body["error"]["message"] == "Out of order."
            assert failed.value.body.get("type") == "error" or client is not MESSAGES


async def test_embeddings_and_counts_that_are_none_are_asked_for_elsewhere(
    model: ModelServer, exchange: Exchange
) -> None:
    fine = {"object": "list", "data": [], "model": "stub-1", "input_tokens": 7}
    by_place(model, a=saying("error"), b=answering(fine))
    a, b = (
        model.deployment(base_url=f"{model.base_url}/{name}/v1", endpoints=(RESPONSES,), weight=weight, retries=0)
        for name, weight in (("a", 1), ("b", 0))
    )
    usage = Usage()
    await upstreams_of(exchange, a, b).embed("fast", {"model": "fast", "input": "Hello"}, usage)
    counted = await upstreams_of(exchange, a, b).count_tokens("fast", a_request(RESPONSES), Usage())
    assert counted.body["input_tokens"] == 7
    assert asked(model) == ["a", "b", "a", "b"]


@pytest.mark.parametrize("client", [CHAT, MESSAGES, RESPONSES])
async def test_a_chat_server_may_leave_it_at_its_reason_for_stopping(
    model: ModelServer, exchange: Exchange, client: Dialect
) -> None:
    model.answer = sending(*streamed(CHAT, PIECES)[:-1])
    events = await read(upstreams_of(exchange, speaking(model, CHAT)), a_request(client, stream=True))
    name, data = events[-1]
    assert texts(client, events) == ANSWER
    assert (name if data is not None else "[DONE]") == {
        CHAT: "[DONE]",
        MESSAGES: "message_stop",
        RESPONSES: "response.completed",
    }[client]


@pytest.mark.parametrize("client", [CHAT, MESSAGES, RESPONSES])
async def test_what_follows_the_end_is_left_out(model: ModelServer, exchange: Exchange, client: Dialect) -> None:
    model.answer = sending(b"".join([*streamed(CHAT, PIECES), streamed(CHAT, ["More."])[1]]))
    events = await read(upstreams_of(exchange, speaking(model, CHAT)), a_request(client, stream=True))
    assert texts(client, events) == ANSWER


async def test_a_response_that_failed_has_used_nothing(model: ModelServer, exchange: Exchange) -> None:
    failed = {**whole(RESPONSES, ""), "status": "failed", "output": [], "usage": None}
    failed["error"] = {"code": "invalid_prompt", "message": "No."}
    deployment = speaking(model, RESPONSES)
    model.answer = answering(failed)
    usage = Usage()
    with pytest.raises(ProviderRefused) as refused:
        await complete(exchange, deployment, a_request(RESPONSES), usage)
    assert (refused.value.status, refused.value.body["error"]["message"], usage) == (400, "No.", Usage())
    begun = streamed(RESPONSES, [])[0]
    model.answer = sending(begun, event({"type": "response.failed", "response": failed}, "response.failed"))
    events = await read(upstreams_of(exchange, deployment), a_request(RESPONSES, stream=True), usage)
    assert [name for name, _ in events] == ["response.created", "response.failed"]
    assert (usage.cost_micros, usage.is_estimate) == (0, False)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"object": "error", "message": "No.", "code": 400}, 400),
        ({"error": {"message": "No.", "code": "503"}}, 503),
        ({"error": {"message": "No.", "code": 7}}, 502),
        ({"error": {"message": "No.", "type": "overloaded_error"}}, 529),
        ({"error": {"message": "No.", "code": "invalid_api_version"}}, 400),
        ({"error": {"message": "No.", "type": "server_error"}}, 502),
        ({"error": "No."}, 502),
    ],
)
async def test_an_error_with_status_200_tells_its_own(
    model: ModelServer, exchange: Exchange, error: dict[str, Any], status: int
) -> None:
    upstreams = upstreams_of(exchange, model.deployment(retries=0))
    model.answer = answering(error)
    with pytest.raises(ProviderRefused) as refused:
        await upstreams.complete("fast", a_request(), Usage())
    assert (refused.value.status, refused.value.body["error"]["message"]) == (status, "No.")
    model.answer = sending(event(error))
    with pytest.raises(ProviderRefused) as refused:
        await read(upstreams, a_request(stream=True))
    assert (refused.value.status, refused.value.body["error"]["message"]) == (status, "No.")


async def test_an_answer_without_end_is_not_read_to_its_end(model: ModelServer, exchange: Exchange) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    model.answer = flood
    with pytest.raises(TargetUnavailable, match="too large"):
        await complete(exchange, model.deployment(), a_request(), timeout_seconds=60)
    await happens(model.disconnected)


async def test_a_caller_that_goes_away_ends_the_providers_work(model: ModelServer, exchange: Exchange) -> None:
    reached = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await hanging(request)

    model.answer = answer
    task = asyncio.create_task(complete(exchange, model.deployment(), a_request()))
    await happens(reached)
    task.cancel()
    await asyncio.wait([task])
    await happens(model.disconnected)


async def test_a_stream_that_stalls_is_given_up(model: ModelServer, exchange: Exchange) -> None:
    model.answer = sending(*streamed(CHAT, PIECES)[:4], then="hang")
    deployment = model.deployment(stream_timeout_seconds=1)
    with pytest.raises(TargetTimeout):
        await read(upstreams_of(exchange, deployment), a_request(stream=True))
    await happens(model.disconnected)


# Connections, usage of streams, embeddings


@pytest.mark.parametrize("stream", [False, True])
async def test_connections_are_used_again(model: ModelServer, exchange: Exchange, stream: bool) -> None:
    peers = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return await (sending(*streamed(CHAT, PIECES)) if stream else answering(whole(CHAT, "Hi.")))(request)

    model.answer = answer
    upstreams = upstreams_of(exchange, model.deployment())
    for _ in range(4):
        if stream:
            await read(upstreams, a_request(stream=True))
        else:
            await upstreams.complete("fast", a_request(), Usage())
    assert len(peers) == 1


@pytest.mark.parametrize(
    ("dialect", "given", "hides"),
    [
        (CHAT, {}, True),
        (CHAT, {"stream_options": {"include_usage": False, "more": 1}}, True),
        (CHAT, {"stream_options": {"include_usage": True}}, False),
        (MESSAGES, {}, False),
        (RESPONSES, {}, False),
    ],
)
async def test_usage_is_asked_for_whether_or_not_the_client_wants_it(
    model: ModelServer, exchange: Exchange, dialect: Dialect, given: dict[str, Any], hides: bool
) -> None:
    model.answer = sending(*streamed(CHAT, PIECES))
    upstreams = upstreams_of(exchange, speaking(model, CHAT))
    async with upstreams.stream("fast", a_request(dialect, stream=True, **given), Usage()) as answer:
        assert answer.hides_usage is hides
    assert model.requests[0]["stream_options"]["include_usage"] is True


async def test_mistral_is_not_asked_for_what_it_refuses(model: ModelServer, exchange: Exchange) -> None:
    model.answer = sending(*streamed(CHAT, PIECES))
    usage = Usage()
    asks = {"include_usage": True}
    await read(
        upstreams_of(exchange, model.deployment(provider="mistral")), a_request(stream=True, stream_options=asks), usage
    )
    assert "stream_options" not in model.requests[0]
    assert (usage.output_tokens, usage.is_estimate) == (50, False)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({}, "/embeddings"),
        ({"protocol": "azure", "provider": "azure"}, "/openai/deployments/stub-1/embeddings?api-version=2024-10-21"),
    ],
)
async def test_embeddings_are_asked_for_and_charged_by_their_input(
    model: ModelServer, exchange: Exchange, more: dict[str, Any], path: str
) -> None:
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "model": "stub-1"}
    model.answer = answering({**vectors, "usage": {"prompt_tokens": 9, "total_tokens": 9}})
    usage = Usage()
    body = {"model": "fast", "input": ["Hello"], "dimensions": 1}
    answer = await upstreams_of(exchange, model.deployment(**more)).embed("fast", body, usage)
    assert answer.body["data"] == vectors["data"]
    assert model.paths == [path]
    assert model.requests[0] == {**body, "model": "stub-1"}
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (9, 0, 9)


async def test_a_model_that_makes_no_embeddings_is_not_asked_for_any(model: ModelServer, exchange: Exchange) -> None:
    for deployment in (model.deployment(embeds=False), model.deployment(protocol="anthropic")):
        with pytest.raises(InvalidBody):
            await upstreams_of(exchange, deployment).embed("fast", {"model": "fast", "input": "Hello"}, Usage())
    assert model.requests == []
