"""An Anthropic Messages request as a Chat Completions request.

Tool results become messages of their own, before the rest of the user message that they stand in; images in them are
for `tool_results` to place. Left out, as the
answer does not depend on it: thinking of earlier turns (another provider's model cannot read it), prompt cache,
service tier and context management settings. A result marked `is_error` begins with "Error: ", as a chat has no mark.
"""

from __future__ import annotations

from typing import Any, Final

from bailiwick.invocations.dialects.errors import InvalidBody, Untranslatable
from bailiwick.invocations.dialects.reading import (
    Json,
    a_string,
    an_object,
    arguments_text,
    objects,
    refuse,
    rest,
)

_REFUSED: Final = ("container", "mcp_servers", "inference_geo")
_TRANSLATED: Final = (
    *("system", "messages", "max_tokens", "stop_sequences", "tools", "tool_choice", "metadata", "thinking"),
    *("output_config", "output_format"),
)
_LEFT_OUT: Final = ("service_tier", "cache_control", "context_management", "betas", "anthropic_version")
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_MOST_LOW_TOKENS: Final = 2_048
_MOST_MEDIUM_TOKENS: Final = 16_384
"""Thinking budgets up to these count as low and as medium effort."""


def messages_request_to_chat(body: Json, *, chat_key: str = "max_completion_tokens") -> Json:
    """Translates a request; `chat_key` is what the server calls its bound on output. Raises Untranslatable and
    InvalidBody."""
    refuse(body, _REFUSED)
    out = rest(body, (*_REFUSED, *_TRANSLATED, *_LEFT_OUT))
    messages: list[Json] = []
    if system := _system(body.get("system"), "system"):
        messages.append({"role": "system", "content": system})
    for index, message in enumerate(objects(body.get("messages"), "messages")):
        messages += _message(message, f"messages[{index}]")
    out["messages"] = messages
    if body.get("max_tokens") is not None:
        out[chat_key] = body["max_tokens"]
    if body.get("stop_sequences"):
        out["stop"] = body["stop_sequences"]
    user = an_object(body.get("metadata"), "metadata").get("user_id")
    if user is not None:
        out["user"] = user
    return out | _tools(body) | _output(body)


def _system(system: object, field: str) -> str:
    if system is None or isinstance(system, str):
        return system or ""
    return "\n\n".join(_text(block, f"{field}[{at}]") for at, block in enumerate(objects(system, field)))


def _text(block: Json, field: str) -> str:
    if block.get("type") != "text":
        raise Untranslatable(f"{field}.type")
    return a_string(block.get("text"), f"{field}.text")


def _message(message: Json, field: str) -> list[Json]:
    role, content, place = message.get("role"), message.get("content"), f"{field}.content"
    if role == "system":
        return [{"role": "system", "content": _system(content, place)}]
    if role not in ("user", "assistant"):
        raise InvalidBody(f"{field}.role", "must be user or assistant")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = objects(content, place)
    return _assistant(blocks, place) if role == "assistant" else _user(blocks, place)


def _user(blocks: list[Json], field: str) -> list[Json]:
    results: list[Json] = []
    parts: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{field}[{index}]"
        match block.get("type"):
            case "tool_result":
                results.append(_tool_result(block, place))
            case "mid_conv_system":
                results.append({"role": "system", "content": _system(block.get("content"), f"{place}.content")})
            case _:
                parts += _parts(block, place)
    return [*results, {"role": "user", "content": _plain(parts)}] if parts else results


def _plain(parts: list[Json]) -> str | list[Json]:
    is_plain = len(parts) == 1 and parts[0]["type"] == "text"
    return parts[0]["text"] if is_plain else parts


def _parts(block: Json, field: str) -> list[Json]:
    match block.get("type"):
        case "text":
            return [{"type": "text", "text": _text(block, field)}]
        case "image":
            return [{"type": "image_url", "image_url": {"url": _address(block, field)}}]
        case "document":
            return _document(block, field)
        case "search_result":
            return _search_result(block, field)
        case _:
            raise Untranslatable(f"{field}.type")


def _address(block: Json, field: str) -> str:
    source = an_object(block.get("source"), f"{field}.source")
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return f"data:{media_type};base64,{data}"
        case {"type": "url", "url": str(address)}:
            return address
        case _:
            raise Untranslatable(f"{field}.source")


