"""Prices: the list's own, else genai-prices', else a dear default; always rounded up, never negative."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations import Deployment
from bailiwick.invocations.dialects import ORDINARY, PriceMode, PriceModes
from bailiwick.invocations.prices import (
    MOST_TOKENS,
    affordable_output_tokens,
    cost_micros,
    most_tokens,
    price_factor,
    token_prices,
    worst_case_micros,
)

_LARGEST_STORED = 2**63 - 1


def a_deployment(
    provider: str = "openai",
    model: str = "gpt-4o-mini",
    *,
    input_price: float | None = None,
    output_price: float | None = None,
    cached_input_price: float | None = None,
    cache_write_price: float | None = None,
    hour_cache_write_price: float | None = None,
    reasoning_price: float | None = None,
    price_factors: Mapping[str, float] | None = None,
) -> Deployment:
    return Deployment(
        name="fast",
        provider=provider,
        model=model,
        protocol="openai",
        base_url="https://example.com",
        input_price=input_price,
        output_price=output_price,
        cached_input_price=cached_input_price,
        cache_write_price=cache_write_price,
        hour_cache_write_price=hour_cache_write_price,
        reasoning_price=reasoning_price,
        price_factors=price_factors or {},
    )


def test_the_lists_own_price_beats_the_published_one() -> None:
    own = a_deployment(input_price=0.000001, output_price=0.000002)
    assert token_prices(own) == (Decimal("0.000001"), Decimal("0.000002"))
    assert token_prices(a_deployment()) != token_prices(own)


def test_a_price_of_zero_is_a_price() -> None:
    free = a_deployment(input_price=0.0, output_price=0.0)
    assert cost_micros(free, 10**6, 10**6) == 0


def test_one_own_price_leaves_the_other_published() -> None:
    published = token_prices(a_deployment())
    assert token_prices(a_deployment(input_price=0.5)) == (Decimal("0.5"), published[1])


def test_published_prices_are_known() -> None:
    # https://openai.com/api/pricing: 0.15 and 0.60 USD for a million tokens.
    assert token_prices(a_deployment()) == (Decimal("0.15") / 10**6, Decimal("0.60") / 10**6)
    assert cost_micros(a_deployment(), 1_000_000, 1_000_000) == 750_000


def test_a_known_model_of_a_provider_with_another_name_is_found() -> None:
    azure = token_prices(a_deployment("azure", "gpt-4o-mini"))
    assert azure == token_prices(a_deployment())


def test_a_model_that_nobody_knows_is_dear() -> None:
    unknown = a_deployment("hosted_vllm", "our-own-model-7")
    assert token_prices(unknown) == (Decimal("0.000015"), Decimal("0.000060"))
    assert token_prices(a_deployment("no such provider", "our-own-model-7")) == token_prices(unknown)
    assert cost_micros(unknown, 1000, 1000) == 75_000


def test_a_fraction_of_a_micro_dollar_is_rounded_up() -> None:
    assert cost_micros(a_deployment(), 1, 0) == 1
    assert cost_micros(a_deployment(), 0, 0) == 0
    assert cost_micros(a_deployment(input_price=0.000001, output_price=0.0), 7, 0) == 7  # exact: nothing to round


# Down to a millionth of a micro-dollar for a token, far below any price there is.
_prices = st.integers(0, 10**12).map(lambda units: units / 10**12)


@given(st.integers(0, MOST_TOKENS), st.integers(0, MOST_TOKENS), _prices, _prices)
def test_any_count_at_any_price_is_charged_in_full_and_can_be_stored(
    input_tokens: int, output_tokens: int, input_price: float, output_price: float
) -> None:
    deployment = a_deployment(input_price=input_price, output_price=output_price)
    exact = 1_000_000 * (Fraction(str(input_price)) * input_tokens + Fraction(str(output_price)) * output_tokens)
    assert exact <= cost_micros(deployment, input_tokens, output_tokens) < exact + 1
    assert cost_micros(deployment, input_tokens, output_tokens) <= _LARGEST_STORED


def test_cached_tokens_have_the_published_price() -> None:
    # https://docs.anthropic.com/en/docs/about-claude/pricing: 15 USD, 18.75 to write, 1.50 to read.
    opus = a_deployment("anthropic", "claude-opus-4-1")
    assert cost_micros(opus, 1_000_000, 0) == 15_000_000
    assert cost_micros(opus, 1_000_000, 0, cached_input=1_000_000) == 1_500_000
    assert cost_micros(opus, 1_000_000, 0, cache_write=1_000_000) == 18_750_000
    assert worst_case_micros(opus, 1_000_000, 0) == 18_750_000
    # For an hour 30 USD: twice the price of input.
    assert cost_micros(opus, 1_000_000, 0, cache_write=1_000_000, hour_cache_write=1_000_000) == 30_000_000
    assert (
        cost_micros(opus, 1_000_000, 0, cache_write=800_000, hour_cache_write=300_000)
        == 3_000_000 + 9_375_000 + 9_000_000
    )
    assert worst_case_micros(opus, 1_000_000, 0, caches_an_hour=True) == 30_000_000


def test_an_hour_of_cache_has_the_lists_price_or_twice_that_of_input() -> None:
    own = a_deployment(input_price=1e-6, cache_write_price=1.25e-6)
    assert cost_micros(own, 1000, 0, cache_write=1000, hour_cache_write=1000) == 2000
    own = a_deployment(input_price=1e-6, cache_write_price=1.25e-6, hour_cache_write_price=3e-6)
    assert cost_micros(own, 1000, 0, cache_write=1000, hour_cache_write=1000) == 3000
    assert affordable_output_tokens(own, 1000, 3000, caches_an_hour=True) == 0
    assert affordable_output_tokens(own, 1000, 3000) > 0
    # Without a price of its own all input costs what input costs.
    assert cost_micros(a_deployment(input_price=1e-6), 1000, 0, cache_write=1000, hour_cache_write=1000) == 1000


def test_the_name_that_an_azure_deployment_stands_for_is_priced() -> None:
    azure = Deployment(
        name="m",
        provider="azure",
        model="our-own",
        base_model="gpt-4o-mini",
        protocol="azure",
        base_url="https://example.com",
    )
    assert token_prices(azure) == token_prices(a_deployment())


def test_long_inputs_have_the_published_price() -> None:
    # https://ai.google.dev/gemini-api/docs/pricing: above 200,000 input tokens every token costs more.
    pro = a_deployment("google", "gemini-2.5-pro")
    assert cost_micros(pro, 200_000, 1000) == 250_000 + 10_000
    assert cost_micros(pro, 200_001, 1000) == 500_003 + 15_000


def test_a_discount_belongs_to_the_price_it_was_published_with() -> None:
    own = a_deployment(input_price=0.000001)
    assert cost_micros(own, 1000, 0, cached_input=1000) == 1000
    assert cost_micros(a_deployment(cached_input_price=0.0), 1000, 0, cached_input=1000) == 0


def test_ways_of_processing_have_the_lists_factor_or_the_dearest_published() -> None:
    plain, priority, flex = ORDINARY, frozenset({PriceMode.PRIORITY}), frozenset({PriceMode.FLEX})
    openai = a_deployment(input_price=1e-6, output_price=2e-6)
    assert [price_factor(openai, modes) for modes in (plain, priority, flex)] == [1, Fraction(5, 2), Fraction(1, 2)]
    assert price_factor(a_deployment("groq"), flex) == 1
    assert price_factor(a_deployment(price_factors={"priority": 1.7}), priority) == Fraction(17, 10)
    anthropic = a_deployment("anthropic", "claude-opus-4-6")
    assert price_factor(anthropic, frozenset({PriceMode.FAST, PriceMode.US})) == Fraction(66, 10)
    # Held is as if the provider did as it was asked, and as if it did not.
    assert worst_case_micros(openai, 100, 100, modes=priority) == 750
    assert worst_case_micros(openai, 100, 100, modes=flex) == 300
    assert cost_micros(openai, 1, 0, factor=price_factor(openai, flex)) == 1  # rounded up


def test_parts_are_never_more_than_the_whole() -> None:
    own = a_deployment(
        input_price=1e-6, output_price=2e-6, cached_input_price=0.0, cache_write_price=3e-6, reasoning_price=4e-6
    )
    assert cost_micros(own, 10, 5, cached_input=10**9, cache_write=10**9, reasoning=10**9) == 20
    assert cost_micros(own, 10, 5, cached_input=4, cache_write=10**9) == 6 * 3 + 10


_MODELS = [
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("x", "unknown"),
]
_tokens = st.integers(0, 400_000)
_own = st.none() | _prices
_MODES = [ORDINARY, *(frozenset({mode}) for mode in PriceMode), frozenset({PriceMode.FLEX, PriceMode.US})]


@given(st.sampled_from(_MODELS), st.tuples(*[_own] * 6), st.tuples(*[_tokens] * 6), st.integers(0, 10**9))
def test_no_call_costs_more_than_what_was_held_for_its_tokens(
    model: tuple[str, str],
    own: tuple[float | None, ...],
    counts: tuple[int, ...],
    more: int,
) -> None:
    input_tokens, output_tokens, cached, written, for_an_hour, thought = counts
    deployment = a_deployment(
        *model,
        input_price=own[0],
        output_price=own[1],
        cached_input_price=own[2],
        cache_write_price=own[3],
        reasoning_price=own[4],
        hour_cache_write_price=own[5],
    )
    for caches_an_hour, modes in itertools.product((False, True), _MODES):
        cost = cost_micros(
            deployment,
            input_tokens,
            output_tokens,
            cached_input=cached,
            cache_write=written,
            hour_cache_write=for_an_hour if caches_an_hour else 0,
            reasoning=thought,
            factor=price_factor(deployment, modes),
        )
        asked: Any = {"caches_an_hour": caches_an_hour, "modes": modes}
        held = worst_case_micros(deployment, input_tokens, output_tokens, **asked)
        assert 0 <= cost <= held
        assert held <= worst_case_micros(deployment, input_tokens + more, output_tokens + more, **asked)


@given(st.sampled_from(_MODELS), st.tuples(_own, _own), _tokens, st.integers(0, 10**8), st.sampled_from(_MODES))
def test_what_can_be_afforded_is_the_most_that_can(
    model: tuple[str, str], own: tuple[float | None, float | None], input_tokens: int, micros: int, modes: PriceModes
) -> None:
    deployment = a_deployment(*model, input_price=own[0], output_price=own[1])
    tokens = affordable_output_tokens(deployment, input_tokens, micros, modes=modes)
    if tokens >= 0:
        assert worst_case_micros(deployment, input_tokens, tokens, modes=modes) <= micros
        if tokens < MOST_TOKENS:
            assert worst_case_micros(deployment, input_tokens, tokens + 1, modes=modes) > micros
    else:
        assert worst_case_micros(deployment, input_tokens, 0, modes=modes) > micros


@given(st.text())
def test_no_text_has_more_tokens_than_the_bound(text: str) -> None:
    assert len(text) <= most_tokens(text) <= 4 * len(text)


def test_a_lone_surrogate_has_a_bound() -> None:
    assert most_tokens("\ud800") == 3
