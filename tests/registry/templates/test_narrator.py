"""The narrator: periods, grouping with citations, and what stands out."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bailiwick.registry.templates import TEMPLATES, AuditFact, LogEvent, TemplateContext, TemplateInput, TemplateResult
from bailiwick.registry.templates.periods import read_period

NOW = datetime(2026, 11, 13, 10, 30, tzinfo=UTC)  # a Friday
NARRATOR = TEMPLATES["audit-trail-narrator"]


def entry(number: int, action: str, actor: str, at: datetime, **attributes: object) -> AuditFact:
    return AuditFact(
        audit_id=f"aud_{number}", sequence=number, action=action, actor=actor, at=at, attributes=attributes
    )


def event(number: int, action: str, actor: str, at: datetime, outcome: str = "", *, ip: str = "") -> LogEvent:
    return LogEvent(
        source_id="ls_1", source_name="M365", event_id=f"e{number}", at=at, actor=actor, action=action, outcome=outcome,
        attributes={"ClientIP": ip} if ip else {},
    )  # fmt: skip


def narrate(message: str, *entries: AuditFact, events: tuple[LogEvent, ...] = ()) -> TemplateResult:
    context = TemplateContext(organization_name="Acme", now=NOW, audit_entries=entries, log_events=events)
    return NARRATOR.run(TemplateInput(message=message, context=context))


def kinds(result: TemplateResult) -> list[str]:
    return [note["kind"] for note in result.structured["unusual"]]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "start", "end"),
    [
        ("last 24 hours", NOW - timedelta(hours=24), NOW),
        ("the past three days", NOW - timedelta(days=3), NOW),
        ("since 2026-11-01", day("2026-11-01"), NOW),
        ("since 2026-11-01 08:15", day("2026-11-01T08:15"), NOW),
        ("since monday", day("2026-11-09"), NOW),
        ("what happened yesterday?", day("2026-11-12"), day("2026-11-13")),
        ("today", day("2026-11-13"), NOW),
        ("last week", day("2026-11-02"), day("2026-11-09")),
        ("this month", day("2026-11-01"), NOW),
        ("last month", day("2026-10-01"), day("2026-11-01")),
        ("last quarter", day("2026-07-01"), day("2026-10-01")),
        ("last year", day("2025-01-01"), day("2026-01-01")),
        ("Q4 2025", day("2025-10-01"), day("2026-01-01")),
        ("in December", day("2025-12-01"), day("2026-01-01")),
        ("from 2026-10-01 to 2026-10-05", day("2026-10-01"), day("2026-10-06")),
        ("on 2026-10-03", day("2026-10-03"), day("2026-10-04")),
        ("in 2025", day("2025-01-01"), day("2026-01-01")),
    ],
)
def test_periods(message: str, start: datetime, end: datetime) -> None:
    period = read_period(message, NOW, default_days=7)
    assert (period.start, period.end, period.stated) == (start, end, True)


@pytest.mark.parametrize("message", ["", "since 2026-13-45", "from 2026-10-05 to 2026-10-01", "what is new?"])
def test_no_period_or_an_impossible_one_is_the_default(message: str) -> None:
    period = read_period(message, NOW, default_days=7)
    if "from" in message:  # the first day of it can still be read as a day
        assert period.start <= period.end
    else:
        assert (period.stated, period.start, period.end) == (False, NOW - timedelta(days=7), NOW)


def test_groups_by_day_actor_and_action_with_citations() -> None:
    at = NOW - timedelta(hours=2)
    result = narrate(
        "last 24 hours",
        entry(1, "agent_run", "alice", at),
        entry(2, "agent_run", "alice", at + timedelta(minutes=5)),
        entry(3, "agent_run", "bob", at + timedelta(minutes=6)),
        entry(4, "agent_run", "bob", NOW - timedelta(days=3)),
    )
    assert result.structured["events"] == 3
    assert [(row["actor"], row["count"], row["citations"]) for row in result.structured["timeline"]] == [
        ("alice", 2, ["[aud_1]", "[aud_2]"]),
        ("bob", 1, ["[aud_3]"]),
    ]
    assert "- 08:30–08:35 alice: agent run × 2 [aud_1] [aud_2]" in result.response
    assert "aud_4" not in result.response


def test_actors_and_sources_named_in_the_message() -> None:
    at = NOW - timedelta(hours=1)
    entries = (entry(1, "agent_run", "alice@acme.org", at), entry(2, "agent_run", "bob@acme.org", at))
    events = (event(3, "FileAccessed", "alice@acme.org", at),)
    only = narrate("what did alice do today", *entries, events=events)
    assert only.structured["by_actor"] == {"alice@acme.org": 2}
    source = narrate("today in m365", *entries, events=events)
    assert [row["citations"] for row in source.structured["timeline"]] == [["[M365:e3]"]]


def test_refused_runs_and_failures() -> None:
    at = NOW - timedelta(hours=1)
    result = narrate(
        "today",
        entry(1, "agent_run_blocked", "alice", at),
        events=(event(2, "FileDownloaded", "bob", at, "Failed"),),
    )
    assert kinds(result) == ["refused", "failed"]
    assert (result.structured["refused"], result.structured["failed"]) == (1, 1)
    killed = narrate("today", entry(1, "agent_run", "alice", at, decision="KILL"))
    passed = narrate("today", entry(1, "agent_run", "alice", at, decision="BYPASS"))
    assert (kinds(killed), kinds(passed)) == (["refused"], [])


def test_failed_sign_ins_and_then_a_success() -> None:
    start = NOW - timedelta(hours=1)
    failures = [
        event(n, "UserLoginFailed", "carol", start + timedelta(minutes=n), "Failed", ip="6.6.6.6") for n in range(3)
    ]
    success = event(9, "UserLoggedIn", "carol", start + timedelta(minutes=5), "Success", ip="6.6.6.6")
    result = narrate("today", events=(*failures, success))
    assert kinds(result)[0] == "guessing"
    assert "[M365:e9]" in result.structured["unusual"][0]["citations"]
    late = event(9, "UserLoggedIn", "carol", start + timedelta(minutes=40), "Success")
    assert "guessing" not in kinds(narrate("today", events=(*failures, late)))


def test_changes_of_rights_and_protections() -> None:
    at = NOW - timedelta(hours=1)
    result = narrate("today", entry(1, "membership.role_changed", "dan", at), entry(2, "mfa.disabled", "dan", at))
    assert kinds(result) == ["guard", "rights"]


def test_first_seen_needs_a_past() -> None:
    at = NOW - timedelta(hours=1)
    now = event(1, "Read", "erin", at, ip="9.9.9.9")
    assert kinds(narrate("today", events=(now,))) == []
    past = event(0, "Read", "erin", NOW - timedelta(days=5), ip="1.1.1.1")
    assert kinds(narrate("today", events=(past, now))) == ["first_address"]
    other = event(0, "Read", "frank", NOW - timedelta(days=5), ip="1.1.1.1")
    assert kinds(narrate("today", events=(other, now))) == ["first_actor"]


def test_bursts_and_steady_work() -> None:
    start = NOW - timedelta(hours=4)
    burst = [entry(n, "agent_run", "gina", start + timedelta(seconds=5 * n)) for n in range(30)]
    assert kinds(narrate("last 24 hours", *burst)) == ["burst"]
    steady = [entry(n, "agent_run", "gina", start + timedelta(minutes=5 * n)) for n in range(30)]
    assert kinds(narrate("last 24 hours", *steady)) == []


def test_odd_hours_of_someone_who_works_by_day() -> None:
    by_day = [entry(n, "agent_run", "hugo", day("2026-11-11T10:00") + timedelta(minutes=30 * n)) for n in range(8)]
    night = entry(8, "agent_run", "hugo", day("2026-11-13T03:00"))
    assert kinds(narrate("today", *by_day, night)) == ["hours"]


def test_gap_in_the_numbers() -> None:
    at = NOW - timedelta(hours=1)
    numbered = [
        msgspec.structs.replace(entry(number, "agent_run", "ida", at), chain=chain)
        for chain, number in (("runs", 1), ("runs", 5), ("control", 40), ("control", 41))
    ]
    result = narrate("today", *numbered)
    assert kinds(result) == ["gap"]
    assert "2 to 4" in result.structured["unusual"][0]["text"]


def test_no_gap_where_a_number_was_read_outside_the_period() -> None:
    at = NOW - timedelta(hours=1)
    numbered = [
        msgspec.structs.replace(entry(number, "agent_run", "ida", moment), chain="audit")
        for number, moment in ((1, at), (2, NOW - timedelta(days=1)), (3, at), (4, at))
    ]
    assert kinds(narrate("today", *numbered)) == []


def test_nothing_recorded_and_nothing_in_the_period() -> None:
    assert "Nothing was recorded" in narrate("today").response
    old = entry(1, "agent_run", "jon", NOW - timedelta(days=9))
    assert "[aud_1]" in narrate("today", old).response
    assert "the oldest of 2026-11-04 10:30 UTC" in narrate("today", old).response


ACTORS = st.sampled_from(["alice", "bob@x.org", "", "Ünï 💥"])
ACTIONS = st.sampled_from(["agent_run", "agent_run_blocked", "UserLoginFailed", "UserLoggedIn", "role.granted", ""])
LATEST = NOW.replace(tzinfo=None)
TIMES = st.datetimes(min_value=LATEST - timedelta(days=12), max_value=LATEST, timezones=st.just(UTC))


@given(
    st.one_of(st.text(max_size=200), st.sampled_from(["today", "last week", "alice since 2026-11-02"])),
    st.lists(st.builds(entry, st.integers(0, 50), ACTIONS, ACTORS, TIMES), max_size=30),
    st.lists(
        st.builds(event, st.integers(0, 50), ACTIONS, ACTORS, TIMES, st.sampled_from(["", "Failed"])), max_size=30
    ),
)
@settings(max_examples=100)
def test_counts_agree_and_citations_exist(message: str, entries: list[AuditFact], events: list[LogEvent]) -> None:
    result = narrate(message, *entries, events=tuple(events))
    found = result.structured
    existing = {f"[{item.audit_id}]" for item in entries} | {f"[M365:{item.event_id}]" for item in events}
    assert sum(row["count"] for row in found["timeline"]) == found["events"] == sum(found["by_actor"].values())
    assert {cite for row in found["timeline"] for cite in row["citations"]} <= existing
    assert {cite for note in found["unusual"] for cite in note["citations"]} <= existing
