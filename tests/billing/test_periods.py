"""Billing periods: calendar months, and a subscription's carried on until Stripe reports the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.billing.periods import calendar_month, period_at

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "start", "last"),
    [
        ("2026-01-31T23:59:59.999", "2026-01-01", "2026-01-31T23:59:59"),
        ("2026-02-01T00:00:00", "2026-02-01", "2026-02-28T23:59:59"),
        ("2028-02-29T12:00:00", "2028-02-01", "2028-02-29T23:59:59"),
        ("2026-12-31T23:00:00", "2026-12-01", "2026-12-31T23:59:59"),
    ],
)
def test_calendar_months(moment: str, start: str, last: str) -> None:
    month = calendar_month(at(moment))
    assert (month.start, month.last_moment, month.subscribed) == (at(start), at(last), False)


@pytest.mark.parametrize(
    ("known", "moment", "start", "end"),
    [
        (("2026-01-15", "2026-02-15"), "2026-01-15", "2026-01-15", "2026-02-15"),
        (("2026-01-15", "2026-02-15"), "2026-02-15", "2026-02-15", "2026-03-15"),
        (("2026-01-31", "2026-02-28"), "2026-03-02", "2026-02-28", "2026-03-31"),
        (("2026-01-31", "2026-02-28"), "2026-05-01", "2026-04-30", "2026-05-31"),
        (("2024-02-29", "2025-02-28"), "2027-03-01", "2027-02-28", "2028-02-29"),
        (("2026-01-01", "2026-01-08"), "2026-01-20", "2026-01-15", "2026-01-22"),
    ],
)
def test_a_subscription_s_period_is_carried_on(known: tuple[str, str], moment: str, start: str, end: str) -> None:
    period = period_at(at(moment), at(known[0]), at(known[1]))
    assert (period.start, period.end, period.subscribed) == (at(start), at(end), True)
    assert period.last_moment == period.end


@given(MOMENTS, MOMENTS, st.one_of(st.integers(1, 5), st.integers(60, 10**9)))
def test_the_period_holds_the_moment(moment: datetime, start: datetime, seconds: int) -> None:
    period = period_at(moment, start, start + timedelta(seconds=seconds))
    assert period.start <= moment < period.end


def test_without_a_period_it_is_the_month() -> None:
    moment = at("2026-05-12T10:00")
    assert period_at(moment, None, None) == calendar_month(moment)
    assert period_at(moment, moment, moment) == calendar_month(moment)
