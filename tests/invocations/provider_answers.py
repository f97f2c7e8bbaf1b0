"""What providers answer in each dialect, whole and as streams; servers that answer so by the path they are asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from bailiwick.invocations.dialects import Dialect
from tests.invocations.conftest import ModelServer
from tests.waiting import PATIENCE_SECONDS

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def whole(dialect: Dialect, text: str, *, input_tokens: int = 100, output_tokens: int = 50, cached: int = 0) -> Any:
    """A whole answer; `cached` of the input tokens were in the provider's cache."""
    match dialect:
        case Dialect.CHAT:
            usage: dict[str, Any] = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
            message: dict[str, Any] = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "c", "object": "chat.completion", "model": "stub-1", "choices": [choice], "usage": usage}
        case Dialect.MESSAGES:
            usage = {"input_tokens": input_tokens - cached, "output_tokens": output_tokens}
            usage["cache_read_input_tokens"] = cached
            content = [{"type": "text", "text": text}]
            message = {"id": "m", "type": "message", "role": "assistant", "model": "stub-1", "content": content}
            return {**message, "stop_reason": "end_turn", "usage": usage}
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    usage["input_tokens_details"] = {"cached_tokens": cached}
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [part]}
    return {"id": "r", "object": "response", "status": "completed", "model": "stub-1", "output": [item], "usage": usage}


def text_in(dialect: Dialect, body: Mapping[str, Any]) -> str:
    """The text of a whole answer."""
    match dialect:
        case Dialect.CHAT:
            return str(body["choices"][0]["message"]["content"])
        case Dialect.MESSAGES:
            return str(body["content"][0]["text"])
    return str(body["output"][0]["content"][0]["text"])


def event(data: object, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def streamed(
    dialect: Dialect, pieces: Sequence[str], *, input_tokens: int = 100, output_tokens: int = 50
) -> list[bytes]:
    """The events of a whole streamed answer."""
    if dialect is Dialect.CHAT:
        chunks: list[Any] = [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
        chunks += [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "stub-1"}
        usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
        told = event({**head, "choices": [], "usage": usage})
        return [*(event({**head, "choices": [chunk]}) for chunk in chunks), told, event("[DONE]")]
    if dialect is Dialect.MESSAGES:
        message = {**whole(dialect, ""), "content": [], "stop_reason": None}
        message["usage"] = {"input_tokens": input_tokens, "output_tokens": 1}
        deltas: list[Any] = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces
        ]
        start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        ended = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output_tokens}}
        all_events: list[Any] = [{"type": "message_start", "message": message}, start, *deltas]
        all_events += [{"type": "content_block_stop", "index": 0}, {"type": "message_delta", **ended}]
        all_events.append({"type": "message_stop"})
        return [event(item, item["type"]) for item in all_events]
    response = whole(dialect, "".join(pieces), input_tokens=input_tokens, output_tokens=output_tokens)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    where = {"item_id": "i", "output_index": 0, "content_index": 0}
    steps: list[Any] = [{"type": "response.created", "response": begun}]
    steps += [{"type": "response.output_text.delta", **where, "delta": piece} for piece in pieces]
    steps.append({"type": "response.completed", "response": response})
    return [event({**step, "sequence_number": number}, step["type"]) for number, step in enumerate(steps)]


def answering(content: object, *, status: int = 200, **headers: str) -> Answer:
    """A server that answers this."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(content, status=status, headers=named)

    return answer


def sending(*events: bytes | threading.Event, then: str = "end", **headers: str) -> Answer:
    """A server that streams these, and then ends its answer, goes silent (`hang`) or hangs up (`cut`). It waits for
    what is an event to be set: however the parts are cut on their way, what comes after it does not come before."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **headers})
        await response.prepare(request)
        for item in events:
            if isinstance(item, bytes):
                await response.write(item)
            else:
                assert await asyncio.to_thread(item.wait, PATIENCE_SECONDS)
        if then == "hang":
            await asyncio.sleep(60)
        if then == "cut":
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


NO_ANSWERS: Mapping[str, tuple[str, bytes]] = {
    "empty": ("application/json", b""),
    "page": ("text/html", b"<html><body>Be right back.</body></html>"),
    "unfinished": ("application/json", b'{"id": "c", "choices": [{"mess'),
    "other": ("application/json", b'{"detail": "Not here."}'),
    "no-object": ("application/json", b"[1]"),
    "error": ("application/json", b'{"error": {"message": "Out of order.", "type": "server_error"}}'),
    "no-event": ("text/event-stream", b": nothing\n\n"),
    "end": ("text/event-stream", b"data: [DONE]\n\n"),
    "odd-event": ("text/event-stream", b'data: {"detail": "Not here."}\n\ndata: [DONE]\n\n'),
    "unreadable-event": ("text/event-stream", b"data: <html>\n\n"),
    "half-an-event": ("text/event-stream", b'data: {"choices": []}'),
    "error-event": (
        "text/event-stream",
        b'event: error\ndata: {"type": "error", "error": {"message": "Out of order.", "type": "api_error"}}\n\n',
    ),
    "error-after-ping": (
        "text/event-stream",
        b'data: {"type": "ping"}\n\ndata: {"error": {"message": "Out of order.", "type": "server_error"}}\n\n',
    ),
}
"""What comes with status 200 and is no answer, by what it is: its media type and its content."""


def saying(kind: str) -> Answer:
    """A server that answers so with status 200."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        media_type, content = NO_ANSWERS[kind]
        return web.Response(body=content, content_type=media_type)

    return answer


async def hanging(_request: web.Request) -> web.StreamResponse:
    """A server that never answers."""
    await asyncio.sleep(60)
    raise AssertionError


def by_place(model: ModelServer, **answers: Answer) -> None:
    """Makes a server answer by the first part of the path: each stands for a deployment of its own."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers[request.path.split("/")[1]](request)

    model.answer = answer


def asked(model: ModelServer) -> list[str]:
    """The places that were asked, in turn."""
    return [path.split("/")[1] for path in model.paths]


async def until_asked(model: ModelServer, calls: int = 1) -> None:
    """Waits until so many requests have come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(model.requests) < calls:  # noqa: ASYNC110 - the server counts, it does not tell
            await asyncio.sleep(0.01)
