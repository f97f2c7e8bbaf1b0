"""A log event in one form, whichever provider it came from, cleaned and bounded so that it can be stored as it is."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

Scalar = str | int | float | bool | None
Outcome = Literal["success", "failure", "unknown"]

MAX_EVENT_ID = 255
MAX_FIELD = 500
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_NAME = 120
MAX_ATTRIBUTE_TEXT = 1_000
MAX_ATTRIBUTES_BYTES = 8 * 1024
_MAX_DEPTH = 6
_MAX_EXACT_INTEGER = 2**53  # beyond it JSON readers disagree


class LogEvent(msgspec.Struct, frozen=True):
    """Who did what to what, when. `event_id` is the provider's and unique within a source; `at` is aware, in UTC.

    An empty `actor` or `target` means that the provider named none. `attributes` is flat (dotted names), at most
    MAX_ATTRIBUTES members and MAX_ATTRIBUTES_BYTES of JSON.
    """

    event_id: str
    at: datetime
    action: str
    actor: str = ""
    target: str = ""
    outcome: Outcome = "unknown"
    attributes: Mapping[str, Scalar] = {}


def log_event(
    *,
    event_id: str,
    at: datetime,
    action: object,
    actor: object = "",
    target: object = "",
    outcome: Outcome = "unknown",
    attributes: Mapping[str, object] | None = None,
) -> LogEvent:
    """A LogEvent from what a provider sent: texts cleaned and cut, attributes flattened, an over-long id digested."""
    return LogEvent(
        event_id=_bounded_id(event_id),
        at=at.astimezone(UTC),
        action=_field(action) or "unknown",
        actor=_field(actor),
        target=_field(target),
        outcome=outcome,
        attributes=flatten(attributes or {}),
    )


def flatten(nested: Mapping[str, object]) -> dict[str, Scalar]:
    """Scalars by dotted path, in the order found; what does not fit is left out, and `_truncated` says so."""
    flat: dict[str, Scalar] = {}
    size, cut = 2, False
    for name, value in _leaves("", nested, 0):
        shown = clean_text(name)[:MAX_ATTRIBUTE_NAME]
        cost = len(msgspec.json.encode({shown: value})) + 1
        # One place and a few bytes stay free for the mark itself.
        if len(flat) >= MAX_ATTRIBUTES - 1 or size + cost > MAX_ATTRIBUTES_BYTES - 32:
            cut = True
            continue
        flat[shown] = value
        size += cost
    if cut:
        flat["_truncated"] = True
    return flat


def clean_text(text: str) -> str:
    """Without NUL, which PostgreSQL text and jsonb cannot hold, and without lone surrogates, which UTF-8 cannot."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def read_time(value: object) -> datetime | None:
    """An RFC 3339 / ISO 8601 time in UTC, or None. One without an offset is UTC (as Office 365 writes it);
    digits beyond microseconds are dropped (Azure and Google write up to nine)."""
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return None
    head, dot, rest = value.strip().partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        value = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    try:
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _leaves(path: str, value: object, depth: int) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        for name, member in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), member, depth + 1)
    elif isinstance(value, Mapping | list | tuple):
        if value:  # a list, or deeper than we go: its JSON, so that nothing is lost silently
            yield path, clean_text(msgspec.json.encode(value).decode())[:MAX_ATTRIBUTE_TEXT]
    elif value is not None and value != "":
        yield path, _scalar(value)


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_EXACT_INTEGER else str(value)[:MAX_ATTRIBUTE_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return clean_text(str(value))[:MAX_ATTRIBUTE_TEXT]


def _field(value: object) -> str:
    return "" if value is None else clean_text(str(value)).strip()[:MAX_FIELD]


def _bounded_id(event_id: str) -> str:
    cleaned = clean_text(event_id)
    if len(cleaned) <= MAX_EVENT_ID:
        return cleaned
    return "sha256:" + hashlib.sha256(cleaned.encode()).hexdigest()
