"""What OpenAI and Anthropic answer, whole and streamed, in the shapes that their own clients' types demand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import TypeAdapter

Json = dict[str, Any]
_WHOLE = (ChatCompletion, ChatCompletionChunk, Message, Response)
_MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_REQUESTS: dict[str, TypeAdapter[Any]] = {
    "/chat/completions": TypeAdapter(CompletionCreateParams),
    "/responses": TypeAdapter(ResponseCreateParams),
    "/responses/input_tokens": TypeAdapter(InputTokenCountParams),
    "/messages": TypeAdapter(MessageCreateParams),
    "/messages/count_tokens": TypeAdapter(MessageCountTokensParams),
}


def check_answer(answer: Any) -> None:
    """Raises pydantic's ValidationError for a client's object (whole, or an event) that is none of its type: clients
    themselves take what they get."""
    adapter: Any = TypeAdapter(type(answer)) if isinstance(answer, _WHOLE) else None
    if adapter is None:
        adapter = _MESSAGE_EVENT if type(answer).__module__.startswith("anthropic") else _RESPONSE_EVENT
    adapter.validate_python(answer.to_dict())


def check_request(path: str, body: Json) -> None:
    """Raises pydantic's ValidationError for a request that is none in its dialect."""
    adapter = next(adapter for ending, adapter in _REQUESTS.items() if path.endswith(ending))
    _exhaust(adapter.validate_python(body))


def _exhaust(value: Any) -> None:
    """Iterables are validated as they are read."""
    if isinstance(value, dict):
        _exhaust(value.values())
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            _exhaust(item)


def event(data: object, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def pieces(text: str, size: int = 7) -> list[str]:
    """A text in pieces."""
    return [text[at : at + size] for at in range(0, len(text), size)]


class Call(msgspec.Struct, frozen=True):
    """A tool call."""

    id: str
    name: str
    arguments: Json

    @property
    def text(self) -> str:
        """Its arguments as a model writes them."""
        return json.dumps(self.arguments)


# Chat Completions: https://platform.openai.com/docs/api-reference/chat

CHAT_USAGE: Json = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 20,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def completion(text: str | None = None, calls: Sequence[Call] = (), *, finish: str = "", **message: Any) -> Json:
    """A chat completion."""
    made: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": [], **message}
    if calls:
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in calls
        ]
    body: Json = {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-stub-2026",
        "choices": [
            {
                "index": 0,
                "message": made,
                "logprobs": None,
                "finish_reason": finish or ("tool_calls" if calls else "stop"),
            }
        ],
        "usage": CHAT_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_44",
    }
    ChatCompletion.model_validate(body, strict=True)
    return body


def chunk(delta: Json, finish: str | None = None, *, index: int = 0, **more: Any) -> bytes:
    """One event of a chat's stream."""
    choices = [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return _chunk(choices, **more)


def _chunk(choices: list[Json], **more: Any) -> bytes:
    body: Json = {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-stub-2026",
        "service_tier": "default",
        "system_fingerprint": "fp_44",
        "choices": choices,
        "usage": None,
        "obfuscation": "x8fQ",
        **more,
    }
    ChatCompletionChunk.model_validate(body, strict=True)
    return event(body)


def chunks(text: str = "", calls: Sequence[Call] = (), *, finish: str = "") -> list[bytes]:
    """The events of a whole chat's stream, with its usage."""
    sent = [chunk({"role": "assistant", "content": "" if text else None, "refusal": None})]
    sent += [chunk({"content": piece}) for piece in pieces(text)]
    for index, call in enumerate(calls):
        begun = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        sent.append(chunk({"tool_calls": [{"index": index, **begun}]}))
        sent += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in pieces(call.text)
        ]
    sent.append(chunk({}, finish or ("tool_calls" if calls else "stop")))
    return [*sent, _chunk([], usage=CHAT_USAGE), event("[DONE]")]


# Messages: https://docs.anthropic.com/en/api/messages

MESSAGE_USAGE: Json = {
    "input_tokens": 60,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 40,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 50,
    "service_tier": "standard",
}


def text_block(text: str) -> Json:
    """Text of a message."""
    return {"type": "text", "text": text, "citations": None}


def thinking_block(text: str) -> Json:
    """Signed thinking."""
    return {"type": "thinking", "thinking": text, "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}


def tool_block(call: Call) -> Json:
    """A tool call of a message."""
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}


