"""Ways of processing a request that change what all of its tokens cost: what is asked for, and what was done.

OpenAI's `service_tier` (https://developers.openai.com/api/docs/guides/fast-mode: priority, now also called fast;
https://platform.openai.com/docs/guides/flex-processing) and Anthropic's `speed` and `inference_geo`
(https://platform.claude.com/docs/en/about-claude/pricing).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from bailiwick.invocations.dialects.errors import InvalidBody
from bailiwick.invocations.dialects.names import Dialect


class PriceMode(StrEnum):
    """One of them, by the name that a model list has for its price."""

    PRIORITY = "priority"
    FLEX = "flex"
    FAST = "fast"
    US = "us"
    """Processed in the United States only."""


PriceModes = frozenset[PriceMode]
ORDINARY: Final[PriceModes] = frozenset()
_PRIORITY: Final[PriceModes] = frozenset({PriceMode.PRIORITY})
_TIERS: Final[Mapping[str, PriceModes]] = {
    **dict.fromkeys(("priority", "fast"), _PRIORITY),
    "flex": frozenset({PriceMode.FLEX}),
    **dict.fromkeys(("auto", "default", "standard", "standard_only", "scale", "on_demand", "batch"), ORDINARY),
}


def modes_asked(dialect: Dialect, body: Mapping[str, Any]) -> PriceModes:
    """What a request asks for. A tier that is not known here may be as dear as any. Raises InvalidBody for what is no
    tier."""
    modes = _of_anthropic(body)  # also of other clients: translation passes on what it does not know
    tier = body.get("service_tier")
    if dialect is Dialect.MESSAGES or tier is None:
        return modes
    if not isinstance(tier, str):
        raise InvalidBody("service_tier", "must be a string")
    return modes | _TIERS.get(tier, _PRIORITY)


def modes_told(dialect: Dialect, answer: Mapping[str, Any]) -> PriceModes:
    """What a whole answer, a chat chunk, or the object of a Responses event tells."""
    if dialect is Dialect.MESSAGES:
        usage = answer.get("usage")
        return _of_anthropic(usage) if isinstance(usage, dict) else ORDINARY
    tier = answer.get("service_tier")
    return _TIERS.get(tier, _PRIORITY) if isinstance(tier, str) else ORDINARY


def _of_anthropic(told: Mapping[str, Any]) -> PriceModes:
    fast = {PriceMode.FAST} if told.get("speed") == "fast" else set()
    return frozenset(fast | ({PriceMode.US} if told.get("inference_geo") == "us" else set()))
