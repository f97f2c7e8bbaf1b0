"""What a call may cost, guessed before it is made (governance-semantics.md section 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.model_list import models_of
from bailiwick.invocations.prices import cost_micros
from bailiwick.settings import settings

_MARGIN = 1.20
# Output tokens for each input token, by the beginning of a model's name, when nobody says how many.
_OUTPUT_SHARES = (("claude", 0.8), ("gpt-4", 0.6), ("o1", 2.0), ("o3", 2.0), ("o4", 2.0), ("gemini", 0.7))
_OTHER_SHARE = 0.5


def _places(model: str) -> Sequence[Deployment]:
    """Where a model is served; one that is not in the list is priced by its name, an unknown one dearly."""
    known = models_of(settings().models).find(model)
    return known or [Deployment(name=model, provider="", model=model, protocol="openai", base_url="")]


def guess_output_tokens(model: str, input_tokens: int) -> int:
    """How many tokens a model answers with, by its family."""
    name = model.rpartition("/")[2].lower()
    share = next((share for prefix, share in _OUTPUT_SHARES if name.startswith(prefix)), _OTHER_SHARE)
    return math.ceil(input_tokens * share)


def estimate_micros(model: str, input_tokens: int, output_tokens: int | None = None) -> int:
    """Micro-dollars with a margin of 20 percent, where the model is served dearest."""
    output = guess_output_tokens(model, input_tokens) if output_tokens is None else output_tokens
    return math.ceil(max(cost_micros(place, input_tokens, output) for place in _places(model)) * _MARGIN)
