"""Streams as the providers' references show them, and what a client makes of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bailiwick.invocations.dialects.chat_stream import ChatStreamReader
from bailiwick.invocations.dialects.frames import StreamReader
from bailiwick.invocations.dialects.messages_stream import MessagesStreamReader
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.relay import StreamRelay
from bailiwick.invocations.dialects.responses_stream import ResponsesStreamReader
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.walk import Position

SECRET, MASK = "hush-hush", "[MASK]"


class HoldingMasker:
    """Holds back as much as a secret may need."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, chunk: str) -> str:
        text = (self._held + chunk).replace(SECRET, MASK)
        cut = max(0, len(text) - len(SECRET) + 1)
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held


def mask(position: Position) -> str:
    return position.text.replace(SECRET, MASK)


def reader_of(dialect: Dialect) -> StreamReader:
    if dialect is Dialect.CHAT:
        return ChatStreamReader()
    return MessagesStreamReader() if dialect is Dialect.MESSAGES else ResponsesStreamReader()


def relay_of(dialect: Dialect) -> StreamRelay:
    return StreamRelay(reader_of(dialect), lambda _: HoldingMasker(), mask)


def relayed(dialect: Dialect, events: Sequence[ServerEvent]) -> list[ServerEvent]:
    relay = relay_of(dialect)
    return [out for event in events for out in relay.feed(event)]


def told(dialect: Dialect, events: Sequence[ServerEvent]) -> dict[str, str]:
    """Every streamed text, by its field."""
    texts: dict[str, str] = {}
    reader = reader_of(dialect)
    for event in events:
        for frame in reader.read(event):
            if frame.channel is not None:
                texts[frame.channel] = texts.get(frame.channel, "") + frame.text
    return texts


def pieces_of(text: str, cuts: Sequence[int]) -> list[str]:
    edges = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(edges)]


def chunk(delta: dict[str, Any], *, finish: str | None = None, index: int = 0, **more: Any) -> ServerEvent:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt"}
    return None, {**head, "choices": [choice], **more}


def chat_stream(text: Sequence[str], arguments: Sequence[str]) -> list[ServerEvent]:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt"}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in text),
        chunk({"tool_calls": [call]}),
        *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in arguments),
        chunk({}, finish="tool_calls"),
        (None, {**head, "choices": [], "usage": usage}),
        (None, None),
    ]


def named(data: dict[str, Any]) -> ServerEvent:
    return data["type"], data


def messages_stream(text: Sequence[str], arguments: Sequence[str]) -> list[ServerEvent]:
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    message |= {"stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 3}}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}

    def delta(index: int, **delta: Any) -> ServerEvent:
        return named({"type": "content_block_delta", "index": index, "delta": delta})

    return [
        named({"type": "message_start", "message": message}),
        named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        named({"type": "ping"}),
        *(delta(0, type="text_delta", text=piece) for piece in text),
        named({"type": "content_block_stop", "index": 0}),
        named({"type": "content_block_start", "index": 1, "content_block": tool}),
        delta(1, type="input_json_delta", partial_json=""),
        *(delta(1, type="input_json_delta", partial_json=piece) for piece in arguments),
        named({"type": "content_block_stop", "index": 1}),
        named({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}),
        named({"type": "message_stop"}),
    ]


def responses_stream(text: Sequence[str], arguments: Sequence[str]) -> list[ServerEvent]:
    whole, raw = "".join(text), "".join(arguments)
    response: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt"}
    response |= {"status": "in_progress", "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    there = {"item_id": "fc_1", "output_index": 1}
    done_part, done_call = {**part, "text": whole}, {**call, "arguments": raw, "status": "completed"}
    done_item = {**item, "content": [done_part], "status": "completed"}
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 3}}
    final = {**response, "status": "completed", "output": [done_item, done_call], "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": part},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in text),
        {"type": "response.output_text.done", **place, "text": whole, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": done_part},
        {"type": "response.output_item.done", "output_index": 0, "item": done_item},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        *({"type": "response.function_call_arguments.delta", **there, "delta": piece} for piece in arguments),
        {"type": "response.function_call_arguments.done", **there, "name": "f", "arguments": raw},
        {"type": "response.output_item.done", "output_index": 1, "item": done_call},
        {"type": "response.completed", "response": final},
    ]
    return [named({**event, "sequence_number": number}) for number, event in enumerate(events)]


STREAMS = {Dialect.CHAT: chat_stream, Dialect.MESSAGES: messages_stream, Dialect.RESPONSES: responses_stream}
