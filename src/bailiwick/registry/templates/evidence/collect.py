"""Collects evidence: for each control asked for, what is on record, cited, and what is missing."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bailiwick.registry.templates.periods import Period
from bailiwick.registry.templates.template import (
    Fact,
    PolicyFact,
    TemplateContext,
    TemplateInput,
    TemplateResult,
    result_of,
)

from .catalogue import FRAMEWORKS, SIGNALS, Condition, Control, Signal, meets, signals_of_action
from .request import EvidenceRequest, read_request

_IN_FORCE = frozenset({"validated", "active", "approved", "published", "enforced", "enforcing", "in_force"})
_SHOWN = 5
"""Citations printed for each control; `structured` holds `_KEPT`."""
_KEPT = 50


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one signal. `complete` when it is evidenced, `gaps` when not: (missing, how)."""

    signal: Signal
    audit: tuple[str, ...]
    audit_count: int
    policies: tuple[str, ...]
    settings: tuple[str, ...]
    complete: bool
    found_any: bool
    notes: tuple[str, ...]


def run(given: TemplateInput) -> TemplateResult:
    """Collect evidence for what `given.message` asks. Audit entries count when they lie in the period; policies and
    settings are taken as they stand at `context.now`."""
    request = read_request(given.message, given.context.now)
    findings = _findings(given.context, request.period)
    reports = {
        framework: [_report(control, findings) for control in controls]
        for framework, controls in request.controls.items()
    }
    return result_of(
        given,
        response=_response(given.context, request, reports),
        facts=_facts(request, reports),
        structured=_structured(request, reports),
    )


def _findings(context: TemplateContext, period: Period) -> dict[str, Finding]:
    entries: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    earlier: dict[str, datetime] = {}
    for entry in sorted(context.audit_entries, key=lambda entry: (entry.at, entry.sequence), reverse=True):
        for key in signals_of_action(entry.action):
            if entry.at in period:
                counts[key] = counts.get(key, 0) + 1
                if counts[key] <= _KEPT:
                    entries.setdefault(key, []).append(entry.audit_id)
            elif entry.at < period.start:
                earlier.setdefault(key, entry.at)
    return {
        key: _finding(signal, entries.get(key, []), counts.get(key, 0), earlier.get(key), context)
        for key, signal in SIGNALS.items()
    }


def _finding(
    signal: Signal, entries: list[str], count: int, earlier: datetime | None, context: TemplateContext
) -> Finding:
    in_force, drafts = _policies(signal, context.policies)
    settings_met, settings_notes = _settings(signal, context)
    kinds: list[bool] = []
    if signal.audit:
        kinds.append(count > 0)
    if signal.policies or signal.tiered_policies:
        kinds.append(bool(in_force))
    if signal.settings:
        kinds.append(len(settings_met) == len(signal.settings))
    notes = [*settings_notes]
    if drafts and not in_force:
        notes.append(f"not in force yet: {', '.join(f'{p.id} “{p.title}” ({p.state})' for p in drafts[:3])}")
    if signal.audit and not count and earlier is not None:
        notes.append(f"last seen before the period, on {earlier.astimezone(UTC):%Y-%m-%d}")
    return Finding(
        signal=signal,
        audit=tuple(entries),
        audit_count=count,
        policies=tuple(policy.id for policy in in_force[:_KEPT]),
        settings=tuple(settings_met),
        complete=any(kinds) if signal.any_kind else all(kinds),
        found_any=any(kinds) or bool(settings_met),
        notes=tuple(notes),
    )


def _policies(signal: Signal, policies: Iterable[PolicyFact]) -> tuple[list[PolicyFact], list[PolicyFact]]:
    about = [
        policy
        for policy in policies
        if meets(signal.policies, policy.title) or (signal.tiered_policies and policy.risk_tier)
    ]
    about.sort(key=lambda policy: policy.id)
    in_force = [policy for policy in about if policy.state.lower() in _IN_FORCE]
    return in_force, [policy for policy in about if policy.state.lower() not in _IN_FORCE]


def _settings(signal: Signal, context: TemplateContext) -> tuple[list[str], list[str]]:
    met: list[str] = []
    notes: list[str] = []
    for name, condition in signal.settings.items():
        if name not in context.settings:
            continue
        value = context.settings[name]
        if _holds(condition, value, context.now):
            met.append(f"{name}={_shown(value)}")
        else:
            notes.append(f"{name} is {_shown(value)}, {_wanted(condition)}")
    return met, notes


def _holds(condition: Condition, value: Fact, now: datetime) -> bool:
    if value is None:
        return False
    if condition.within_days is not None:
        moment = _moment(value)
        return moment is not None and moment >= now - timedelta(days=condition.within_days)
    if condition.is_true:
        return value is True
    if condition.known:
        return value is not False and value != ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (condition.at_least is None or value >= condition.at_least) and (
        condition.at_most is None or value <= condition.at_most
    )


