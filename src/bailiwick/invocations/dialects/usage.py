"""What an answer says it used."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.price_modes import ORDINARY, PriceModes, modes_told

_MOST: Final = 2**31 - 1


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens of one call. `input` and `output` are all of them; the others are parts of these."""

    input: int = 0
    cached_input: int = 0
    """Read from the provider's prompt cache."""
    cache_write: int = 0
    """Written to it."""
    hour_cache_write: int = 0
    """Of these, what is kept for an hour; Anthropic prices it higher than the ordinary five minutes."""
    output: int = 0
    reasoning: int = 0
    modes: PriceModes = ORDINARY
    """How it was processed, as far as that changes its price."""


def usage_of(dialect: Dialect, answer: object) -> TokenUsage | None:
    """What a whole answer, a chat chunk, or the object of a Responses event tells; None when it tells nothing."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(usage, dict):
        return None
    modes = modes_told(dialect, answer)
    told = usage_from(dialect, usage)
    return msgspec.structs.replace(told, modes=modes) if modes else told


def usage_from(dialect: Dialect, usage: dict[str, Any]) -> TokenUsage:
    """Reads a `usage` object. Counts that are no whole numbers from 0 to 2³¹-1 are taken as the nearest that is.

    Anthropic counts cached tokens beside `input_tokens`, OpenAI among them.
    """
    if dialect is Dialect.MESSAGES:
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        return TokenUsage(
            input=_count(usage, "input_tokens") + read + written,
            cached_input=read,
            cache_write=written,
            hour_cache_write=min(_count(_part(usage, "cache_creation"), "ephemeral_1h_input_tokens"), written),
            output=_count(usage, "output_tokens"),
            reasoning=_count(_part(usage, "output_tokens_details"), "thinking_tokens"),
        )
    ins, outs = ("prompt", "completion") if dialect is Dialect.CHAT else ("input", "output")
    details = _part(usage, f"{ins}_tokens_details")
    return TokenUsage(
        input=_count(usage, f"{ins}_tokens"),
        cached_input=_count(details, "cached_tokens"),
        cache_write=_count(details, "cache_write_tokens"),
        output=_count(usage, f"{outs}_tokens"),
        reasoning=_count(_part(usage, f"{outs}_tokens_details"), "reasoning_tokens"),
    )


def usage_object(dialect: Dialect, usage: TokenUsage) -> dict[str, Any]:
    """The `usage` object of a dialect."""
    if dialect is Dialect.MESSAGES:
        return {
            "input_tokens": max(0, usage.input - usage.cached_input - usage.cache_write),
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cached_input,
            "output_tokens": usage.output,
        }
    ins, outs = ("prompt", "completion") if dialect is Dialect.CHAT else ("input", "output")
    cached = {"cached_tokens": usage.cached_input}
    if dialect is Dialect.RESPONSES or usage.cache_write:  # a chat need not tell it, a response must
        cached["cache_write_tokens"] = usage.cache_write
    return {
        f"{ins}_tokens": usage.input,
        f"{outs}_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        f"{ins}_tokens_details": cached,
        f"{outs}_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _part(usage: dict[str, Any], key: str) -> dict[str, Any]:
    part = usage.get(key)
    return part if isinstance(part, dict) else {}


def _count(usage: dict[str, Any], key: str) -> int:
    value = usage.get(key)
    return min(max(value, 0), _MOST) if isinstance(value, int) and not isinstance(value, bool) else 0
