"""Names with `*`: what each stands for."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from bailiwick.kernel.wildcards import stood_for

TEXT = st.text(alphabet="ab*/", max_size=12)


@given(pattern=TEXT, name=TEXT)
def test_each_stands_for_some_text_and_the_first_for_as_much_as_it_can(pattern: str, name: str) -> None:
    expression = "(.+)".join(re.escape(part) for part in pattern.split("*"))
    match = re.fullmatch(expression, name)
    assert stood_for(pattern, name) == (None if match is None else list(match.groups()))


def test_a_pattern_that_a_caller_chose_keeps_nobody_waiting() -> None:
    # An expression that goes back and tries again takes longer than the universe for this one.
    assert stood_for("*a" * 127 + "*b", "a" * 256) is None
    assert stood_for("*a" * 127 + "*b", "a" * 255 + "b") is not None
