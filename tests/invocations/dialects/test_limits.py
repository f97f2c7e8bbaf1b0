"""Bounds on tokens, usage, and errors in each provider's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects import (
    Dialect,
    InvalidBody,
    PriceMode,
    TokenUsage,
    ask_for_usage,
    cap_output,
    error_body,
    input_tokens_bound,
    modes_asked,
    output_bound,
    translate_error,
    usage_of,
)

CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES

BOUNDS: list[tuple[Dialect, dict[str, Any], int | None]] = [
    (CHAT, {}, None),
    (CHAT, {"max_tokens": None}, None),
    (CHAT, {"max_tokens": 10}, 10),
    (CHAT, {"max_completion_tokens": 10, "max_tokens": 7}, 7),
    (CHAT, {"max_tokens": 10, "n": 3}, 30),
    (MESSAGES, {"max_tokens": 10, "n": 3}, 10),
    (RESPONSES, {"max_output_tokens": 10, "max_tokens": 3}, 10),
]


@pytest.mark.parametrize(("dialect", "body", "bound"), BOUNDS)
def test_the_bound_on_output(dialect: Dialect, body: dict[str, Any], bound: int | None) -> None:
    assert output_bound(dialect, body) == bound


@pytest.mark.parametrize("value", [0, -1, 1.5, "9", True, []])
def test_a_bound_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(InvalidBody) as caught:
        output_bound(CHAT, {"max_tokens": value})
    assert caught.value.field == "max_tokens"


CAPS: list[tuple[Dialect, dict[str, Any], dict[str, Any]]] = [
    (CHAT, {}, {"max_completion_tokens": 100}),
    (CHAT, {"max_tokens": 500}, {"max_tokens": 100}),
    (CHAT, {"max_tokens": 50, "max_completion_tokens": 500}, {"max_tokens": 50, "max_completion_tokens": 100}),
    (CHAT, {"n": 3, "max_tokens": 50}, {"n": 3, "max_tokens": 33}),
    (MESSAGES, {"max_tokens": 99}, {"max_tokens": 99}),
    (RESPONSES, {}, {"max_output_tokens": 100}),
]


@pytest.mark.parametrize(("dialect", "body", "capped"), CAPS)
def test_output_is_capped(dialect: Dialect, body: dict[str, Any], capped: dict[str, Any]) -> None:
    assert cap_output(dialect, body, 100) == capped
    assert cap_output(CHAT, {}, 5, chat_key="max_tokens") == {"max_tokens": 5}


@given(st.sampled_from(Dialect), st.integers(1, 200), st.integers(1, 4), st.integers(4, 300))
def test_no_more_than_the_cap_can_come(dialect: Dialect, told: int, n: int, cap: int) -> None:
    body = {"n": n, "max_tokens": told, "max_output_tokens": told}
    bound = output_bound(dialect, cap_output(dialect, body, cap))
    assert bound is not None
    assert bound <= min(cap, output_bound(dialect, body) or cap)


def test_a_cap_that_leaves_nothing_is_told() -> None:
    with pytest.raises(InvalidBody):
        cap_output(CHAT, {"n": 3}, 2)


def test_thinking_stays_below_the_cap() -> None:
    body = {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 8000}}
    assert cap_output(MESSAGES, body, 5000)["thinking"]["budget_tokens"] == 4999
    assert cap_output(MESSAGES, body, 8500)["thinking"]["budget_tokens"] == 8000
    with pytest.raises(InvalidBody) as caught:
        cap_output(MESSAGES, body, 1024)
    assert caught.value.field == "thinking.budget_tokens"


@given(st.sampled_from(Dialect), st.text(max_size=50))
def test_every_byte_may_be_a_token(dialect: Dialect, text: str) -> None:
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": text}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
        {"input": text, "instructions": "x"},
        {"tools": [{"name": "f", "description": text}]},
        {"new_field": {text: 1}},
    ]
    for body in bodies:
        assert input_tokens_bound(dialect, body) >= len(text.encode(errors="replace"))


def image(detail: str | None = None) -> dict[str, Any]:
    url = {"url": "data:image/png;base64," + "A" * 400_000}
    part = {"type": "image_url", "image_url": url if detail is None else {**url, "detail": detail}}
    return {"messages": [{"role": "user", "content": [part]}]}


def test_an_image_counts_by_its_detail_and_not_by_its_bytes() -> None:
    assert input_tokens_bound(CHAT, image("low")) < 3_000
    assert 48_000 < input_tokens_bound(CHAT, image()) < 49_000
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 400_000}
    anthropic = {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}
    assert 4_784 <= input_tokens_bound(MESSAGES, anthropic) < 5_000


def test_what_the_provider_holds_counts_as_much_as_it_can() -> None:
    assert input_tokens_bound(RESPONSES, {"input": "x", "previous_response_id": "r"}) > 1_000_000
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 900}}
    bound = input_tokens_bound(MESSAGES, {"messages": [{"role": "user", "content": [document]}]})
    assert 900 <= bound < 1_200


def test_usage_in_each_dialect() -> None:
    chat = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    chat["completion_tokens_details"] = {"reasoning_tokens": 2}
    assert usage_of(CHAT, {"usage": chat}) == TokenUsage(input=9, cached_input=4, output=5, reasoning=2)
    anthropic = {"input_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 5}
    assert usage_of(MESSAGES, {"usage": anthropic}) == TokenUsage(input=9, cached_input=4, cache_write=3, output=5)
    responses = {"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}
    assert usage_of(RESPONSES, {"usage": responses}) == TokenUsage(input=9, cached_input=4, output=5)
    assert usage_of(CHAT, {"usage": None}) is None
    assert usage_of(CHAT, {"usage": {"prompt_tokens": -5, "completion_tokens": "x"}}) == TokenUsage()


def test_a_stream_is_asked_for_its_usage() -> None:
    assert ask_for_usage({"stream": True}) == ({"stream": True, "stream_options": {"include_usage": True}}, False)
    body, asked = ask_for_usage({"stream_options": {"include_usage": True, "x": 1}})
    assert asked
    assert body["stream_options"] == {"include_usage": True, "x": 1}


def test_errors_have_the_shape_that_clients_read() -> None:
    assert error_body(CHAT, 429, message="m", type="BUDGET_EXCEEDED", code="BUDGET_EXCEEDED") == {
        "error": {"message": "m", "type": "BUDGET_EXCEEDED", "param": None, "code": "BUDGET_EXCEEDED"}
    }
    assert error_body(MESSAGES, 529, message="m") == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "m"},
    }


@pytest.mark.parametrize(
    ("upstream", "client", "body", "message"),
    [
        (MESSAGES, CHAT, {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}, "bad"),
        (CHAT, MESSAGES, {"error": {"message": "bad", "type": "x", "code": "y", "param": "z"}}, "bad"),
        (CHAT, CHAT, {"error": "bad"}, "bad"),
        (CHAT, MESSAGES, "<html>", "The provider answered with status 400."),
        (CHAT, RESPONSES, {"error": {}}, ""),
    ],
)
def test_a_providers_error_is_the_clients(upstream: Dialect, client: Dialect, body: object, message: str) -> None:
    told = translate_error(upstream, client, 400, body)
    assert message in json.dumps(told)
    assert ("type" in told) == (client is MESSAGES)


def test_what_changes_the_price_is_read_of_every_dialect() -> None:
    # A chat's fields that it does not know itself are passed on to Anthropic as well.
    body = {"service_tier": "fast", "speed": "fast", "inference_geo": "us"}
    of_anthropic = {PriceMode.FAST, PriceMode.US}
    assert modes_asked(Dialect.MESSAGES, body) == of_anthropic
    for dialect in (Dialect.CHAT, Dialect.RESPONSES):
        assert modes_asked(dialect, body) == of_anthropic | {PriceMode.PRIORITY}
    assert modes_asked(Dialect.CHAT, {"service_tier": "auto", "speed": "standard", "inference_geo": "global"}) == set()
    assert modes_asked(Dialect.CHAT, {"service_tier": "of tomorrow"}) == {PriceMode.PRIORITY}
    assert modes_asked(Dialect.MESSAGES, {"service_tier": "whatever", "speed": ["fast"]}) == set()
