"""Whole answers in another dialect: their texts, tool calls, reasons for stopping and usage.

The time of an answer is that of the call (`created`, Unix seconds), as Anthropic tells none.
"""

from __future__ import annotations

from typing import Final

from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.reading import Json, arguments_object, arguments_text, object_in, objects_in
from bailiwick.invocations.dialects.usage import TokenUsage, usage_object, usage_of
from bailiwick.kernel.errors import InvalidInput, UpstreamFailed

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STOP: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


INVALID: Final = "INVALID_JSON"
"""Under this name Anthropic advises to keep arguments that are no JSON."""


class AnswerUnreadable(UpstreamFailed):
    """The model's answer could not be read."""


def finish_reason(stop_reason: object) -> str:
    """OpenAI's word for Anthropic's."""
    return _FINISH.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def stop_reason(finish: object, *, has_calls: bool) -> str:
    """Anthropic's word for OpenAI's, which says `stop` after a call that the request demanded as well."""
    found = _STOP.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    return "tool_use" if has_calls and found == "end_turn" else found


def said_in(message: Json, key: str = "content") -> str:
    """A text of a chat's message or delta: its content, or its refusal. Content may come in parts (Mistral)."""
    value = message.get(key)
    return value if isinstance(value, str) else _joined(value)


def reasoning_of(message: Json) -> str:
    """What a chat's message or delta tells of its reasoning: servers name it in two ways, some in both at once, others
    have it among the parts of the content."""
    found = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(found, str) and found:
        return found
    return "".join(_joined(part.get("thinking")) for part in objects_in(message.get("content")))


def _joined(parts: object) -> str:
    return "".join(text for part in objects_in(parts) if isinstance(text := part.get("text"), str))


def tool_input(raw: object) -> Json:
    """Arguments as an object; of what is no JSON, which a model may write, the text (`INVALID`)."""
    try:
        return arguments_object(raw, "arguments")
    except InvalidInput:
        return {INVALID: raw if isinstance(raw, str) else ""}


def messages_answer_to_chat(answer: Json, *, created: int) -> Json:
    """An Anthropic message as a chat completion; thinking goes to `reasoning_content`."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for block in objects_in(answer.get("content")):
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "thinking", "thinking": str(text)}:
                thoughts.append(text)
            case {"type": "tool_use", "id": str(name), "name": str(function)}:
                made = {"name": function, "arguments": arguments_text(block.get("input") or {})}
                calls.append({"id": name, "type": "function", "function": made})
    message: Json = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    finish = finish_reason(answer.get("stop_reason"))
    usage = usage_of(Dialect.MESSAGES, answer) or TokenUsage()
    return {
        "id": answer.get("id") or "chatcmpl-0",
        "object": "chat.completion",
        "created": created,
        "model": answer.get("model") or "",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage_object(Dialect.CHAT, usage),
    }


def chat_answer_to_messages(answer: Json) -> Json:
    """A chat completion as an Anthropic message. Reasoning is left out: without a signature it is no valid thinking
    block."""
    choice, message = _choice(answer)
    blocks: list[Json] = []
    refusal = said_in(message, "refusal")
    for text in (said_in(message), refusal):
        if text:
            blocks.append({"type": "text", "text": text})
    calls = objects_in(message.get("tool_calls"))
    for call in calls:
        function = object_in(call, "function")
        used = {"id": call.get("id"), "name": function.get("name"), "input": tool_input(function.get("arguments"))}
        blocks.append({"type": "tool_use", **used})
    return {
        "id": answer.get("id") or "msg_0",
        "type": "message",
        "role": "assistant",
        "model": answer.get("model") or "",
        "content": blocks,
        "stop_reason": "refusal" if refusal else stop_reason(choice.get("finish_reason"), has_calls=bool(calls)),
        "stop_sequence": None,
        "usage": usage_object(Dialect.MESSAGES, usage_of(Dialect.CHAT, answer) or TokenUsage()),
    }


def chat_answer_to_responses(answer: Json, request: Json, *, created: int) -> Json:
    """A chat completion as a response; `request` is the client's, which a response repeats in part."""
    choice, message = _choice(answer)
    name = str(answer.get("id") or "0")
    output: list[Json] = []
    if thought := reasoning_of(message):
        content = [{"type": "reasoning_text", "text": thought}]
        output.append({"type": "reasoning", "id": f"rs_{name}", "summary": [], "content": content})
    parts: list[Json] = []
    if text := said_in(message):
        parts.append({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    if refusal := said_in(message, "refusal"):
        parts.append({"type": "refusal", "refusal": refusal})
    if parts:
        output.append({**message_item(name, "completed"), "content": parts})
    for index, call in enumerate(objects_in(message.get("tool_calls"))):
        output.append(call_item(name, index, call, "completed"))
    usage = usage_of(Dialect.CHAT, answer) or TokenUsage()
    return response_object(
        name,
        answer.get("model"),
        request,
        created=created,
        finish=choice.get("finish_reason"),
        output=output,
        usage=usage,
    )


def message_item(name: str, status: str) -> Json:
    """A Responses message item without content."""
    return {"type": "message", "id": f"msg_{name}", "status": status, "role": "assistant", "content": []}


def call_item(name: str, index: int, call: Json, status: str) -> Json:
    """A Responses item of a chat tool call."""
    custom = call.get("type") == "custom"
    inner = call.get("custom" if custom else "function")
    inner = inner if isinstance(inner, dict) else {}
    item = {"id": f"{'ctc' if custom else 'fc'}_{name}_{index}", "call_id": call.get("id"), "name": inner.get("name")}
    if custom:
        return {"type": "custom_tool_call", **item, "input": inner.get("input") or ""}
    return {"type": "function_call", **item, "arguments": inner.get("arguments") or "", "status": status}


def response_object(
    name: str,
    model: object,
    request: Json,
    *,
    created: int,
    finish: object,
    output: list[Json],
    usage: TokenUsage | None,
    status: str | None = None,
) -> Json:
    """A Responses object; its status follows from the reason for stopping unless it is given."""
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(str(finish))
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": created,
        "status": status or ("incomplete" if reason else "completed"),
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "model": model or "",
        "output": output,
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "store": False,
        "temperature": request.get("temperature"),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p"),
        "truncation": "disabled",
        "usage": None if usage is None else usage_object(Dialect.RESPONSES, usage),
    }


def _choice(answer: Json) -> tuple[Json, Json]:
    choice = objects_in(answer.get("choices"))[0]
    return choice, object_in(choice, "message")
