"""Inspection: what data-loss prevention makes of the texts of an invocation. Reads no database; fails closed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bailiwick import dlp
from bailiwick.dlp import Category, Finding, StreamMasker
from bailiwick.invocations.errors import DlpPolicyViolation, DlpWithheld, InvocationBlocked, OutputBlocked
from bailiwick.invocations.requests import Decision, FieldFinding, InspectedText, Inspection

_MASKED_CATEGORIES = frozenset({Category.SECRET})


class InspectionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of findings: masked (HIJACK), blocked (KILL), or flagged (ENHANCE). Secrets are always masked, what
    identifies a patient (`dlp.is_blocking_phi`) and is not masked is always blocked.
    """

    masked_types: frozenset[str] = frozenset()
    """Types of finding that are masked besides secrets."""
    blocked_types: frozenset[str] = frozenset()
    """Types of finding that are blocked, wherever they stand."""
    input_error: type[InvocationBlocked]
    output_error: type[OutputBlocked]

    def masks(self, finding: Finding) -> bool:
        """Whether a finding goes on masked."""
        return finding.category in _MASKED_CATEGORIES or finding.type in self.masked_types

    def decide(self, findings: Sequence[Finding]) -> Decision:
        """The decision on everything that was found in one direction."""
        if not findings:
            return Decision.BYPASS
        if any(finding.type in self.blocked_types for finding in findings):
            return Decision.KILL
        left = [finding for finding in findings if not self.masks(finding)]
        if dlp.is_blocking_phi(left):
            return Decision.KILL
        return Decision.HIJACK if len(left) < len(findings) else Decision.ENHANCE


HOSTED = InspectionPolicy(input_error=InvocationBlocked, output_error=OutputBlocked)
"""Of hosted agents (hosted-agents.yaml `x-dlp`)."""

GATEWAY = InspectionPolicy(
    masked_types=frozenset(
        {"SSN", "CREDIT_CARD", "IBAN", "PASSPORT_NUMBER", "HEALTH_PLAN_ID", "MEDICAL_RECORD_NUMBER"}
    ),
    blocked_types=frozenset({"PRIVATE_KEY", "ANTHROPIC_API_KEY"}),
    input_error=DlpPolicyViolation,
    output_error=DlpWithheld,
)
"""Of the model gateway (governance-semantics.md section 4; docs/decisions/0011)."""


def inspect(texts: Sequence[InspectedText], policy: InspectionPolicy = HOSTED) -> Inspection:
    """Scans every text. Raises DlpUnavailable when the engine does not work: nothing passes uninspected."""
    found: list[FieldFinding] = []
    onward: list[str] = []
    for inspected in texts:
        findings, text = _inspected(inspected, policy)
        onward.append(text)
        if findings:
            found.extend(FieldFinding(finding, inspected.field) for finding in findings)
    if not found:
        return Inspection(Decision.BYPASS, (), onward)
    return Inspection(policy.decide([item.finding for item in found]), found, onward)


def _inspected(inspected: InspectedText, policy: InspectionPolicy) -> tuple[list[Finding], str]:
    """What was found in one text, and the text as it may go on."""
    text = inspected.text
    findings = _scan_labelled(inspected) if inspected.label else dlp.scan(text)
    if not findings or inspected.is_read_only:
        return findings, text
    masked = [finding for finding in findings if policy.masks(finding)]
    return findings, dlp.mask(text, masked) if masked else text


def _scan_labelled(inspected: InspectedText) -> list[Finding]:
    """Scans a text with its label before it; offsets are the text's own."""
    lead = len(inspected.label) + 2
    findings = []
    for finding in dlp.scan(f"{inspected.label}: {inspected.text}"):
        start, end = max(0, finding.offset - lead), finding.end - lead
        if end > start:
            findings.append(Finding(finding.type, finding.category, start, end - start, finding.confidence))
    return findings


class StreamInspection:
    """Inspects the texts of one stream as they come. Raises the policy's `output_error` before anything goes out that
    belongs to what it blocks."""

    def __init__(self, policy: InspectionPolicy) -> None:
        self.decision = Decision.BYPASS
        """On everything that was found so far."""
        self._policy = policy
        self._found: dict[str, Finding] = {}  # one for each type: what is decided depends on nothing else

    def masker(self, _field: str) -> CheckingMasker:
        """What masks one more text that comes in pieces."""
        return CheckingMasker(self, StreamMasker(_MASKED_CATEGORIES, self._policy.masked_types))

    def whole(self, inspected: InspectedText) -> str:
        """A text that comes whole, masked."""
        findings, text = _inspected(inspected, self._policy)
        self.note(findings)
        return text

    def note(self, findings: Sequence[Finding]) -> None:
        """Decides anew when something of another type was found. Raises OutputBlocked."""
        new = [finding for finding in findings if finding.type not in self._found]
        if not new:
            return
        self._found |= {finding.type: finding for finding in new}
        self.decision = self._policy.decide(list(self._found.values()))
        if self.decision is Decision.KILL:
            raise self._policy.output_error


class CheckingMasker:
    """Masks one text of a stream, and tells its inspection what was found before it gives anything out."""

    def __init__(self, inspection: StreamInspection, masker: StreamMasker) -> None:
        self._inspection = inspection
        self._masker = masker
        self._seen = 0

    def feed(self, chunk: str) -> str:
        """Takes the next piece; answers what may go out now. Raises OutputBlocked and DlpUnavailable."""
        return self._checked(self._masker.feed(chunk))

    def flush(self) -> str:
        """The rest. Raises as `feed`."""
        return self._checked(self._masker.flush())

    def _checked(self, masked: str) -> str:
        findings = self._masker.findings
        if len(findings) != self._seen:
            self._inspection.note(findings[self._seen :])
            self._seen = len(findings)
        return masked
