"""How many tokens a request can use: what it sends at most, and the bound on its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bailiwick.invocations.dialects.errors import InvalidBody
from bailiwick.invocations.dialects.names import Dialect

_BOUNDS: Final = {
    Dialect.CHAT: ("max_tokens", "max_completion_tokens"),
    Dialect.MESSAGES: ("max_tokens",),
    Dialect.RESPONSES: ("max_output_tokens",),
}
_LEAST_THINKING_TOKENS: Final = 1024
"""The least `thinking.budget_tokens` that Anthropic takes."""

_MESSAGE_OVERHEAD: Final = 16
"""Tokens around each object of a list of messages or tools: roles, separators."""
_TOOLS_OVERHEAD: Final = 1024
"""Tokens of the hidden prompt that tools bring along (Anthropic's table tells up to 530 for its own models)."""
_OPENAI_LOW_IMAGE: Final = 2_833
"""OpenAI's image with `detail: low` on the model that counts most for it (gpt-4o-mini)."""
_OPENAI_IMAGE: Final = 48_169
"""The largest of OpenAI's images: eight tiles (768 by 2048 pixels) of 5,667 tokens and the base of 2,833, again
gpt-4o-mini. Every other model counts fewer."""
_ANTHROPIC_IMAGE: Final = 4_784
"""Anthropic's largest image, high resolution; 1,600 for models before that."""
_BYTES_PER_AUDIO_TOKEN: Final = 32
"""Ten tokens a second, and no format of speech has less than a few hundred bytes a second."""
_LEAST_FILE: Final = 10_000
_UNSEEN: Final = 1_000_000
"""A file, conversation or prompt that the provider holds: as much as the largest context window."""

_BINARY_TYPES: Final = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_FILE_TYPES: Final = frozenset({"file", "input_file", "document"})
_PROVIDER_HELD: Final = ("previous_response_id", "conversation", "prompt")
_NO_TOKENS: Final = frozenset(
    {
        *("model", "stream", "stream_options", "metadata", "user", "store", "service_tier", "include", "id"),
        *("prompt_cache_key", "safety_identifier", "cache_control"),
    }
)


def output_bound(dialect: Dialect, body: Mapping[str, Any]) -> int | None:
    """The most output tokens that the request allows itself, over all its choices; None when it sets no bound.
    Raises InvalidBody for a bound that is no whole number above zero."""
    told = [_positive(body[key], key) for key in _BOUNDS[dialect] if body.get(key) is not None]
    return min(told) * _choices(dialect, body) if told else None


def cap_output(
    dialect: Dialect, body: Mapping[str, Any], tokens: int, *, chat_key: str = "max_completion_tokens"
) -> dict[str, Any]:
    """The request with its output bound set to `tokens` for all choices together, or left when it is lower already.

    `chat_key` is what a chat request without any bound gets: servers that know only `max_tokens` exist, and models that
    refuse it. Raises InvalidBody when not one token is left for each choice, or fewer than the thinking asked for
    needs at least.
    """
    share = tokens // _choices(dialect, body)
    capped = dict(body)
    keys = [key for key in _BOUNDS[dialect] if body.get(key) is not None]
    if not keys:
        keys = [chat_key if dialect is Dialect.CHAT else _BOUNDS[dialect][0]]
    if share < 1:
        raise InvalidBody(keys[0], "not one token of output is left within the limits")
    for key in keys:
        told = body.get(key)
        capped[key] = share if told is None else min(share, _positive(told, key))
    if dialect is Dialect.MESSAGES and capped["max_tokens"] != body.get("max_tokens"):
        _lower_thinking(capped)
    return capped


def _lower_thinking(body: dict[str, Any]) -> None:
    """Anthropic refuses a thinking budget that is not below the output bound."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or not isinstance(budget, int) or budget < body["max_tokens"]:
        return
    if body["max_tokens"] <= _LEAST_THINKING_TOKENS:
        raise InvalidBody("thinking.budget_tokens", "too few tokens of output are left within the limits")
    body["thinking"] = {**thinking, "budget_tokens": body["max_tokens"] - 1}


def input_tokens_bound(dialect: Dialect, body: Mapping[str, Any]) -> int:
    """The most input tokens that the request can be: a token is at least a byte, so the UTF-8 bytes of all that is
    text, and an upper bound for what is not (images by detail, audio and files by size, what the provider holds as the
    largest context window: the caller lowers the sum to the model's own). Call it on the body that goes upstream.
    """
    total = sum(_weight(value, dialect) + len(key) for key, value in body.items() if key not in _NO_TOKENS)
    if body.get("tools") or body.get("functions"):
        total += _TOOLS_OVERHEAD
    if dialect is Dialect.RESPONSES:
        total += sum(_UNSEEN for key in _PROVIDER_HELD if body.get(key))
    return total


def ask_for_usage(body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """A streamed chat request that asks for its usage, and whether the client asked for it itself (if it did not, the
    chunk that tells it is not for the client)."""
    options = body.get("stream_options")
    known = options if isinstance(options, dict) else {}
    asked = known.get("include_usage") is True
    return {**body, "stream_options": {**known, "include_usage": True}}, asked


def _choices(dialect: Dialect, body: Mapping[str, Any]) -> int:
    if dialect is not Dialect.CHAT or body.get("n") is None:
        return 1
    return _positive(body["n"], "n")


def _positive(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidBody(field, "must be a whole number above zero")
    return value


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _weight(node: object, dialect: Dialect) -> int:
    """An upper bound of the tokens of one value. Not recursive: a body may be nested as deeply as its decoder lets."""
    total = 0
    todo = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            total += _bytes(item)
        elif isinstance(item, dict):
            binary = _binary(item, dialect)
            total += _MESSAGE_OVERHEAD
            if binary is not None:
                total += binary
                todo += (value for key, value in item.items() if key not in _BINARY_KEYS)
            else:
                total += sum(_bytes(key) + 4 for key in item)
                todo += (value for key, value in item.items() if key not in _NO_TOKENS)
        elif isinstance(item, list):
            total += len(item)
            todo += item
        elif isinstance(item, int):
            total += item.bit_length() // 3 + 2
        elif item is not None:
            total += 32  # a float
    return total


_BINARY_KEYS: Final = frozenset({"image_url", "source", "file", "file_data", "file_id", "file_url", "input_audio"})


def _binary(part: Mapping[str, Any], dialect: Dialect) -> int | None:
    """The bound of a part that is not text; None for any other object."""
    kind = part.get("type")
    if not isinstance(kind, str):
        return None
    if kind in _BINARY_TYPES:
        if dialect is Dialect.MESSAGES:
            return _ANTHROPIC_IMAGE
        inner = part.get("image_url")
        detail = inner.get("detail") if isinstance(inner, dict) else part.get("detail")
        return _OPENAI_LOW_IMAGE if detail == "low" else _OPENAI_IMAGE
    if kind == "input_audio":
        inner = part.get("input_audio")
        data = inner.get("data") if isinstance(inner, dict) else None
        return len(data) // _BYTES_PER_AUDIO_TOKEN + 1 if isinstance(data, str) else _UNSEEN
    if kind in _FILE_TYPES:
        return _file(part)
    return None


def _file(part: Mapping[str, Any]) -> int | None:
    for holder in (part.get("file"), part.get("source"), part):
        if not isinstance(holder, dict):
            continue
        if holder.get("type") in ("text", "content"):
            return None  # a document of plain text or of parts counts as these do
        data = holder.get("file_data") or holder.get("data")
        if isinstance(data, str):
            return max(len(data), _LEAST_FILE)
        if holder.get("file_id") or holder.get("file_url") or holder.get("url"):
            return _UNSEEN
    return None
