"""The bound that a request sets on its answer, and lowering it."""

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