def _moment(value: Fact) -> datetime | None:
    """A time, given as one or as RFC 3339 text; a time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _wanted(condition: Condition) -> str:
    if condition.within_days is not None:
        return f"wanted within {condition.within_days} days"
    if condition.at_least is not None:
        return f"wanted at least {condition.at_least:g}"
    if condition.at_most is not None:
        return f"wanted at most {condition.at_most:g}"
    return "wanted true" if condition.is_true else "wanted a value"


def _shown(value: Fact) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None:
        return "not configured"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _report(control: Control, findings: Mapping[str, Finding]) -> dict[str, Any]:
    own = [findings[key] for key in control.evidence]
    complete = [finding for finding in own if finding.complete]
    if len(complete) == len(own):
        status = "evidenced"
    elif any(finding.found_any for finding in own):
        status = "partial"
    else:
        status = "missing"
    return {
        "control": control.id,
        "title": control.title,
        "status": status,
        "evidence": [
            {
                "fact": finding.signal.title,
                "audit_ids": list(finding.audit),
                "audit_count": finding.audit_count,
                "policy_ids": list(finding.policies),
                "settings": list(finding.settings),
            }
            for finding in own
            if finding.found_any
        ],
        "missing": [
            {
                "fact": finding.signal.title,
                "what": finding.signal.missing,
                "how": finding.signal.how,
                "notes": list(finding.notes),
            }
            for finding in own
            if not finding.complete
        ],
    }


Reports = Mapping[str, list[dict[str, Any]]]


def _tally(reports: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    tally = {"evidenced": 0, "partial": 0, "missing": 0}
    for report in reports:
        tally[report["status"]] += 1
    return tally


def _counts(tally: Mapping[str, int]) -> str:
    return f"{tally['evidenced']} evidenced, {tally['partial']} partial, {tally['missing']} missing"


def _citations(report: Mapping[str, Any], shown: int) -> list[str]:
    lines = []
    for item in report["evidence"]:
        cited = [f"[{audit_id}]" for audit_id in item["audit_ids"][:shown]]
        if item["audit_count"] > shown:
            cited.append(f"and {item['audit_count'] - shown} more entries")
        cited += [f"[policy {policy}]" for policy in item["policy_ids"][:shown]]
        cited += [f"[setting {setting}]" for setting in item["settings"]]
        lines.append(f"{item['fact']}: {' '.join(cited)}")
    return lines


def _response(context: TemplateContext, request: EvidenceRequest, reports: Reports) -> str:
    everything = [report for rows in reports.values() for report in rows]
    names = ", ".join(FRAMEWORKS[key].name for key in reports)
    lines = [
        f"Evidence for {context.organization_name}, {names}: {len(everything)} controls, "
        f"{_counts(_tally(everything))}.",
        f"Period: {request.period.text()}. Audit entries read: {_read(context)}; policies: "
        f"{len(context.policies)}; settings: {len(context.settings)}.",
    ]
    if request.unknown:
        lines.append(f"No such control in the catalogue: {', '.join(request.unknown)}.")
    for key, rows in reports.items():
        lines.append(f"\n{FRAMEWORKS[key].name} ({_counts(_tally(rows))})")
        for report in rows:
            lines.extend(_brief(report) if request.everything else _detail(report))
    if request.everything:
        lines.append(_most_wanted(everything))
        lines.append(
            "\nName a framework or control (for example “SOC 2 CC6.1 last quarter”) for citations and gaps in full."
        )
    return "\n".join(lines)


def _read(context: TemplateContext) -> str:
    """How many entries, and how far back they go."""
    oldest = min((entry.at for entry in context.audit_entries), default=None)
    return f"{len(context.audit_entries)}{f' back to {oldest.astimezone(UTC):%Y-%m-%d}' if oldest else ''}"


def _brief(report: Mapping[str, Any]) -> list[str]:
    cited = [cite for line in _citations(report, 1) for cite in line.split(": ", 1)[1:]]
    return [f"- {report['control']} {report['title']}: {report['status']}{' ' + ' '.join(cited[:2]) if cited else ''}"]


def _detail(report: Mapping[str, Any]) -> list[str]:
    lines = [f"- {report['control']} {report['title']}: {report['status']}"]
    lines += [f"    evidence — {line}" for line in _citations(report, _SHOWN)]
    for gap in report["missing"]:
        notes = f" ({'; '.join(gap['notes'])})" if gap["notes"] else ""
        lines.append(f"    missing — {gap['what']}{notes}. To get it: {gap['how']}.")
    return lines


def _most_wanted(everything: Iterable[Mapping[str, Any]]) -> str:
    """The gaps that keep most controls from being evidenced: what to do first."""
    wanted: dict[str, tuple[int, str]] = {}
    for report in everything:
        for gap in report["missing"]:
            count, _ = wanted.get(gap["fact"], (0, ""))
            wanted[gap["fact"]] = (count + 1, gap["how"])
    ranked = sorted(wanted.items(), key=lambda item: (-item[1][0], item[0]))[:5]
    if not ranked:
        return "\nNothing is missing."
    return "\nWhat helps most\n" + "\n".join(
        f"{number}. {fact} ({count} controls): {how}." for number, (fact, (count, how)) in enumerate(ranked, 1)
    )


def _facts(request: EvidenceRequest, reports: Reports) -> str:
    lines = [f"period={request.period.text()}"]
    for key, rows in reports.items():
        lines.append(f"{FRAMEWORKS[key].name}: {_counts(_tally(rows))}")
        for report in rows:
            gaps = "; ".join(gap["what"] for gap in report["missing"])
            line = f"{report['control']}={report['status']} {' | '.join(_citations(report, 3))}"
            lines.append(f"{line} missing: {gaps}" if gaps else line)
    return "\n".join(lines)


def _structured(request: EvidenceRequest, reports: Reports) -> dict[str, Any]:
    return {
        "period": {"start": request.period.start.isoformat(), "end": request.period.end.isoformat()},
        "unknown_controls": list(request.unknown),
        "summary": _tally(report for rows in reports.values() for report in rows),
        "frameworks": [
            {"key": key, "name": FRAMEWORKS[key].name, "summary": _tally(rows), "controls": rows}
            for key, rows in reports.items()
        ],
    }
