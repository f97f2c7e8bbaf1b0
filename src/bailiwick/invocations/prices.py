"""What tokens cost: the model list's own prices, else genai-prices, else a dear default. Amounts in micro-dollars.

Prices are kept as whole numbers of 10⁻²⁴ USD, so that sums are exact and quick.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.types import TieredPrices

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import ORDINARY, PriceMode, PriceModes

MOST_TOKENS = 2**40
"""More than any model takes: keeps what a server tells of itself within the database's numbers."""
_ONCE = Fraction(1)
_UNITS_IN_USD = 10**24
_UNITS_IN_MICRO = 10**18
_HOUR_CACHE_WRITE = 2
"""How many times the price of input it costs at Anthropic to cache it for an hour (five minutes: 1.25 times)."""
_FACTORS = {
    PriceMode.PRIORITY: Fraction(5, 2),
    PriceMode.FLEX: Fraction(1, 2),
    PriceMode.FAST: Fraction(6),
    PriceMode.US: Fraction(11, 10),
}
"""The highest that OpenAI and Anthropic ask for any model (flex: what OpenAI asks for all)."""
# For a model that nobody has a price for: dear enough that a budget is never overspent unnoticed
# (governance-semantics.md section 5: 0.015 and 0.060 USD for a thousand tokens).
_UNKNOWN_INPUT, _UNKNOWN_OUTPUT = Decimal("0.000015"), Decimal("0.000060")


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """What one token costs, in 10⁻²⁴ USD. Reasoning is output, cached and cache-writing tokens are input."""

    input: int
    cached_input: int
    cache_write: int
    hour_cache_write: int
    output: int
    reasoning: int

    def dearest_input(self, *, for_an_hour: bool) -> int:
        """What an input token costs at most: writing to a cache is dearer than doing without, and dearer still
        `for_an_hour`."""
        dearest = max(self.input, self.cached_input, self.cache_write)
        return max(dearest, self.hour_cache_write) if for_an_hour else dearest

    @property
    def dearest_output(self) -> int:
        """What an output token costs at most."""
        return max(self.output, self.reasoning)


_Own = tuple[float | None, float | None, float | None, float | None, float | None, float | None]


def _units(usd: Decimal | float) -> int:
    exact = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    return math.ceil(exact * _UNITS_IN_USD)


@lru_cache(maxsize=512)
def _listed(provider: str, model: str) -> Any:
    """The prices that genai-prices has for a model; None for an unknown one."""
    for provider_id in (provider, None):
        try:
            return calc_price(PricedUsage(input_tokens=1), model, provider_id=provider_id).model_price
        except (LookupError, ValueError):
            continue
    return None


@lru_cache(maxsize=1024)
def _tiers(provider: str, model: str, own: _Own) -> tuple[tuple[int, Prices], ...]:
    """Prices by the number of input tokens above which they hold, for all tokens of a call; the lowest first."""
    listed = _listed(provider, model)
    known = [] if listed is None else [listed.input_mtok, listed.output_mtok]
    known += [] if listed is None else [listed.cache_read_mtok, listed.cache_write_mtok, listed.cache_write_1h_mtok]
    starts = {0} | {tier.start for price in known if isinstance(price, TieredPrices) for tier in price.tiers}
    return tuple((start, _prices(listed, own, start)) for start in sorted(starts))


def _prices(listed: Any, own: _Own, start: int) -> Prices:
    """The prices of calls with more than `start` input tokens."""
    own_input, own_output, own_cached, own_write, own_hour_write, own_reasoning = (
        None if price is None else _units(price) for price in own
    )
    listed_input = _of_million(listed.input_mtok if listed else None, start)
    listed_output = _of_million(listed.output_mtok if listed else None, start)
    if listed_input is None and listed_output is None:
        listed_input, listed_output = _units(_UNKNOWN_INPUT), _units(_UNKNOWN_OUTPUT)
    plain = own_input if own_input is not None else listed_input or 0
    output = own_output if own_output is not None else listed_output or 0
    # A discount belongs to the price that it was published with.
    cached = _of_million(listed.cache_read_mtok, start) if listed and own_input is None else None
    write = _of_million(listed.cache_write_mtok, start) if listed and own_input is None else None
    hour_write = _of_million(listed.cache_write_1h_mtok, start) if listed and own_input is None else None
    if hour_write is None and (own_write is not None or write is not None):
        hour_write = max(_HOUR_CACHE_WRITE * plain, _first(own_write, write))
    return Prices(
        input=plain,
        cached_input=_first(own_cached, cached, plain),
        cache_write=_first(own_write, write, plain),
        hour_cache_write=_first(own_hour_write, hour_write, plain),
        output=output,
        reasoning=_first(own_reasoning, output),
    )


def _first(*prices: int | None) -> int:
    return next(price for price in prices if price is not None)


def _of_million(price: Any, start: int) -> int | None:
    if isinstance(price, TieredPrices):
        price = next((tier.price for tier in reversed(price.tiers) if tier.start <= start), price.base)
    return None if price is None else _units(Decimal(price) / 1_000_000)


