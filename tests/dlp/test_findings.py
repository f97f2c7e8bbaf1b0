"""The rule of `x-dlp` and the choice between overlapping candidates."""

from __future__ import annotations

import pytest

from bailiwick.dlp import Category, Finding, is_blocking_phi
from bailiwick.dlp.findings import without_overlaps


def _finding(kind: str, offset: int = 0, length: int = 4, confidence: float = 0.9) -> Finding:
    category = Category.SECRET if kind.endswith("TOKEN") else Category.PII
    return Finding(kind, category, offset, length, confidence)


@pytest.mark.parametrize("kind", ["SSN", "MEDICAL_RECORD_NUMBER", "HEALTH_PLAN_ID", "DATE_OF_BIRTH"])
def test_identifier_of_a_patient_blocks_alone(kind: str) -> None:
    assert is_blocking_phi([_finding(kind)])


@pytest.mark.parametrize("who", ["PERSON_NAME", "PHONE_NUMBER", "EMAIL_ADDRESS", "STREET_ADDRESS"])
@pytest.mark.parametrize("health", ["DIAGNOSIS", "MEDICATION"])
def test_person_with_health_blocks_and_neither_alone(who: str, health: str) -> None:
    assert is_blocking_phi([_finding(who), _finding(health, 10)])
    assert not is_blocking_phi([_finding(who)])
    assert not is_blocking_phi([_finding(health)])


def test_other_findings_do_not_block() -> None:
    assert not is_blocking_phi([_finding("CREDIT_CARD"), _finding("DIAGNOSIS", 10), _finding("GITHUB_TOKEN", 20)])
    assert not is_blocking_phi([])


def test_strongest_of_overlapping_candidates_stays() -> None:
    weak, strong = _finding("PHONE_NUMBER", 0, 12, 0.8), _finding("SSN", 4, 11, 0.98)
    apart = _finding("PERSON_NAME", 15, 5, 0.6)
    assert without_overlaps([apart, strong, weak]) == [strong, apart]
    secret = _finding("GITHUB_TOKEN", 2, 40, 0.7)
    assert without_overlaps([strong, secret]) == [secret]
    assert without_overlaps([]) == []
