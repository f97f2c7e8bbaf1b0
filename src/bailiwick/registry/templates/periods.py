"""Reads a period of time from a sentence: "last 24 hours", "since 2026-11-01", "Q3 2026", "yesterday", "last quarter".

All periods are half-open, [start, end), in UTC. Weeks begin on Monday (ISO 8601), quarters are of the calendar year.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open period; `label` is how to name it in an answer, `stated` whether the message named it."""

    start: datetime
    end: datetime
    label: str
    stated: bool

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end

    def text(self) -> str:
        """Name and bounds for people, the bounds to the minute."""
        return f"{self.label}, {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"


_MONTHS = {
    name: number
    for number, names in enumerate(
        ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
         "september sep sept", "october oct", "november nov", "december dec"), 1,
    )
    for name in names.split()
}  # fmt: skip
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SMALL = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "ten": 10,
    "twelve": 12,
}
_UNITS = {
    "minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1),
    "month": timedelta(days=30), "quarter": timedelta(days=91), "year": timedelta(days=365),
}  # fmt: skip
_LONGEST = timedelta(days=3660)

_MOMENT = r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::\d{2})?Z?)?"
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_BETWEEN = re.compile(rf"\b(?:between|from)\s+{_MOMENT}\s+(?:and|to|until|through)\s+{_MOMENT}")
_SINCE = re.compile(rf"\b(?:since|after|starting)\s+{_MOMENT}")
_SINCE_DAY = re.compile(rf"\bsince\s+(?:last\s+)?(yesterday|{'|'.join(_WEEKDAYS)})\b")
_ON = re.compile(rf"\b(?:on\s+)?{_MOMENT}\b")
_LAST_N = re.compile(
    r"\b(?:last|past|previous|recent)\s+(\d{1,4}|a|an|one|two|three|four|five|six|seven|ten|twelve)\s*"
    r"(minute|hour|day|week|month|quarter|year)s?\b"
)
_NAMED = re.compile(r"\b(?:(last|previous|past|this|current)\s+(hour|day|week|month|quarter|year)|yesterday|today)\b")
_QUARTER = re.compile(r"\bq([1-4])[ /-]?(20\d\d)?\b")
_IN_MONTH = re.compile(rf"\b(?:in|for|during|of)\s+({_MONTH})(?:\s+(20\d\d))?\b")
_IN_YEAR = re.compile(r"\b(?:in|for|during|year|fy)\s*(20\d\d)\b")


def read_period(message: str, now: datetime, *, default_days: int) -> Period:
    """Find the period that `message` names, else the last `default_days` days up to `now` (timezone-aware).

    A period that cannot be (32 November, an end before its start) counts as not named. A start in the future gives an
    empty period, which the answer then shows.
    """
    text = message.lower()
    now = now.astimezone(UTC)
    for read in _READERS:
        try:
            period = read(text, now)
        except (ValueError, OverflowError):
            continue
        if period is not None and period.start <= period.end:
            return period
    return Period(start=now - timedelta(days=default_days), end=now, label=f"last {default_days} days", stated=False)


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _moment(groups: tuple[str | None, ...]) -> datetime:
    year, month, day, hour, minute = (int(group) if group else 0 for group in groups)
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def _until_end(groups: tuple[str | None, ...]) -> datetime:
    """An end given as a day includes that day."""
    moment = _moment(groups)
    return moment if groups[3] else moment + timedelta(days=1)


def _between(text: str, now: datetime) -> Period | None:
    if not (match := _BETWEEN.search(text)):
        return None
    groups = match.groups()
    return Period(start=_moment(groups[:5]), end=_until_end(groups[5:]), label=match[0], stated=True)


def _since(text: str, now: datetime) -> Period | None:
    if match := _SINCE.search(text):
        start = _moment(match.groups())
        return Period(start=start, end=max(start, now), label=match[0], stated=True)
    if match := _SINCE_DAY.search(text):
        back = 1 if match[1] == "yesterday" else (now.weekday() - _WEEKDAYS.index(match[1])) % 7 or 7
        return Period(start=_day(now) - timedelta(days=back), end=now, label=match[0], stated=True)
    return None


def _last_n(text: str, now: datetime) -> Period | None:
    if not (match := _LAST_N.search(text)):
        return None
    number = _SMALL.get(match[1]) or int(match[1])
    length = min(_UNITS[match[2]] * number, _LONGEST)
    return Period(start=now - length, end=now, label=match[0], stated=True)


def _named(text: str, now: datetime) -> Period | None:
    match = _NAMED.search(text)
    if not match:
        return None
    today = _day(now)
    if match[1] is None:
        back = timedelta(days=1) if match[0] == "yesterday" else timedelta()
        end = today if back else now
        return Period(start=today - back, end=end, label=match[0], stated=True)
    start = _start_of(match[2], now)
    if match[1] in ("this", "current"):
        return Period(start=start, end=now, label=match[0], stated=True)
    if match[2] in ("hour", "day"):
        return Period(start=now - _UNITS[match[2]], end=now, label=match[0], stated=True)
    return Period(start=_start_of(match[2], start - timedelta(seconds=1)), end=start, label=match[0], stated=True)


def _start_of(unit: str, at: datetime) -> datetime:
    day = _day(at)
    starts: dict[str, Callable[[], datetime]] = {
        "hour": lambda: at.replace(minute=0, second=0, microsecond=0),
        "day": lambda: day,
        "week": lambda: day - timedelta(days=day.weekday()),
        "month": lambda: day.replace(day=1),
        "quarter": lambda: day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1),
        "year": lambda: day.replace(day=1, month=1),
    }
    return starts[unit]()


def _months(start: datetime, count: int, now: datetime, label: str) -> Period:
    month = start.month - 1 + count
    end = start.replace(year=start.year + month // 12, month=month % 12 + 1)
    return Period(start=start, end=end, label=label, stated=True)


def _quarter(text: str, now: datetime) -> Period | None:
    if not (match := _QUARTER.search(text)):
        return None
    month = (int(match[1]) - 1) * 3 + 1
    year = int(match[2]) if match[2] else now.year - (month > now.month)
    return _months(datetime(year, month, 1, tzinfo=UTC), 3, now, f"Q{match[1]} {year}")


def _month_or_year(text: str, now: datetime) -> Period | None:
    if match := _IN_MONTH.search(text):
        month = _MONTHS[match[1]]
        year = int(match[2]) if match[2] else now.year - (month > now.month)
        return _months(datetime(year, month, 1, tzinfo=UTC), 1, now, f"{match[1]} {year}")
    if match := _IN_YEAR.search(text):
        return _months(datetime(int(match[1]), 1, 1, tzinfo=UTC), 12, now, match[1])
    return None


def _on(text: str, now: datetime) -> Period | None:
    if not (match := _ON.search(text)):
        return None
    day = _day(_moment(match.groups()))
    return Period(start=day, end=day + timedelta(days=1), label=match[0], stated=True)


_READERS: tuple[Callable[[str, datetime], Period | None], ...] = (
    _between, _since, _last_n, _quarter, _named, _month_or_year, _on,
)  # fmt: skip
