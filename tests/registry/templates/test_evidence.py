"""Evidence collection: requests read from words, statuses from facts, citations that exist."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bailiwick.registry.templates import (
    SETTING_NAMES,
    TEMPLATES,
    AuditFact,
    Fact,
    PolicyFact,
    TemplateContext,
    TemplateInput,
    TemplateResult,
)
from bailiwick.registry.templates.evidence.catalogue import FRAMEWORKS, SIGNALS, signals_of_action
from bailiwick.registry.templates.evidence.request import read_request

NOW = datetime(2026, 11, 13, 10, tzinfo=UTC)
COLLECTOR = TEMPLATES["compliance-evidence-collector"]


def entry(number: int, action: str, at: datetime) -> AuditFact:
    return AuditFact(audit_id=f"aud_{number}", sequence=number, action=action, actor="u_1", at=at)


def collect(
    message: str,
    *,
    entries: tuple[AuditFact, ...] = (),
    policies: tuple[PolicyFact, ...] = (),
    facts: dict[str, Fact] | None = None,
) -> TemplateResult:
    context = TemplateContext(
        organization_name="Acme", now=NOW, audit_entries=entries, policies=policies, settings=facts or {}
    )
    return COLLECTOR.run(TemplateInput(message=message, context=context))


def control(result: TemplateResult, control_id: str) -> dict[str, Any]:
    for framework in result.structured["frameworks"]:
        for report in framework["controls"]:
            if report["control"] == control_id:
                return dict(report)
    raise AssertionError(f"{control_id} is not in the answer")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("SOC 2 CC6.1 last quarter", {"soc2": ["CC6.1"]}),
        ("soc2 cc6", {"soc2": [f"CC6.{number}" for number in range(1, 9)]}),
        ("A1 and C1.2 please", {"soc2": ["A1.1", "A1.2", "A1.3", "C1.2"]}),
        ("HIPAA 164.312(b)", {"hipaa": ["164.312(b)"]}),
        (
            "164.312(e)(2)",
            {"hipaa": ["164.312(e)(2)(i)", "164.312(e)(2)(ii)"]},
        ),
        ("ISO 27001 A.8.15, 5.1", {"iso27001": ["A.5.1", "A.8.15"]}),
        ("CC7.2 and 164.308(a)(8)", {"soc2": ["CC7.2"], "hipaa": ["164.308(a)(8)"]}),
    ],
)
def test_controls_named_in_the_message(message: str, expected: dict[str, list[str]]) -> None:
    request = read_request(message, NOW)
    assert {key: [item.id for item in controls] for key, controls in request.controls.items()} == expected
    assert not request.everything


def test_a_framework_named_alone_is_taken_whole_and_nothing_named_is_everything() -> None:
    assert [*read_request("hipaa evidence", NOW).controls] == ["hipaa"]
    assert len(read_request("hipaa evidence", NOW).controls["hipaa"]) == len(FRAMEWORKS["hipaa"].controls)
    everything = read_request("what do you have?", NOW)
    assert [*everything.controls] == [*FRAMEWORKS]
    assert everything.everything


def test_unknown_control_is_said() -> None:
    result = collect("SOC 2 CC6.9")
    assert result.structured["unknown_controls"] == ["CC6.9"]
    assert "No such control in the catalogue: CC6.9." in result.response


def test_the_catalogue_is_whole() -> None:
    iso = [item.id for item in FRAMEWORKS["iso27001"].controls]
    counts = {theme: sum(item.startswith(f"{theme}.") for item in iso) for theme in ("A.5", "A.6", "A.7", "A.8")}
    assert counts == {"A.5": 37, "A.6": 8, "A.7": 14, "A.8": 34}
    common = [item.id for item in FRAMEWORKS["soc2"].controls if item.id.startswith("CC")]
    assert len(common) == 33
    for framework in FRAMEWORKS.values():
        ids = [item.id for item in framework.controls]
        assert len(ids) == len(set(ids))
    used = {key for framework in FRAMEWORKS.values() for item in framework.controls for key in item.evidence}
    assert used == SIGNALS.keys()


def test_evidenced_partial_and_missing() -> None:
    missing = control(collect("CC6.1"), "CC6.1")
    assert missing["status"] == "missing"
    assert len(missing["missing"]) == 4

    some: dict[str, Fact] = {"row_level_security": True, "mfa": False}
    partial = control(collect("CC6.1", facts=some), "CC6.1")
    assert partial["status"] == "partial"
    assert "mfa is false, wanted true" in str(partial["missing"])

    full: dict[str, Fact] = {"row_level_security": True, "mfa": True, "encryption_at_rest": True}
    entries = (entry(7, "membership.created", NOW - timedelta(days=3)),)
    evidenced = control(collect("CC6.1", facts=full, entries=entries), "CC6.1")
    assert evidenced["status"] == "evidenced"
    assert evidenced["missing"] == []
    assert ["aud_7"] in [item["audit_ids"] for item in evidenced["evidence"]]


def test_only_entries_of_the_period_count() -> None:
    entries = (entry(1, "membership.removed", datetime(2026, 3, 1, tzinfo=UTC)),)
    now = control(collect("HIPAA 164.308(a)(3)(ii)(C) last month", entries=entries), "164.308(a)(3)(ii)(C)")
    assert now["status"] == "missing"
    assert "last seen before the period, on 2026-03-01" in str(now["missing"])
    then = control(collect("HIPAA 164.308(a)(3)(ii)(C) in march 2026", entries=entries), "164.308(a)(3)(ii)(C)")
    assert then["status"] == "evidenced"


def test_a_draft_policy_is_no_evidence() -> None:
    draft = PolicyFact(id="sop_1", title="Sanction policy", risk_tier="LOW", state="GENERATED", updated_at=NOW)
    report = control(collect("HIPAA 164.308(a)(1)(ii)(C)", policies=(draft,)), "164.308(a)(1)(ii)(C)")
    assert report["status"] == "missing"
    assert "not in force yet: sop_1" in str(report["missing"])
    in_force = PolicyFact(id="sop_1", title="Sanction policy", risk_tier="LOW", state="VALIDATED", updated_at=NOW)
    report = control(collect("HIPAA 164.308(a)(1)(ii)(C)", policies=(in_force,)), "164.308(a)(1)(ii)(C)")
    assert report["status"] == "evidenced"
    assert report["evidence"][0]["policy_ids"] == ["sop_1"]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (NOW - timedelta(days=2), "evidenced"),
        ((NOW - timedelta(days=2)).isoformat(), "evidenced"),
        (NOW - timedelta(days=60), "partial"),
        ("yesterday", "partial"),
        (None, "partial"),
    ],
)
def test_the_audit_chain_must_be_verified_lately(value: Fact, status: str) -> None:
    facts: dict[str, Fact] = {"audit_chain_verified_at": value, "checkpoint_size": 12}
    assert control(collect("HIPAA 164.312(c)(2)", facts=facts), "164.312(c)(2)")["status"] == status


@pytest.mark.parametrize(
    ("action", "speaks", "silent"),
    [
        ("agent_run", "governed_runs", "sign_ins"),
        ("agent_run_blocked", "data_loss_prevention", "access_removal"),
        ("api_key.rotated", "key_rotation", "access_removal"),
        ("ApiKeyRevoked", "access_removal", "key_rotation"),
        ("session.created", "sign_ins", "backup"),
        ("checkpoint.signed", "", "sign_ins"),
        ("sop.transitioned", "change_management", "sign_ins"),
    ],
)
def test_what_an_action_is_evidence_for(action: str, speaks: str, silent: str) -> None:
    signals = signals_of_action(action)
    assert not speaks or speaks in signals
    assert silent not in signals


def test_overview_names_counts_and_what_helps_most() -> None:
    response = collect("everything").response
    assert response.splitlines()[0].startswith(
        "Evidence for Acme, SOC 2, HIPAA Security Rule, ISO/IEC 27001:2022: 189 controls"
    )
    assert "What helps most" in response


ACTIONS = st.sampled_from(
    ["agent_run", "agent_run_blocked", "membership.removed", "sop.approved", "x", "", "Ünïcode.💥"]
)
TIMES = st.datetimes(timezones=st.just(UTC), min_value=NOW.replace(year=2025, tzinfo=None))
ENTRIES = st.lists(st.builds(entry, st.integers(0, 99), ACTIONS, TIMES), max_size=12)
FACTS = st.dictionaries(
    st.sampled_from(sorted(SETTING_NAMES)),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.datetimes()),
    max_size=8,
)


@given(st.text(max_size=200), ENTRIES, FACTS)
@settings(max_examples=100)
def test_every_citation_exists_and_every_gap_is_explained(
    message: str, entries: list[AuditFact], facts: dict[str, Fact]
) -> None:
    result = collect(message, entries=tuple(entries), facts=facts)
    ids = {item.audit_id for item in entries}
    for framework in result.structured["frameworks"]:
        for report in framework["controls"]:
            assert (report["status"] == "evidenced") == (not report["missing"])
            assert (report["status"] == "missing") <= (not report["evidence"])
            for item in report["evidence"]:
                assert set(item["audit_ids"]) <= ids
                assert {setting.split("=")[0] for setting in item["settings"]} <= facts.keys()
