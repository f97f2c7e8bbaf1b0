"""A statement that calls several SQL functions at once: one round trip, one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


class Statement:
    """Selects the results of calls; they are made in the order in which they are selected."""

    def __init__(self) -> None:
        self.arguments: list[object] = []
        self._selected: list[str] = []

    def call(self, function: str, *arguments: object) -> str:
        """An expression that calls a function."""
        expression = _call(function, len(self.arguments) + 1, len(arguments))
        self.arguments += arguments
        return expression

    @staticmethod
    def array(expressions: Iterable[str]) -> str:
        """An expression that makes an array of several."""
        return f"array[{', '.join(expressions)}]"

    def select(self, name: str, expression: str) -> None:
        """Adds a column to the one row that is answered."""
        self._selected.append(f"{expression} as {name}")

    @property
    def text(self) -> str:
        """The statement; the same for the same calls, so that it is prepared once."""
        return "select " + ", ".join(self._selected)


@lru_cache(maxsize=1024)
def _call(function: str, first: int, number: int) -> str:
    return f"{function}({', '.join(f'${place}' for place in range(first, first + number))})"
