"""When the arguments of a call have come to their end, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects.argument_text import ArgumentText
from tests.invocations.dialects.streams import pieces_of

values = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('ab"\\{}[] ñ'), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"}\\a', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text('"}\\a', max_size=3), values, max_size=3), st.lists(st.integers(1, 40)), st.booleans())
def test_an_object_is_whole_with_its_last_character(value: dict[str, Any], cuts: list[int], is_ascii: bool) -> None:
    text = f" {json.dumps(value, ensure_ascii=is_ascii)}"
    arguments = ArgumentText()
    for piece in pieces_of(text[:-1], cuts):
        arguments.add(piece)
        assert not arguments.is_whole
    arguments.add(text[-1])
    assert arguments.is_whole
    arguments.add("\n")
    assert arguments.is_whole
    assert str(arguments) == f"{text}\n"


@pytest.mark.parametrize("text", ["", " ", "null", "[1]", '"{}"', "x{}"])
def test_what_is_no_object_is_never_whole(text: str) -> None:
    arguments = ArgumentText()
    arguments.add(text)
    assert not arguments.is_whole
