"""The form of a text that is matched: ASCII, one character for each visible one, with a way back to the text as sent.

Full-width digits, non-breaking spaces, typographic hyphens, accents and zero-width characters would otherwise hide a
value from every pattern. An ASCII text is its own shadow.
"""

from __future__ import annotations

import re
import unicodedata

OPAQUE = "\x1a"
"""Stands for a character without an ASCII likeness (other scripts, emoji, lone surrogates)."""

_INVISIBLE = "\x18"
_MEMO_MAX = 8192
_LETTERS = {
    "ß": "s", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "t", "Þ": "T",
    "æ": "a", "Æ": "A", "œ": "o", "Œ": "O", "ı": "i", "’": "'", "‘": "'", "ʼ": "'", "′": "'", "“": '"', "”": '"',
    "„": '"', "«": '"', "»": '"', "−": "-", "‐": "-", "∕": "/", "⁄": "/",
}  # fmt: skip


class _Folding(dict[int, str]):
    """Code point to its one ASCII character, worked out when first met."""

    def __missing__(self, code_point: int) -> str:
        if len(self) > _MEMO_MAX:  # a text that walks through Unicode must not grow it for good
            self.clear()
        folded = self[code_point] = _fold(chr(code_point))
        return folded


_BY_CATEGORY = {"Mn": _INVISIBLE, "Me": _INVISIBLE, "Cf": _INVISIBLE, "Pd": "-", "Zs": " ", "Zl": " ", "Zp": " "}


def _fold(character: str) -> str:
    if character < "\x80":
        return character
    folded = _LETTERS.get(character) or _BY_CATEGORY.get(unicodedata.category(character))
    if folded:
        return folded
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    base = unicodedata.normalize("NFKD", character)
    if base[0] < "\x80" and all(unicodedata.combining(mark) for mark in base[1:]):
        return base[0]
    return OPAQUE


_folding = _Folding()
_OTHER_THAN_ASCII = re.compile(r"[^\x00-\x7f]+")
# What typesetting puts into a text that is ASCII otherwise: replaced in a tenth of the time that a search takes.
_TYPOGRAPHIC = [(character, _fold(character)) for character in "\u2019\u2014\u2013\u201c\u201d\u2018\u00a0"]


def _fold_run(run: re.Match[str]) -> str:
    return run[0].translate(_folding)


def shadow_of(text: str) -> tuple[str, list[int] | None]:
    """The ASCII shadow, and for each of its characters the offset in `text` (None: the same offset)."""
    if text.isascii():
        return text, None
    folded = text
    for character, ascii_likeness in _TYPOGRAPHIC:
        folded = folded.replace(character, ascii_likeness)
    if folded.isascii() and _INVISIBLE not in folded:
        return folded, None
    folded = _OTHER_THAN_ASCII.sub(_fold_run, folded)
    if _INVISIBLE not in folded:
        return folded, None
    positions = [index for index, character in enumerate(folded) if character != _INVISIBLE]
    return folded.replace(_INVISIBLE, ""), positions


def span_in_text(text: str, positions: list[int], start: int, end: int) -> tuple[int, int]:
    """Start and end in `text` of a span of its shadow; accents written apart stay with their letter."""
    first, after = positions[start], positions[end - 1] + 1
    while after < len(text) and unicodedata.combining(text[after]):
        after += 1
    return first, after
