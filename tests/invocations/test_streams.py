"""Answers that are passed on as they come: however one ends, it is settled once, for what was used by then."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from bailiwick import ledger
from bailiwick.dlp import DlpUnavailable, StreamMasker
from bailiwick.invocations.calls import StreamCall
from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import ServerEvent, encode_event
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import InvocationBlocked, OutputBlocked, TargetTimeout, TargetUnavailable
from bailiwick.invocations.pipeline import Pipeline
from tests.invocations.conftest import ModelServer, Tenant
from tests.invocations.model_calls import (
    Streaming,
    chat_body,
    finish_reasons,
    input_bound,
    model_call,
    read_events,
    text_of,
)
from tests.waiting import PATIENCE_SECONDS, happens

GRANTED = 50_000_000
PROMPT = "Hello"
INPUT = input_bound(PROMPT)
SECRET = "AKIAIOSFODNN7EXAMPLQ"
SSN = "536-22-8726"

Send = Callable[[bytes], Awaitable[None]]


def stream_call(
    tenant: Tenant, deployment: Deployment, exchange: Exchange, text: str = PROMPT, *, timeout_seconds: float = 30
) -> StreamCall:
    return model_call(tenant, deployment, exchange, chat_body(text), timeout_seconds=timeout_seconds)


def event(data: object, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def openai_events(pieces: Sequence[str], usage: dict[str, int] | None = None) -> list[bytes]:
    """The events of a whole chat completion stream; `usage` as include_usage asks for it."""

    def chunk(choices: list[Any], **more: Any) -> bytes:
        return event({"object": "chat.completion.chunk", "choices": choices, **more})

    events = [chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], usage=None)]
    events += [chunk([{"index": 0, "delta": {"content": piece}, "finish_reason": None}]) for piece in pieces]
    events.append(chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if usage is not None:
        events.append(chunk([], usage=usage))
    return [*events, event("[DONE]")]


def anthropic_events(pieces: Sequence[str], input_tokens: int, output_tokens: int) -> list[bytes]:
    """The events of a whole message stream."""
    usage = {"input_tokens": input_tokens, "output_tokens": 1}
    return [
        event({"type": "message_start", "message": {"id": "m", "content": [], "usage": usage}}, "message_start"),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        event({"type": "ping"}, "ping"),
        *(
            event(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}},
                "content_block_delta",
            )
            for piece in pieces
        ),
        event({"type": "content_block_stop", "index": 0}),
        event(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output_tokens}},
            "message_delta",
        ),
        event({"type": "message_stop"}, "message_stop"),
    ]


def sse(write: Callable[[Send], Awaitable[None]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A model server's answer whose body `write` sends."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await write(response.write)
        await response.write_eof()
        return response

    return answer


def sent(*events: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """These events, and the end."""

    async def write(send: Send) -> None:
        for item in events:
            await send(item)

    return sse(write)


def broken(*events: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """These events, and then the connection is cut."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for item in events:
            await response.write(item)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def endless(*events: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """These events, and then nothing more, without an end."""

    async def write(send: Send) -> None:
        for item in events:
            await send(item)
        await asyncio.sleep(60)

    return sse(write)


def in_two(heard: asyncio.Event, first: Sequence[bytes], *later: bytes) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The first events, and the others when the caller has heard of an answer (`telling`)."""

    async def write(send: Send) -> None:
        await send(b"".join(first))
        await heard.wait()
        await send(b"".join(later))
        await asyncio.sleep(60)

    return sse(write)


@contextlib.asynccontextmanager
async def telling(heard: asyncio.Event, streaming: Streaming) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """The stream, whose first piece is told."""
    async with streaming as reads:

        async def pieces() -> AsyncGenerator[bytes, None]:
            async for content in reads:
                heard.set()
                yield content

        yield pieces()


async def read(streaming: Streaming, into: list[str]) -> list[ServerEvent]:
    """Reads a stream; its text before an error stands in `into`. Answers its events."""
    events: list[ServerEvent] = []
    try:
        await read_events(streaming, events)
    finally:
        into += [text for event in events if (text := text_of(event))]
    return events


async def assert_settled(tenant: Tenant, status: str, *, decision: str = "BYPASS", error_code: str | None) -> int:
    """Checks the latest invocation's end, its only charge and the books; answers its cost."""
    row = await tenant.last()
    assert (row["status"], row["decision"], row["error_code"]) == (status, decision, error_code)
    held = await tenant.rows(
        "select amount, posted_amount, state from holds where organization_id = :organization order by id"
    )
    assert [hold["state"] for hold in held if hold["state"] == "open"] == []
    assert row["cost_micros"] == held[-1]["posted_amount"] <= held[-1]["amount"]
    assert await tenant.money() == (GRANTED - sum(hold["posted_amount"] for hold in held), 0)
    (entry,) = await tenant.rows(
        "select body from audit_entries where organization_id = :organization order by sequence desc limit 1"
    )
    assert json.loads(entry["body"])["action"] == f"invocation.{status}"
    report = await ledger.check()
    assert report.clean, report.problems
    return int(row["cost_micros"])


LONG = [f"Sentence number {number} of the answer. " for number in range(40)]


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_a_complete_stream_is_charged_what_the_provider_tells(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, protocol: str
) -> None:
    model.answer = (
        sent(*openai_events(LONG, {"prompt_tokens": 100, "completion_tokens": 50}))
        if protocol == "openai"
        else sent(*anthropic_events(LONG, 100, 50))
    )
    pieces: list[str] = []
    events = await read(pipeline.stream(stream_call(tenant, model.deployment(protocol=protocol), exchange)), pieces)
    assert "".join(pieces) == "".join(LONG)
    assert len(pieces) > 2  # it goes out as it comes, not at the end
    assert finish_reasons(events) == ["stop"]
    assert events[-1] == (None, None)
    assert await assert_settled(tenant, "completed", error_code=None) == 200
    row = await tenant.last()
    assert (row["input_tokens"], row["output_tokens"]) == (100, 50)
    assert row["output_hash"] == hashlib.sha256(b"".join(map(encode_event, events))).hexdigest()
    assert 0 <= row["first_token_ms"] <= row["latency_ms"]
    assert model.requests[0]["stream"] is True


async def test_usage_is_asked_for(tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange) -> None:
    model.answer = sent(*openai_events(["Hi."]))
    await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), [])
    assert model.requests[0]["stream_options"] == {"include_usage": True}


