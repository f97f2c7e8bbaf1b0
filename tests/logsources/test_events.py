"""Cleaning and bounding of what providers send."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from bailiwick.logsources.events import MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES, flatten, log_event, read_time


def test_nested_attributes_become_flat_scalars() -> None:
    flat = flatten({"a": {"b": {"c": 1}}, "list": [1, {"x": 2}], "none": None, "empty": "", "yes": True, "big": 2**70})
    assert flat == {"a.b.c": 1, "list": '[1,{"x":2}]', "yes": True, "big": str(2**70)}


def test_attributes_are_bounded_and_say_so() -> None:
    many = flatten({f"k{n}": n for n in range(500)})
    assert len(many) == MAX_ATTRIBUTES
    assert many["_truncated"] is True
    large = flatten({f"k{n}": "x" * 900 for n in range(50)})
    assert len(msgspec.json.encode(large)) <= MAX_ATTRIBUTES_BYTES
    assert large["_truncated"] is True


def test_what_the_database_cannot_hold_is_removed() -> None:
    event = log_event(event_id="a\x00b", at=datetime.now(UTC), action="x\x00", attributes={"k\x00": "v\ud800"})
    assert (event.event_id, event.action) == ("ab", "x")
    assert event.attributes == {"k": "v?"}


def test_an_over_long_id_stays_distinct() -> None:
    one, two = (log_event(event_id="x" * 300 + end, at=datetime.now(UTC), action="a").event_id for end in "12")
    assert one != two
    assert len(one) <= 255


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-12T14:22:00", datetime(2026, 5, 12, 14, 22, tzinfo=UTC)),
        ("2026-05-12T14:22:00.1234567Z", datetime(2026, 5, 12, 14, 22, 0, 123456, tzinfo=UTC)),
        ("2026-05-12T16:22:00.5+02:00", datetime(2026, 5, 12, 14, 22, 0, 500000, tzinfo=UTC)),
        ("yesterday it was", None),
        (12, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_times_of_all_providers_are_read(text: object, expected: datetime | None) -> None:
    assert read_time(text) == expected
