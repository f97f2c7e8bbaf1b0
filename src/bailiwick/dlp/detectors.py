"""The shape of a detector: an expression for the engine, and the judgement that follows its match."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from bailiwick.dlp.findings import Finding

Judge = Callable[[str, int, int], Finding | None]
"""Takes a shadow text and the start and end of the engine's match in it. Looks at a bounded window around the match."""


class Detector(NamedTuple):
    """One entry of the engine's database.

    `expression` is in Hyperscan's syntax and should match few and fixed-width places, as it reports every end: the
    judge finds the exact extent. `is_literal` is for plain literals, whose start follows from their length. Ends are
    judged until one is found at their start; with `by_end` all are.
    """

    expression: str
    judge: Judge
    caseless: bool = False
    is_literal: bool = False
    by_end: bool = False


def look_behind(text: str, start: int, width: int) -> str:
    """Up to `width` characters before `start`, in lower case."""
    return text[max(0, start - width) : start].lower()


def look_ahead(text: str, end: int, width: int) -> str:
    """Up to `width` characters from `end`, in lower case."""
    return text[end : end + width].lower()


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no letter, digit or underscore touches the span."""
    return not (start > 0 and _is_word(text[start - 1])) and not (end < len(text) and _is_word(text[end]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_THING = re.compile(
    r"(?:ticket|order|invoice|receipt|serial|part|item|model|sku|asset|build|version|ver|case|ref|reference|tracking|"
    r"shipment|parcel|incident|change|request|purchase|po|rma|isbn|issn|doi|batch|lot|barcode|upc|ean|product|"
    r"extension|commit|revision|rev|release|job|run|trace|request|req|session|transaction|txn|s/n|p/n|docket|"
    r"bestellung|rechnung|pedido|factura|commande|facture|ordine|fattura|itsd|inc|chg|req|jira|bug)"
    r"s?[\s_.:#-]{0,3}(?:(?:number|numbers|num|no|nr|id|ids|code|is|was)\b[\s_.:#=-]{0,3}){0,2}[a-z]{0,3}[-#]?$"
)


def numbers_a_thing(text: str, start: int) -> bool:
    """Whether the words before say that the number counts tickets, orders, parts, builds and the like."""
    return _THING.search(look_behind(text, start, 36)) is not None