async def test_a_provider_that_tells_no_usage_is_charged_by_the_upper_bound(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = sent(*openai_events(["Héllo ", "there."]))
    await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), [])
    assert await assert_settled(tenant, "completed", error_code=None) == INPUT + 2 * len("Héllo there.".encode())


async def test_an_upper_bound_never_exceeds_what_the_model_was_allowed(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = sent(*openai_events(LONG))  # far more bytes than 400, and perhaps 300 tokens
    pieces: list[str] = []
    await read(pipeline.stream(stream_call(tenant, model.deployment(max_output_tokens=400), exchange)), pieces)
    assert "".join(pieces) == "".join(LONG)
    assert await assert_settled(tenant, "completed", error_code=None) == INPUT + 2 * 400


async def test_a_prompt_that_masking_made_longer_is_charged_within_the_hold(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = sent(*openai_events(LONG))
    text = "password: hunter22 " * 20
    pieces: list[str] = []
    await read(pipeline.stream(stream_call(tenant, model.deployment(max_output_tokens=50), exchange, text)), pieces)
    assert len(model.requests[0]["messages"][0]["content"]) > input_bound(text)
    assert "".join(pieces) == "".join(LONG)
    assert await assert_settled(tenant, "completed", decision="HIJACK", error_code=None) == input_bound(text) + 2 * 50


async def test_a_stream_that_tells_more_than_was_held_is_cut(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    over = event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 10**30}})
    model.answer = endless(*openai_events(LONG)[:11], over, *openai_events(LONG)[11:31])
    pieces: list[str] = []
    events = await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), pieces)
    assert "".join(pieces) in {"".join(LONG[:10]), "".join(LONG[:30])}  # all that was read
    assert finish_reasons(events) == ["length"]
    assert events[-1] == (None, None)
    assert await assert_settled(tenant, "failed", error_code="PLAN_LIMIT_REACHED") == INPUT + 2 * 1000
    await happens(model.disconnected)


