"""The count of an input by the tokenizers of whatever may get it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bailiwick.invocations.dialects import Dialect, prompt_of
from bailiwick.invocations.encodings import Encoding, counter
from bailiwick.invocations.prompt_counts import most_input_tokens

O200K, CL100K = Encoding.O200K, Encoding.CL100K
SENTENCE = "The quick brown fox jumps over the lazy dog. "


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def most(text: str, *encodings: Encoding | None) -> int:
    return await most_input_tokens(prompt_of(Dialect.CHAT, said(text)), encodings)


async def test_whichever_answers_is_covered() -> None:
    text = "お誕生日おめでとう" * 9
    apart = [await most(text, one) for one in (O200K, CL100K)]
    assert apart[0] < apart[1]
    assert await most(text, O200K, CL100K) == apart[1]
    in_bytes = await most(text, None)
    assert await most(text, O200K, None) == in_bytes > len(text.encode())
    assert await most(text) == in_bytes


async def test_a_short_text_is_never_dearer_counted_than_by_its_bytes() -> None:
    assert await most("Hi", O200K) == await most("Hi", None) <= 60


@pytest.mark.parametrize("text", [SENTENCE * 5000, "日\n" * 100_000, ("y" * 40_000 + " ") * 5])
async def test_a_long_text_lets_others_go_on(text: str) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    tokens = await most(text, O200K)
    task.cancel()
    assert turns >= 3
    assert tokens == counter(O200K)(text) + 16 + 1 + 64


@pytest.mark.parametrize("text", ["x" * 200_000, SENTENCE + ("y" * 70_000 + " ") * 3])
async def test_a_long_text_that_nowhere_can_be_cut_is_for_its_bytes(text: str) -> None:
    tokens = await most(text, O200K)
    assert counter(O200K)(text) <= tokens <= await most(text, None)
    assert tokens > 190_000


async def test_what_fits_no_context_window_is_not_counted() -> None:
    text = SENTENCE * 100_000
    assert await most(text, O200K) >= len(text)
