"""A tool call's arguments on their way: a JSON object in pieces, and whether the last of them has come."""

from __future__ import annotations

import re
from typing import Final

_OUTSIDE: Final = re.compile(r'["{}\[\]]')
_INSIDE: Final = re.compile(r'["\\]')
_DEPTH: Final = {"{": 1, "[": 1, "}": -1, "]": -1}


class ArgumentText:
    """The pieces so far. Nothing is looked at before `is_whole` asks, and then each character once."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._unread: list[str] = []
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._is_begun = False
        self._is_over = False

    def add(self, piece: str) -> None:
        """Takes the next piece."""
        self._pieces.append(piece)
        self._unread.append(piece)

    def __str__(self) -> str:
        return "".join(self._pieces)

    @property
    def is_whole(self) -> bool:
        """Whether an object has come to its end, to which nothing can be added."""
        unread, self._unread = "".join(self._unread), []
        if not self._is_begun and (begun := unread.lstrip()):
            self._is_begun = True
            self._depth = 0 if begun.startswith("{") else -1  # what is no object is never known to be whole
        if self._depth >= 0 and not self._is_over:
            self._read(unread)
        return self._is_over

    def _read(self, text: str) -> None:
        at = 0
        while not self._is_over and at < len(text):
            if self._is_escaped:
                self._is_escaped, at = False, at + 1
                continue
            found = (_INSIDE if self._in_string else _OUTSIDE).search(text, at)
            if found is None:
                return
            at = found.end()
            mark = found.group()
            if mark == "\\":
                self._is_escaped = True
            elif mark == '"':
                self._in_string = not self._in_string
            else:
                self._depth += _DEPTH[mark]
                self._is_over = self._depth == 0
