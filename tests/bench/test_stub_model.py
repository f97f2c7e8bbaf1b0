"""The stub model answers in the providers' shapes, plain and streamed, and counts its calls."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio

from bailiwick.bench.stub_model import ANSWER, start_stub

QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Router offline"}]}


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[aiohttp.ClientSession]:
    server = await start_stub()
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as session:
        yield session


async def events(session: aiohttp.ClientSession, path: str, body: object) -> list[dict[str, Any]]:
    async with session.post(path, json=body) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        text = await response.text()
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_chat_completion(stub: aiohttp.ClientSession) -> None:
    async with stub.post("/v1/chat/completions", json=QUESTION) as response:
        answer = await response.json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "m"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": ANSWER, "refusal": None}
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_chat_stream_adds_up_and_tells_usage_when_asked(stub: aiohttp.ClientSession) -> None:
    chunks = await events(stub, "/v1/chat/completions", QUESTION | {"stream": True})
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == ANSWER
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    asked = QUESTION | {"stream": True, "stream_options": {"include_usage": True}}
    *_, last = await events(stub, "/v1/chat/completions", asked)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(chunks) - 2


async def test_messages_plain_and_streamed(stub: aiohttp.ClientSession) -> None:
    body = QUESTION | {"max_tokens": 100}
    async with stub.post("/v1/messages", json=body) as response:
        answer = await response.json()
    assert answer["content"] == [{"type": "text", "text": ANSWER}]
    assert answer["usage"]["output_tokens"] > 0
    streamed = await events(stub, "/v1/messages", body | {"stream": True})
    deltas = [event["delta"]["text"] for event in streamed if event["type"] == "content_block_delta"]
    assert "".join(deltas) == ANSWER
    assert [streamed[0]["type"], streamed[-1]["type"]] == ["message_start", "message_stop"]


async def test_embeddings_one_for_each_input(stub: aiohttp.ClientSession) -> None:
    async with stub.post("/v1/embeddings", json={"model": "m", "input": ["a", "b"]}) as response:
        assert [one["index"] for one in (await response.json())["data"]] == [0, 1]


async def test_only_model_calls_are_counted(stub: aiohttp.ClientSession) -> None:
    await (await stub.post("/v1/chat/completions", json=QUESTION)).read()
    assert (await stub.post("/v1/chat/completions", data=b"{")).status == 400
    assert (await stub.post("/v1/nothing", json=QUESTION)).status == 404
    assert (await stub.get("/v1/models")).status == 200
    assert await (await stub.get("/stub/calls")).json() == {"calls": 1}


async def test_a_large_body_in_pieces_and_two_requests_in_one(stub: aiohttp.ClientSession) -> None:
    large = QUESTION | {"messages": [{"role": "user", "content": "x" * 1_000_000}]}
    async with stub.post("/v1/chat/completions", json=large) as response:
        assert (await response.json())["usage"]["prompt_tokens"] > 200_000
