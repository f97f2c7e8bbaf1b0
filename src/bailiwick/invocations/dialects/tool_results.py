"""Results of tools in a chat, which are texts: what else is in them is shown by a message of the user after them."""

from __future__ import annotations

from bailiwick.invocations.dialects.reading import Json

_ELSEWHERE = "The result is in the next message of the user."


def with_text_results(body: Json) -> Json:
    """A chat request whose tool messages hold texts alone. Results of one turn stay together, as a chat demands."""
    messages: list[Json] = []
    shown: list[Json] = []
    for message in body["messages"]:
        if message["role"] != "tool":
            messages += _showing(shown)
            shown = []
        messages.append(_text_alone(message, shown) if message["role"] == "tool" else message)
    return {**body, "messages": [*messages, *_showing(shown)]}


def _text_alone(message: Json, shown: list[Json]) -> Json:
    content = message["content"]
    others = [part for part in content if part["type"] != "text"] if isinstance(content, list) else []
    if not others:
        return message
    shown += [{"type": "text", "text": f"Of the result of {message['tool_call_id']}:"}, *others]
    texts = [part for part in content if part["type"] == "text"]
    return {**message, "content": texts or _ELSEWHERE}


def _showing(shown: list[Json]) -> list[Json]:
    return [{"role": "user", "content": shown}] if shown else []
