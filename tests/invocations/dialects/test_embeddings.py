"""Requests for embeddings: where texts stand, and what they count."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects import InvalidBody, embedding_positions, embedding_tokens_bound, with_texts


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("one", ["input"]),
        (["one", "", "two"], ["input[0]", "input[2]"]),
        ([1, 99999999], []),
        ([[1], [99999999]], []),
        ([{"type": "text", "text": "one"}], ["input[0].text"]),
        ([["one"]], ["input[0][0]"]),
    ],
)
def test_every_text_has_its_place(value: Any, fields: list[str]) -> None:
    body = {"model": "m", "input": value, "user": "u", "encoding_format": "float"}
    positions = embedding_positions(body)
    assert [position.field for position in positions] == fields
    masked = with_texts(body, positions, ["*" for _ in positions])
    assert [position.text for position in embedding_positions(masked)] == ["*"] * len(fields)


def test_a_member_that_nobody_knows_is_text() -> None:
    (position,) = embedding_positions({"model": "m", "input": [1], "instruction": "Represent this"})
    assert position.field == "instruction"


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidBody):
        embedding_positions([])


@given(st.text() | st.lists(st.text()) | st.lists(st.integers(0, 2**31)) | st.lists(st.lists(st.integers(0, 2**31))))
def test_the_bound_is_never_too_low(value: Any) -> None:
    inputs = value if isinstance(value, list) else [value]
    least = sum(
        len(item.encode(errors="replace")) if isinstance(item, str) else len(item) if isinstance(item, list) else 1
        for item in inputs
    )
    assert embedding_tokens_bound({"model": "m", "input": value}) >= least


def test_numbers_of_tokens_are_counted_one_by_one() -> None:
    assert 1000 <= embedding_tokens_bound({"model": "m", "input": [100_000] * 1000}) < 1100
