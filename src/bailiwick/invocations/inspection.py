"""Inspection: what data-loss prevention makes of the texts of an invocation. Reads no database; fails closed."""

from __future__ import annotations

from collections.abc import Sequence

from bailiwick import dlp
from bailiwick.dlp import Category
from bailiwick.invocations.requests import Decision, FieldFinding, InspectedText, Inspection


def inspect(texts: Sequence[InspectedText]) -> Inspection:
    """Scans every text. PHI (hosted-agents.yaml `x-dlp`) is KILL; secrets go on masked (HIJACK); the rest is flagged
    (ENHANCE) and goes on as it is. Raises DlpUnavailable when the engine does not work: nothing passes uninspected.
    """
    found: list[FieldFinding] = []
    onward: list[str] = []
    masked = False
    for inspected in texts:
        findings = dlp.scan(inspected.text)
        secrets = [finding for finding in findings if finding.category is Category.SECRET]
        onward.append(dlp.mask(inspected.text, secrets) if secrets else inspected.text)
        masked = masked or bool(secrets)
        found.extend(FieldFinding(finding, inspected.field) for finding in findings)
    if not found:
        return Inspection(Decision.BYPASS, (), onward)
    if dlp.is_blocking_phi([item.finding for item in found]):
        return Inspection(Decision.KILL, found, onward)
    return Inspection(Decision.HIJACK if masked else Decision.ENHANCE, found, onward)