def message(*blocks: Json, stop_reason: str = "") -> Json:
    """A message."""
    uses = any(block["type"] == "tool_use" for block in blocks)
    body: Json = {
        "id": "msg_7",
        "type": "message",
        "role": "assistant",
        "model": "claude-stub-2026",
        "content": list(blocks),
        "stop_reason": stop_reason or ("tool_use" if uses else "end_turn"),
        "stop_sequence": None,
        "usage": MESSAGE_USAGE,
    }
    Message.model_validate(body, strict=True)
    return body


def message_events(*blocks: Json, stop_reason: str = "") -> list[bytes]:
    """The events of a whole message's stream."""
    whole = message(*blocks, stop_reason=stop_reason)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**MESSAGE_USAGE, "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": _begun(block)})
        if not index:
            events.append({"type": "ping"})
        events += ({"type": "content_block_delta", "index": index, "delta": delta} for delta in _deltas(block))
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": MESSAGE_USAGE["output_tokens"]}})
    events.append({"type": "message_stop"})
    for item in events:
        if item["type"] != "ping":
            _MESSAGE_EVENT.validate_python(item)
    return [event(item, item["type"]) for item in events]


def _begun(block: Json) -> Json:
    match block["type"]:
        case "text":
            return {"type": "text", "text": "", "citations": None}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {**block, "input": {}}


def _deltas(block: Json) -> list[Json]:
    match block["type"]:
        case "text":
            return [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        case "thinking":
            deltas: list[Json] = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            return [*deltas, {"type": "signature_delta", "signature": block["signature"]}]
        case _:
            texts = ["", *pieces(json.dumps(block["input"]))] if block["input"] else [""]
            return [{"type": "input_json_delta", "partial_json": piece} for piece in texts]


# Responses: https://platform.openai.com/docs/api-reference/responses

RESPONSE_USAGE: Json = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}


def message_item(text: str) -> Json:
    """What a response says."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_7", "status": "completed", "role": "assistant", "content": [part]}


def reasoning_item(summary: str) -> Json:
    """What a response tells of its reasoning."""
    return {"type": "reasoning", "id": "rs_7", "summary": [{"type": "summary_text", "text": summary}]}


def call_item(call: Call) -> Json:
    """A tool call of a response."""
    item = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name}
    return {**item, "arguments": call.text, "status": "completed"}


def response(*items: Json, **more: Any) -> Json:
    """A response."""
    body: Json = {
        "id": "resp_7",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "gpt-stub-2026",
        "output": list(items),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": RESPONSE_USAGE,
        "user": None,
        **more,
    }
    Response.model_validate(body)
    return body


def response_events(*items: Json) -> list[bytes]:
    """The events of a whole response's stream."""
    whole = response(*items)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[Json] = [{"type": kind, "response": begun} for kind in ("response.created", "response.in_progress")]
    for index, item in enumerate(items):
        place = {"output_index": index}
        events.append({"type": "response.output_item.added", **place, "item": _item_begun(item)})
        events += ({**step, **place, "item_id": item["id"]} for step in _steps(item))
        events.append({"type": "response.output_item.done", **place, "item": item})
    events.append({"type": "response.completed", "response": whole})
    numbered = [{**item, "sequence_number": number} for number, item in enumerate(events)]
    for item in numbered:
        _RESPONSE_EVENT.validate_python(item)
    return [event(item, item["type"]) for item in numbered]


def _item_begun(item: Json) -> Json:
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "reasoning":
            return {**item, "summary": []}
        case _:
            return {**item, "status": "in_progress", "arguments": ""}


def _steps(item: Json) -> list[Json]:
    match item["type"]:
        case "message":
            part, at = item["content"][0], {"content_index": 0}
            return [
                {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
                *(
                    {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
                    for piece in pieces(part["text"])
                ),
                {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
                {"type": "response.content_part.done", **at, "part": part},
            ]
        case "reasoning":
            part, at = item["summary"][0], {"summary_index": 0}
            return [
                {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}},
                *(
                    {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
                    for piece in pieces(part["text"])
                ),
                {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]},
                {"type": "response.reasoning_summary_part.done", **at, "part": part},
            ]
        case _:
            kind = "response.function_call_arguments"
            return [
                *({"type": f"{kind}.delta", "delta": piece} for piece in pieces(item["arguments"])),
                {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]},
            ]
