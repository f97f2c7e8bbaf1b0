"""What a scan finds: type, place and confidence, and never the value itself."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Category(StrEnum):
    """The kind of data a finding is of; a mask names it."""

    SECRET = "SECRET"
    PII = "PII"
    PHI = "PHI"


class Finding(msgspec.Struct, frozen=True):
    """One place of sensitive data in a text.

    `offset` and `length` count Unicode code points of the text as it was sent; `confidence` lies in 0..1.
    `type` is a name of the contract (`PolicyFlag` in hosted-agents.yaml) or, for what it does not name, one of ours.
    """

    type: str
    category: Category
    offset: int
    length: int
    confidence: float

    @property
    def end(self) -> int:
        """The offset behind the last code point."""
        return self.offset + self.length


_BLOCKS_ALONE = frozenset({"SSN", "MEDICAL_RECORD_NUMBER", "HEALTH_PLAN_ID", "DATE_OF_BIRTH"})
_TELLS_WHO = frozenset({"PERSON_NAME", "PHONE_NUMBER", "EMAIL_ADDRESS", "STREET_ADDRESS"})
_TELLS_HEALTH = frozenset({"DIAGNOSIS", "MEDICATION"})


def is_blocking_phi(findings: Iterable[Finding]) -> bool:
    """Whether these findings of one text are PHI that may not reach a model (`x-dlp` in hosted-agents.yaml)."""
    types = {finding.type for finding in findings}
    if types & _BLOCKS_ALONE:
        return True
    return bool(types & _TELLS_WHO) and bool(types & _TELLS_HEALTH)


def without_overlaps(candidates: list[Finding]) -> list[Finding]:
    """Candidates sorted by offset; where two overlap the stronger stays: a secret, then confidence, then length."""
    candidates.sort(key=_place)
    kept: list[Finding] = []
    for candidate in candidates:
        if kept and candidate.offset < kept[-1].offset + kept[-1].length:
            if _strength(candidate) <= _strength(kept[-1]):
                continue
            # The weaker one before is dropped; what stands before it ended where it began, so one step back is enough.
            kept[-1] = candidate
        else:
            kept.append(candidate)
    return kept


def _place(finding: Finding) -> tuple[int, int]:
    return finding.offset, -finding.length


def _strength(finding: Finding) -> tuple[bool, float, int]:
    return finding.category is Category.SECRET, finding.confidence, finding.length
