"""What tokens cost: the model list's own prices, else genai-prices, else a dear default. Amounts in micro-dollars."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from bailiwick.invocations.model_list import Deployment

MOST_TOKENS = 2**40
"""More than any model takes: keeps what a server tells of itself within the database's numbers."""
# For a model that nobody has a price for: dear enough that a budget is never overspent unnoticed
# (governance-semantics.md section 5: 0.015 and 0.060 USD for a thousand tokens).
_UNKNOWN_INPUT, _UNKNOWN_OUTPUT = Decimal("0.000015"), Decimal("0.000060")


@lru_cache(maxsize=512)
def _listed(provider: str, model: str) -> tuple[Decimal, Decimal]:
    """USD for one input and one output token, by genai-prices; the dear default for an unknown model."""
    # Priced at a size that no tier begins at, so that the price is the model's plain one.
    for provider_id in (provider, None):
        try:
            both = [
                calc_price(usage, model, provider_id=provider_id).total_price
                for usage in (PricedUsage(input_tokens=1000), PricedUsage(output_tokens=1000))
            ]
        except (LookupError, ValueError):
            continue
        return both[0] / 1000, both[1] / 1000
    return _UNKNOWN_INPUT, _UNKNOWN_OUTPUT


def token_prices(deployment: Deployment) -> tuple[Decimal, Decimal]:
    """USD for one input and one output token of a deployment."""
    listed = _listed(deployment.provider, deployment.model)
    own = (deployment.input_price, deployment.output_price)
    return (
        listed[0] if own[0] is None else Decimal(str(own[0])),
        listed[1] if own[1] is None else Decimal(str(own[1])),
    )


def cost_micros(deployment: Deployment, input_tokens: int, output_tokens: int) -> int:
    """Cost in micro-dollars, rounded up, so that many small calls never add up to less than they cost."""
    per_input, per_output = token_prices(deployment)
    return math.ceil((per_input * input_tokens + per_output * output_tokens) * 1_000_000)


def most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: byte-pair encodings never make more tokens than bytes."""
    return len(text.encode("utf-8", "surrogatepass"))
