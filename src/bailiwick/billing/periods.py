"""Billing periods: the subscription's when there is one, else the calendar month in UTC."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

import msgspec

_MONTHS_MAX = 36  # Stripe's longest interval is three years


class Period(msgspec.Struct, frozen=True):
    """One billing period: `start` included, `end` excluded, both in UTC."""

    start: datetime
    end: datetime
    subscribed: bool = False
    """Whether a subscription set it; otherwise it is a calendar month."""

    @property
    def last_moment(self) -> datetime:
        """The end as clients see it: 23:59:59 of a calendar month's last day, a subscription's own period end."""
        return self.end if self.subscribed else self.end - timedelta(seconds=1)


def calendar_month(moment: datetime) -> Period:
    """The calendar month in UTC that holds `moment`."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Period(start, _months_later(start, 1, start.day))


def period_at(moment: datetime, start: datetime | None, end: datetime | None) -> Period:
    """The period that holds `moment`, given the subscription's period as it was last reported (None: no subscription).

    Stripe reports a new period shortly after it began. Until then the known one is carried on by its own length, since
    the next starts where it ends: the report then finds the same start, and only the end may move.
    """
    if start is None or end is None or start >= end:
        return calendar_month(moment)
    length = end - start
    months = round(length / timedelta(days=30.4375))
    if 1 <= months <= _MONTHS_MAX and _months_later(start, months, start.day) == end:
        anchor = start.day
        while end <= moment:
            start, end = end, _months_later(end, months, anchor)
    elif end <= moment:
        start += (moment - start) // length * length
        end = start + length
    # A report of a period that has not begun yet (a changed billing date) counts from its start on.
    return Period(start, end, subscribed=True) if start <= moment else calendar_month(moment)


def _months_later(moment: datetime, months: int, day: int) -> datetime:
    """The same time `months` later on `day`, or on the last day of a shorter month, as Stripe anchors billing."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return moment.replace(year=year, month=month + 1, day=min(day, calendar.monthrange(year, month + 1)[1]))
