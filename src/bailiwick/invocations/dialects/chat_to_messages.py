"""A Chat Completions request as an Anthropic Messages request.

System messages move to the top, wherever they stand; tool results become blocks of the next user message, and
consecutive messages of one role become one, as Anthropic demands. Left out, as the answer does not depend on it: the
name of a participant that is the only one in its role, reasoning of earlier turns (only its signed form may be sent
back), `seed` (best effort), `prediction` (speed), `store`, `metadata`, prompt cache and service tier settings.
"""

from __future__ import annotations

from typing import Any, Final

from bailiwick.invocations.dialects.errors import InvalidBody, Untranslatable
from bailiwick.invocations.dialects.reading import (
    Json,
    a_string,
    an_object,
    arguments_object,
    data_url,
    objects,
    refuse,
    rest,
)

_REFUSED: Final = (
    *("logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "audio", "functions", "function_call"),
    *("web_search_options", "moderation"),
)
_TRANSLATED: Final = (
    *("messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "tools", "tool_choice", "n", "user"),
    *("parallel_tool_calls", "response_format", "reasoning_effort", "safety_identifier", "modalities", "verbosity"),
)
_LEFT_OUT: Final = (
    *("seed", "prediction", "store", "metadata", "service_tier", "stream_options", "top_logprobs"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
)
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


def chat_request_to_messages(body: Json, *, default_max_tokens: int) -> Json:
    """Translates a request; without a bound of its own it gets the default, as Anthropic demands one. Raises
    Untranslatable and InvalidBody."""
    refuse(body, _REFUSED)
    if body.get("n") not in (None, 1):
        raise Untranslatable("n")
    if body.get("modalities") not in (None, ["text"]):
        raise Untranslatable("modalities")
    if body.get("verbosity") not in (None, "medium"):
        raise Untranslatable("verbosity")
    out = rest(body, (*_REFUSED, *_TRANSLATED, *_LEFT_OUT))
    messages = objects(body.get("messages"), "messages")
    _check_names(messages)
    system, turns = _turns(messages)
    if system:
        out["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    out["messages"] = turns
    bounds = [body[key] for key in ("max_completion_tokens", "max_tokens") if body.get(key) is not None]
    out["max_tokens"] = bounds[0] if bounds else default_max_tokens
    if (temperature := body.get("temperature")) is not None:
        if isinstance(temperature, (int, float)) and temperature > 1:
            raise Untranslatable("temperature")
        out["temperature"] = temperature
    if (stop := body.get("stop")) is not None:
        out["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    user = body.get("user") or body.get("safety_identifier")
    if user is not None:
        out["metadata"] = {"user_id": user}
    return out | _tools(body) | _output(body)


def _check_names(messages: list[Json]) -> None:
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        role, name = str(message.get("role")), message.get("name")
        if role in ("user", "assistant") and name is not None and names.setdefault(role, name) != name:
            raise Untranslatable(f"messages[{index}].name")


def _turns(messages: list[Json]) -> tuple[list[Json], list[Json]]:
    system: list[Json] = []
    turns: list[tuple[str, list[Json]]] = []
    for index, message in enumerate(messages):
        field, role = f"messages[{index}]", message.get("role")
        if role in ("system", "developer"):
            system += _content(message.get("content"), f"{field}.content")
            continue
        if role == "user":
            blocks = _content(message.get("content"), f"{field}.content")
        elif role == "tool":
            blocks = [_tool_result(message, field)]
        elif role == "assistant":
            blocks = _assistant(message, field)
        elif role == "function":
            raise Untranslatable(f"{field}.role")
        else:
            raise InvalidBody(f"{field}.role", "must be system, developer, user, assistant or tool")
        speaker = "assistant" if role == "assistant" else "user"
        if turns and turns[-1][0] == speaker:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((speaker, blocks))
    return system, [{"role": speaker, "content": _plain(blocks)} for speaker, blocks in turns]


def _plain(blocks: list[Json]) -> str | list[Json]:
    """One text as a string, which is what most requests are."""
    is_plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    return blocks[0]["text"] if is_plain else blocks


def _content(content: object, field: str) -> list[Json]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts = objects(content, field)
    blocks = [_part(part, f"{field}[{index}]") for index, part in enumerate(parts)]
    return [block for block in blocks if block.get("text") != ""]  # Anthropic refuses empty texts


def _part(part: Json, field: str) -> Json:
    match part.get("type"):
        case "text":
            return {**part, "text": a_string(part.get("text"), f"{field}.text")}
        case "refusal":
            return {"type": "text", "text": a_string(part.get("refusal"), f"{field}.refusal")}
        case "image_url":
            image = an_object(part.get("image_url"), f"{field}.image_url")
            address = a_string(image.get("url"), f"{field}.image_url.url")
            return {"type": "image", "source": _source(address)}
        case "file":
            return _document(an_object(part.get("file"), f"{field}.file"), f"{field}.file")
        case _:
            raise Untranslatable(f"{field}.type")


def _source(address: str) -> Json:
    if (found := data_url(address)) is not None:
        return {"type": "base64", "media_type": found[0], "data": found[1]}
    return {"type": "url", "url": address}


def _document(file: Json, field: str) -> Json:
    refuse(file, ("file_id",), f"{field}.")
    found = data_url(a_string(file.get("file_data"), f"{field}.file_data"))
    if found is None or found[0] != "application/pdf":
        raise Untranslatable(f"{field}.file_data")
    block: Json = {"type": "document", "source": {"type": "base64", "media_type": found[0], "data": found[1]}}
    return block if file.get("filename") is None else {**block, "title": file["filename"]}


def _tool_result(message: Json, field: str) -> Json:
    name = a_string(message.get("tool_call_id"), f"{field}.tool_call_id")
    blocks = _content(message.get("content"), f"{field}.content")
    return {"type": "tool_result", "tool_use_id": name, "content": _plain(blocks) if blocks else ""}


def _assistant(message: Json, field: str) -> list[Json]:
    refuse(message, ("function_call", "audio"), f"{field}.")
    blocks = _content(message.get("content"), f"{field}.content")
    if message.get("refusal"):
        blocks.append({"type": "text", "text": a_string(message["refusal"], f"{field}.refusal")})
    for index, call in enumerate(objects(message.get("tool_calls"), f"{field}.tool_calls")):
        place = f"{field}.tool_calls[{index}]"
        if call.get("type", "function") != "function":
            raise Untranslatable(f"{place}.type")
        function = an_object(call.get("function"), f"{place}.function")
        blocks.append(
            {
                "type": "tool_use",
                "id": a_string(call.get("id"), f"{place}.id"),
                "name": a_string(function.get("name"), f"{place}.function.name"),
                "input": arguments_object(function.get("arguments"), f"{place}.function.arguments"),
            }
        )
    return blocks


def _tools(body: Json) -> Json:
    tools = []
    for index, tool in enumerate(objects(body.get("tools"), "tools")):
        if tool.get("type", "function") != "function":
            raise Untranslatable(f"tools[{index}].type")
        function = an_object(tool.get("function"), f"tools[{index}].function")
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        made = {"name": a_string(function.get("name"), f"tools[{index}].function.name"), "input_schema": schema}
        if function.get("description") is not None:
            made["description"] = function["description"]
        if function.get("strict"):
            made["strict"] = True
        tools.append(made)
    choice = _tool_choice(body.get("tool_choice"))
    if tools and body.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    out: Json = {"tools": tools} if tools else {}
    return out if choice is None else {**out, "tool_choice": choice}


def _tool_choice(choice: object) -> Json | None:
    match choice:
        case None:
            return None
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case _:
            raise Untranslatable("tool_choice")


def _output(body: Json) -> Json:
    """Structured output and reasoning effort."""
    config: Json = {}
    out: Json = {}
    form = an_object(body.get("response_format"), "response_format")
    if form.get("type") == "json_schema":
        schema = an_object(form.get("json_schema"), "response_format.json_schema").get("schema")
        config["format"] = {"type": "json_schema", "schema": an_object(schema, "response_format.json_schema.schema")}
    elif form.get("type") not in (None, "text"):
        raise Untranslatable("response_format.type")
    effort: Any = body.get("reasoning_effort")
    if effort == "none":
        out["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            raise Untranslatable("reasoning_effort")
        config["effort"] = _EFFORTS[effort]
    return out | ({"output_config": config} if config else {})
