"""An OpenAI Responses request as a Chat Completions request.

Left out, as the answer does not depend on it: reasoning items of earlier turns (chat has no place for them), `store`
(nothing of ours is kept for a later `previous_response_id`), what else to `include`, summaries of reasoning,
`truncation`, limits on built-in tools (which are themselves refused).
"""

from __future__ import annotations

from typing import Any, Final

from bailiwick.invocations.dialects.errors import InvalidBody, Untranslatable
from bailiwick.invocations.dialects.reading import Json, a_string, an_object, objects, refuse, rest

_REFUSED: Final = ("previous_response_id", "conversation", "prompt", "background", "top_logprobs", "moderation")
_TRANSLATED: Final = ("instructions", "input", "max_output_tokens", "tools", "tool_choice", "text", "reasoning")
_LEFT_OUT: Final = ("store", "include", "truncation", "max_tool_calls", "context_management", "stream_options")


def responses_request_to_chat(body: Json, *, chat_key: str = "max_completion_tokens") -> Json:
    """Translates a request; `chat_key` is what the server calls its bound on output. Raises Untranslatable and
    InvalidBody."""
    refuse(body, _REFUSED)
    include = body.get("include")
    if isinstance(include, list) and "message.output_text.logprobs" in include:
        raise Untranslatable("include")
    out = rest(body, (*_REFUSED, *_TRANSLATED, *_LEFT_OUT))
    messages: list[Json] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": a_string(body["instructions"], "instructions")})
    given = body.get("input")
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
    else:
        for index, item in enumerate(objects(given, "input")):
            _add_item(messages, item, f"input[{index}]")
    out["messages"] = messages
    if body.get("max_output_tokens") is not None:
        out[chat_key] = body["max_output_tokens"]
    reasoning = an_object(body.get("reasoning"), "reasoning")
    if reasoning.get("effort") is not None:
        out["reasoning_effort"] = reasoning["effort"]
    return out | _tools(body) | _text_form(body)


def _add_item(messages: list[Json], item: Json, field: str) -> None:
    match item.get("type", "message"):
        case "message":
            _add_message(messages, item, field)
        case "function_call":
            function = {"name": _named(item, field), "arguments": a_string(item.get("arguments"), f"{field}.arguments")}
            _add_call(messages, {"id": _call_id(item, field), "type": "function", "function": function})
        case "custom_tool_call":
            custom = {"name": _named(item, field), "input": a_string(item.get("input"), f"{field}.input")}
            _add_call(messages, {"id": _call_id(item, field), "type": "custom", "custom": custom})
        case "function_call_output" | "custom_tool_call_output":
            output = item.get("output")
            content: str | list[Json]
            if isinstance(output, str):
                content = output
            else:
                parts = objects(output, f"{field}.output")
                content = [_part(part, f"{field}.output[{at}]") for at, part in enumerate(parts)]
            messages.append({"role": "tool", "tool_call_id": _call_id(item, field), "content": content})
        case "reasoning":
            return
        case _:
            raise Untranslatable(f"{field}.type")


def _named(item: Json, field: str) -> str:
    return a_string(item.get("name"), f"{field}.name")


def _call_id(item: Json, field: str) -> str:
    return a_string(item.get("call_id"), f"{field}.call_id")


def _add_call(messages: list[Json], call: Json) -> None:
    """Calls of one turn stand in one message, with what was said before them."""
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _add_message(messages: list[Json], item: Json, field: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidBody(f"{field}.role", "must be user, assistant, system or developer")
    content = item.get("content")
    if not isinstance(content, str):
        parts = objects(content, f"{field}.content")
        content = [_part(part, f"{field}.content[{at}]") for at, part in enumerate(parts)]
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            content = content[0]["text"]
    messages.append({"role": role, "content": content})


def _part(part: Json, field: str) -> Json:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": a_string(part.get("text"), f"{field}.text")}
        case "refusal":
            return {"type": "refusal", "refusal": a_string(part.get("refusal"), f"{field}.refusal")}
        case "input_image":
            refuse(part, ("file_id",), f"{field}.")
            image = {"url": a_string(part.get("image_url"), f"{field}.image_url")}
            if part.get("detail") is not None:
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case "input_file":
            refuse(part, ("file_url",), f"{field}.")
            keys = ("file_id", "file_data", "filename")
            return {"type": "file", "file": {key: part[key] for key in keys if part.get(key) is not None}}
        case "input_audio":
            return part
        case _:
            raise Untranslatable(f"{field}.type")


def _tools(body: Json) -> Json:
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(objects(body.get("tools"), "tools"))]
    out: Json = {"tools": tools} if tools else {}
    choice: Any = body.get("tool_choice")
    match choice:
        case None:
            return out
        case "auto" | "none" | "required":
            return {**out, "tool_choice": choice}
        case {"type": "function" | "custom" as kind, "name": str(name)}:
            return {**out, "tool_choice": {"type": kind, kind: {"name": name}}}
        case {"type": "allowed_tools", "mode": mode, "tools": list(allowed)}:
            inner = [_allowed(tool) for tool in objects(allowed, "tool_choice.tools")]
            return {**out, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": inner}}}
        case _:
            raise Untranslatable("tool_choice")


def _allowed(tool: Json) -> Json:
    if tool.get("type") not in ("function", "custom"):
        raise Untranslatable("tool_choice.tools")
    return {"type": tool["type"], tool["type"]: {"name": tool.get("name")}}


def _tool(tool: Json, field: str) -> Json:
    match tool.get("type"):
        case "function":
            keys = ("name", "description", "parameters", "strict")
            return {"type": "function", "function": {key: tool[key] for key in keys if tool.get(key) is not None}}
        case "custom":
            custom = {key: tool[key] for key in ("name", "description") if tool.get(key) is not None}
            form = an_object(tool.get("format"), f"{field}.format")
            if form.get("type") == "grammar":
                grammar = {key: value for key, value in form.items() if key != "type"}
                custom["format"] = {"type": "grammar", "grammar": grammar}
            elif form:
                custom["format"] = form
            return {"type": "custom", "custom": custom}
        case _:
            raise Untranslatable(f"{field}.type")


def _text_form(body: Json) -> Json:
    text = an_object(body.get("text"), "text")
    out: Json = {}
    if text.get("verbosity") is not None:
        out["verbosity"] = text["verbosity"]
    form = an_object(text.get("format"), "text.format")
    match form.get("type"):
        case None | "text":
            return out
        case "json_object":
            return {**out, "response_format": {"type": "json_object"}}
        case "json_schema":
            keys = ("name", "description", "schema", "strict")
            schema = {key: form[key] for key in keys if form.get(key) is not None}
            return {**out, "response_format": {"type": "json_schema", "json_schema": schema}}
        case _:
            raise Untranslatable("text.format.type")