def _tiers_of(deployment: Deployment) -> tuple[tuple[int, Prices], ...]:
    own = (
        deployment.input_price,
        deployment.output_price,
        deployment.cached_input_price,
        deployment.cache_write_price,
        deployment.hour_cache_write_price,
        deployment.reasoning_price,
    )
    return _tiers(deployment.provider, deployment.known_model, own)


def token_prices(deployment: Deployment) -> tuple[Decimal, Decimal]:
    """USD for one input and one output token of a deployment."""
    prices = _tiers_of(deployment)[0][1]
    return Decimal(prices.input) / _UNITS_IN_USD, Decimal(prices.output) / _UNITS_IN_USD


def dearest_prices(places: Iterable[Deployment]) -> tuple[Decimal, Decimal]:
    """The same of the dearest of several."""
    both = [token_prices(place) for place in places]
    return max(price for price, _ in both), max(price for _, price in both)


def cost_micros(
    deployment: Deployment,
    input_tokens: int,
    output_tokens: int,
    *,
    cached_input: int = 0,
    cache_write: int = 0,
    hour_cache_write: int = 0,
    reasoning: int = 0,
    factor: Fraction = _ONCE,
) -> int:
    """Cost in micro-dollars, rounded up, so that many small calls never add up to less than they cost. `factor`: by how
    much the way of processing multiplies it.

    `cached_input` and `cache_write` are parts of the input, `hour_cache_write` is one of `cache_write`, `reasoning` one
    of the output; a part is at most what there is of the whole.
    """
    tiers = _tiers_of(deployment)
    prices = next((prices for start, prices in reversed(tiers) if input_tokens > start), tiers[0][1])
    cached = min(cached_input, input_tokens)
    written = min(cache_write, input_tokens - cached)
    for_an_hour = min(hour_cache_write, written)
    thought = min(reasoning, output_tokens)
    units = (
        prices.input * (input_tokens - cached - written)
        + prices.cached_input * cached
        + prices.cache_write * (written - for_an_hour)
        + prices.hour_cache_write * for_an_hour
        + prices.output * (output_tokens - thought)
        + prices.reasoning * thought
    )
    return -(-units * factor.numerator // (_UNITS_IN_MICRO * factor.denominator))


def price_factor(deployment: Deployment, modes: PriceModes) -> Fraction:
    """By how much a deployment's price is multiplied for a call that was processed so."""
    product = _ONCE
    for mode in modes:
        product *= _factor(deployment, mode)
    return product


def worst_factor(deployment: Deployment, modes: PriceModes) -> Fraction:
    """The most that it can be for a call that asks for so much: a provider may fall back to the ordinary."""
    product = _ONCE
    for mode in modes:
        product *= max(_ONCE, _factor(deployment, mode))
    return product


def _factor(deployment: Deployment, mode: PriceMode) -> Fraction:
    own = deployment.price_factors.get(mode)
    if own is not None:
        return Fraction(str(own))
    # Elsewhere flex is another promise at the ordinary price.
    return _ONCE if mode is PriceMode.FLEX and deployment.provider != "openai" else _FACTORS[mode]


def _dearest(deployment: Deployment, input_tokens: int, *, caches_an_hour: bool) -> tuple[int, int]:
    reached = [prices for start, prices in _tiers_of(deployment) if input_tokens > start or start == 0]
    dearest_input = max(prices.dearest_input(for_an_hour=caches_an_hour) for prices in reached)
    return dearest_input, max(prices.dearest_output for prices in reached)


def worst_case_micros(
    deployment: Deployment,
    input_tokens: int,
    output_tokens: int,
    *,
    caches_an_hour: bool = False,
    modes: PriceModes = ORDINARY,
) -> int:
    """What as many tokens, or fewer, can cost at most, whatever the provider's cache makes of them. `caches_an_hour`:
    the request asks that they be cached for so long; `modes`: what it asks for besides."""
    dearest_input, dearest_output = _dearest(deployment, input_tokens, caches_an_hour=caches_an_hour)
    units, factor = dearest_input * input_tokens + dearest_output * output_tokens, worst_factor(deployment, modes)
    return -(-units * factor.numerator // (_UNITS_IN_MICRO * factor.denominator))


def affordable_output_tokens(
    deployment: Deployment,
    input_tokens: int,
    micros: int,
    *,
    caches_an_hour: bool = False,
    modes: PriceModes = ORDINARY,
) -> int:
    """The most output tokens for which `worst_case_micros` is within `micros`; below 0 when the input alone is not."""
    dearest_input, dearest_output = _dearest(deployment, input_tokens, caches_an_hour=caches_an_hour)
    factor = worst_factor(deployment, modes)
    left = micros * _UNITS_IN_MICRO * factor.denominator - dearest_input * input_tokens * factor.numerator
    if dearest_output == 0:
        return MOST_TOKENS if left >= 0 else -1
    return min(left // (dearest_output * factor.numerator), MOST_TOKENS)


def most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: byte-pair encodings never make more tokens than bytes."""
    return len(text.encode("utf-8", "surrogatepass"))
