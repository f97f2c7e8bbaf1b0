"""Counting what a request's input can be at most, by the tokenizers of whatever may get it.

Short input is counted at once, in some microseconds. A tokenizer holds the interpreter while it counts, so that a
thread would let nobody else go on: long input is counted piece by piece, and the other calls have their turn between
two. What is longer than any context window is not counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from bailiwick.invocations.dialects import Prompt, utf8_bytes
from bailiwick.invocations.encodings import Counter, Encoding, counter, pieces

_LONG = 32 * 1024
"""Characters that take half a millisecond."""
_TOO_LONG = 4 * 1024 * 1024
"""Characters of a million tokens of English."""


async def most_input_tokens(prompt: Prompt, encodings: Collection[Encoding | None]) -> int:
    """The most tokens that the input can be at whichever of the tokenizers; None: one that is not known, for which
    every byte is one."""
    most = prompt.most_tokens
    if None in encodings or not encodings:
        return most
    # Each is a bound, so the lower one is.
    return min(most, max([prompt.most_tokens_of(await _count(prompt, one)) for one in encodings if one is not None]))


async def likely_input_tokens(prompt: Prompt, encoding: Encoding) -> int:
    """What OpenAI probably counts."""
    return prompt.likely_tokens_of(await _count(prompt, encoding))


async def _count(prompt: Prompt, encoding: Encoding) -> int:
    count = counter(encoding)
    length = sum(map(len, prompt.pieces))
    if length <= _LONG:
        return sum(map(count, prompt.pieces))
    if length > _TOO_LONG:
        return sum(map(utf8_bytes, prompt.pieces))
    return await _count_by_pieces(prompt, count)


async def _count_by_pieces(prompt: Prompt, count: Counter) -> int:
    total = since = 0
    for text in prompt.pieces:
        for piece, is_countable in pieces(text, _LONG):
            total += count(piece) if is_countable else utf8_bytes(piece)
            since += len(piece)
            if since > _LONG:
                since = 0
                await asyncio.sleep(0)
    return total