async def test_a_model_that_does_not_stop_is_cut(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    heard = asyncio.Event()
    first, *events = openai_events(["word " * 1000] * 20)
    model.answer = in_two(heard, [first], *events)
    call = stream_call(tenant, model.deployment(max_output_tokens=100), exchange)
    with pytest.raises(TargetUnavailable):
        await read(telling(heard, pipeline.stream(call)), [])
    assert await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE") == INPUT + 2 * 100


@pytest.mark.parametrize("told", [10**30, -5])
async def test_counts_beyond_belief_are_charged_within_the_hold(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, told: int
) -> None:
    model.answer = sent(*openai_events(["Hi."], {"prompt_tokens": told, "completion_tokens": told}))
    await read(pipeline.stream(stream_call(tenant, model.deployment(max_output_tokens=400), exchange)), [])
    cost = await assert_settled(tenant, "completed", error_code=None)
    assert cost == (INPUT + 2 * 400 if told > 0 else 0)


@pytest.mark.parametrize(
    "ending",
    [
        b"data: {not json\n\n",
        b"data: " + b"x" * (2 * 1024 * 1024) + b"\n\n",
        b"data: x\n" * (512 * 1024),
    ],
    ids=["malformed", "too-large", "too-many-lines"],
)
async def test_a_stream_that_cannot_be_read_on_is_charged_for_what_came(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, ending: bytes
) -> None:
    model.answer = sent(*openai_events(LONG)[:31], ending, *openai_events(LONG)[31:])
    pieces: list[str] = []
    with pytest.raises(TargetUnavailable):
        await read(pipeline.stream(stream_call(tenant, model.deployment(max_output_tokens=10_000), exchange)), pieces)
    assert "".join(pieces) in "".join(LONG[:30])
    cost = await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE")
    assert cost == INPUT + 2 * len("".join(LONG[:30]))


async def test_an_error_event_ends_the_stream(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    overloaded = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
    heard = asyncio.Event()
    model.answer = in_two(heard, anthropic_events(LONG, 100, 50)[:13], overloaded)
    call = stream_call(tenant, model.deployment(protocol="anthropic"), exchange)
    with pytest.raises(TargetUnavailable):
        await read(telling(heard, pipeline.stream(call)), [])
    cost = await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE")
    assert cost == 100 + 2 * len("".join(LONG[:10]))  # the provider told the input; the output is what came


async def test_an_openai_error_event_ends_the_stream(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    failure = event({"error": {"message": "The server had an error", "type": "server_error"}})
    heard = asyncio.Event()
    events = openai_events(LONG)
    model.answer = in_two(heard, events[:11], *events[11:21], failure, event("[DONE]"))
    pieces: list[str] = []
    with pytest.raises(TargetUnavailable):
        await read(telling(heard, pipeline.stream(stream_call(tenant, model.deployment(), exchange))), pieces)
    cost = await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE")
    assert cost == INPUT + 2 * len("".join(LONG[:20]))
    assert "".join(pieces) == "".join(LONG[:20])  # what came with the error, or was held back, goes out before it


@pytest.mark.parametrize("ending", ["error", "broken"])
async def test_nothing_is_charged_of_which_nothing_went_out(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, ending: str
) -> None:
    text = event({"choices": [{"index": 0, "delta": {"content": "Hello there"}, "finish_reason": None}]})
    usage = event({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 50}})
    failure = event({"error": {"message": "The server had an error", "type": "server_error"}})
    model.answer = sent(text + usage + failure) if ending == "error" else broken(text)  # so short that all is held back
    pieces: list[str] = []
    with pytest.raises(TargetUnavailable):
        await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), pieces)
    assert pieces == []
    assert await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE") == 0


@pytest.mark.parametrize("case", list(itertools.product(["openai", "anthropic"], [broken, sent])))
async def test_a_stream_that_breaks_off_is_charged_for_what_came(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, case: tuple[str, Any]
) -> None:
    protocol, how = case
    events = openai_events(LONG)[:21] if protocol == "openai" else anthropic_events(LONG, 5, 50)[:23]
    model.answer = how(*events)
    pieces: list[str] = []
    with pytest.raises(TargetUnavailable):
        await read(pipeline.stream(stream_call(tenant, model.deployment(protocol=protocol), exchange)), pieces)
    assert pieces
    assert await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE") == (
        (INPUT if protocol == "openai" else 5) + 2 * len("".join(LONG[:20]))
    )


async def test_a_stream_that_stalls_is_given_up(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:21])
    with pytest.raises(TargetTimeout):
        await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange, timeout_seconds=1)), [])
    await happens(model.disconnected)
    assert await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE") > 0


async def test_a_reader_that_leaves_is_settled_and_the_model_stopped(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:21])
    async with pipeline.stream(stream_call(tenant, model.deployment(), exchange)) as stream:
        assert await anext(stream)
    # Settled, and the connection closed, by the time that the context has ended.
    assert 0 < await assert_settled(tenant, "cancelled", error_code="CANCELLED") <= INPUT + 2 * len("".join(LONG[:20]))
    await happens(model.disconnected)


async def test_a_cancelled_reader_is_settled_and_the_model_stopped(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:21])
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def reading() -> None:
        async with pipeline.stream(stream_call(tenant, model.deployment(), exchange)) as stream:
            async for piece in stream:
                got.put_nowait(piece)

    task = asyncio.create_task(reading())
    await asyncio.wait_for(got.get(), PATIENCE_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await assert_settled(tenant, "cancelled", error_code="CANCELLED") > 0
    await happens(model.disconnected)


async def test_a_reader_cancelled_twice_is_still_settled(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:21])
    got = asyncio.Event()

    async def reading() -> None:
        async with pipeline.stream(stream_call(tenant, model.deployment(), exchange)) as stream:
            async for _ in stream:
                got.set()

    for turns in range(8):
        got.clear()
        task = asyncio.create_task(reading())
        await happens(got)
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert await pipeline.drain(5)
    await pipeline.close()
    statuses = await tenant.rows("select status from invocations where organization_id = :organization")
    assert [row["status"] for row in statuses] == ["cancelled"] * 8
    report = await ledger.check()
    assert report.clean, report.problems