def _document(block: Json, field: str) -> list[Json]:
    source = an_object(block.get("source"), f"{field}.source")
    head = [{"type": "text", "text": block[key]} for key in ("title", "context") if isinstance(block.get(key), str)]
    match source:
        case {"type": "text", "data": str(data)}:
            return [*head, {"type": "text", "text": data}]
        case {"type": "content", "content": str(content)}:
            return [*head, {"type": "text", "text": content}]
        case {"type": "content", "content": list(content)}:
            inner = objects(content, f"{field}.source.content")
            parts = [_parts(part, f"{field}.source.content[{at}]") for at, part in enumerate(inner)]
            return [*head, *(part for some in parts for part in some)]
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            name = block.get("title") if isinstance(block.get("title"), str) else "document.pdf"
            file = {"filename": name, "file_data": f"data:{media_type};base64,{data}"}
            context = [part for part in head if part["text"] == block.get("context")]
            return [*context, {"type": "file", "file": file}]
        case _:
            raise Untranslatable(f"{field}.source")


def _search_result(block: Json, field: str) -> list[Json]:
    heads = [{"type": "text", "text": a_string(block.get(key), f"{field}.{key}")} for key in ("title", "source")]
    found = objects(block.get("content"), f"{field}.content")
    return [*heads, *({"type": "text", "text": _text(part, f"{field}.content[{at}]")} for at, part in enumerate(found))]


def _tool_result(block: Json, field: str) -> Json:
    content = block.get("content")
    if isinstance(content, list):
        found = [_parts(part, f"{field}.content[{at}]") for at, part in enumerate(objects(content, f"{field}.content"))]
        parts = [part for some in found for part in some]
        text: str | list[Json] = _plain(parts) if parts else ""
    else:
        text = "" if content is None else a_string(content, f"{field}.content")
    if block.get("is_error"):
        text = f"Error: {text}" if isinstance(text, str) else [{"type": "text", "text": "Error:"}, *text]
    return {
        "role": "tool",
        "tool_call_id": a_string(block.get("tool_use_id"), f"{field}.tool_use_id"),
        "content": text,
    }


def _assistant(blocks: list[Json], field: str) -> list[Json]:
    """What an assistant said; nothing of one that only thought, as a chat takes no empty message."""
    texts: list[Json] = []
    calls: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{field}[{index}]"
        match block.get("type"):
            case "text":
                texts.append({"type": "text", "text": _text(block, place)})
            case "thinking" | "redacted_thinking":
                continue
            case "tool_use":
                function = {
                    "name": a_string(block.get("name"), f"{place}.name"),
                    "arguments": arguments_text(an_object(block.get("input"), f"{place}.input")),
                }
                name = a_string(block.get("id"), f"{place}.id")
                calls.append({"id": name, "type": "function", "function": function})
            case _:
                raise Untranslatable(f"{place}.type")
    message: Json = {"role": "assistant", "content": _plain(texts) if texts else None}
    if calls:
        return [{**message, "tool_calls": calls}]
    return [message] if texts else []


def _tools(body: Json) -> Json:
    tools = []
    for index, tool in enumerate(objects(body.get("tools"), "tools")):
        if tool.get("type", "custom") not in (None, "custom"):
            raise Untranslatable(f"tools[{index}].type")
        function: Json = {"name": a_string(tool.get("name"), f"tools[{index}].name")}
        if tool.get("description") is not None:
            function["description"] = tool["description"]
        function["parameters"] = tool.get("input_schema") or {"type": "object", "properties": {}}
        if tool.get("strict"):
            function["strict"] = tool["strict"]
        tools.append({"type": "function", "function": function})
    out: Json = {"tools": tools} if tools else {}
    choice = an_object(body.get("tool_choice"), "tool_choice")
    if not choice:
        return out
    if choice.get("disable_parallel_tool_use"):
        out["parallel_tool_calls"] = False
    match choice.get("type"):
        case "auto" | "none":
            out["tool_choice"] = choice["type"]
        case "any":
            out["tool_choice"] = "required"
        case "tool":
            name = a_string(choice.get("name"), "tool_choice.name")
            out["tool_choice"] = {"type": "function", "function": {"name": name}}
        case _:
            raise Untranslatable("tool_choice.type")
    return out


def _output(body: Json) -> Json:
    out: Json = {}
    config = an_object(body.get("output_config"), "output_config")
    form = an_object(config.get("format") or body.get("output_format"), "output_config.format")
    if form.get("type") == "json_schema":
        schema = an_object(form.get("schema"), "output_config.format.schema")
        out["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    elif form:
        raise Untranslatable("output_config.format.type")
    thinking = an_object(body.get("thinking"), "thinking")
    effort: Any = config.get("effort")
    if effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            raise Untranslatable("output_config.effort")
        out["reasoning_effort"] = _EFFORTS[effort]
    elif thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise InvalidBody("thinking.budget_tokens", "must be a whole number")
        is_low, is_medium = budget <= _MOST_LOW_TOKENS, budget <= _MOST_MEDIUM_TOKENS
        out["reasoning_effort"] = "low" if is_low else "medium" if is_medium else "high"
    return out