@pytest.mark.parametrize("size", [1, 3, 7, 19])
async def test_a_secret_split_over_chunks_leaves_masked(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, size: int
) -> None:
    text = "".join(LONG[:8]) + f"Write to ann@example.com and use {SECRET} now. " + "".join(LONG[:8])
    model.answer = sent(*openai_events([text[at : at + size] for at in range(0, len(text), size)]))
    pieces: list[str] = []
    await read(pipeline.stream(stream_call(tenant, model.deployment(max_output_tokens=10_000), exchange)), pieces)
    expected = text.replace(SECRET, "[REDACTED_SECRET]")
    assert "".join(pieces) == expected  # what is not secret goes out as it is, as in a whole answer
    await assert_settled(tenant, "completed", decision="HIJACK", error_code=None)


async def test_personal_data_in_a_stream_is_flagged_and_goes_out(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = sent(*openai_events(["Write to ann@", "example.com please."]))
    pieces: list[str] = []
    await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), pieces)
    assert "".join(pieces) == "Write to ann@example.com please."
    await assert_settled(tenant, "completed", decision="ENHANCE", error_code=None)


@pytest.mark.parametrize("case", list(itertools.product([0, 1, 8, 20], [endless, sent])))
async def test_phi_cuts_the_stream_before_it_is_out(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, case: tuple[int, Any]
) -> None:
    before, ending = case
    after = [] if ending is sent else LONG
    pieces = [*LONG[:before], "Her SSN is ", SSN[:4], SSN[4:], ", and ", *after]
    model.answer = ending(*openai_events(pieces))
    out: list[str] = []
    try:
        events = await read(
            pipeline.stream(stream_call(tenant, model.deployment(max_output_tokens=10_000), exchange)), out
        )
    except OutputBlocked:
        assert out == []  # not even the first event had gone out
    else:
        assert finish_reasons(events) == ["content_filter"]
        assert events[-1] == (None, None)
    assert SSN[:3] not in "".join(out)
    cost = await assert_settled(tenant, "blocked", decision="KILL", error_code="DLP_OUTPUT_BLOCKED")
    assert cost > INPUT
    if ending is endless:
        await happens(model.disconnected)


async def test_phi_in_the_prompt_opens_no_stream(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    with pytest.raises(InvocationBlocked):
        await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange, f"SSN {SSN}")), [])
    assert model.requests == []
    assert await assert_settled(tenant, "blocked", decision="KILL", error_code="DLP_INPUT_BLOCKED") == 0


async def test_a_stream_whose_inspection_fails_goes_no_further(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_masker: StreamMasker, _chunk: str) -> str:
        raise DlpUnavailable

    monkeypatch.setattr(StreamMasker, "feed", broken)
    model.answer = endless(*openai_events(LONG))
    out: list[str] = []
    with pytest.raises(DlpUnavailable):
        await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), out)
    assert out == []
    await assert_settled(tenant, "failed", error_code=DlpUnavailable.code)


async def test_a_stream_that_never_began_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def fail(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    model.answer = fail
    with pytest.raises(TargetUnavailable):
        await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange)), [])
    assert len(model.requests) == 3
    assert await assert_settled(tenant, "failed", error_code="MODEL_UNAVAILABLE") == 0


async def test_a_defect_of_ours_is_an_unavailable_model_to_the_reader(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    deployment = model.deployment(headers={"x-team": "two\nlines"})  # a header that cannot be sent
    with pytest.raises(TargetUnavailable):
        await read(pipeline.stream(stream_call(tenant, deployment, exchange)), [])
    assert await assert_settled(tenant, "failed", error_code="INTERNAL") == 0


async def test_racing_streams_are_all_settled(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        number = len(model.requests)
        events = openai_events(LONG, {"prompt_tokens": 100, "completion_tokens": 50})
        return await (sent(*events), broken(*events[:21]), endless(*events[:21]))[number % 3](request)

    model.answer = answer

    async def one() -> None:
        with contextlib.suppress(TargetUnavailable):
            await read(pipeline.stream(stream_call(tenant, model.deployment(), exchange, timeout_seconds=2)), [])

    await asyncio.gather(*(one() for _ in range(24)))
    rows = await tenant.rows(
        "select status, count(*) as n from invocations where organization_id = :organization group by status"
    )
    assert sum(row["n"] for row in rows) == 24
    assert {row["status"] for row in rows} <= {"completed", "failed"}
    assert (await tenant.money())[1] == 0
    report = await ledger.check()
    assert report.clean, report.problems
