"""The plans (contract hosted-agents.yaml, x-plans): what each includes in one billing period."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

MICROS_PER_USD = 1_000_000

_TRIAGE = "helpdesk-tier1-triage"
_EVIDENCE = "compliance-evidence-collector"


class Plan(StrEnum):
    """The plans, smallest first. Nobody provisions `free`: it is what remains after a subscription."""

    FREE = "free"
    PILOT = "pilot"
    STARTER = "starter"
    PRO = "pro"
    ENTERPRISE = "enterprise"


class PlanTerms(msgspec.Struct, frozen=True):
    """Runs and money (micro-dollars) of one period. `agents_included` is information: no run is refused by it."""

    run_limit: int
    budget_micros: int
    agents_included: tuple[str, ...]
    baa_available: bool = False


PLANS: Mapping[Plan, PlanTerms] = MappingProxyType(
    {
        Plan.FREE: PlanTerms(25, 1 * MICROS_PER_USD, (_TRIAGE,)),
        Plan.PILOT: PlanTerms(100, 10 * MICROS_PER_USD, (_TRIAGE,)),
        Plan.STARTER: PlanTerms(250, 25 * MICROS_PER_USD, (_TRIAGE,)),
        Plan.PRO: PlanTerms(1_000, 50 * MICROS_PER_USD, (_TRIAGE, _EVIDENCE)),
        Plan.ENTERPRISE: PlanTerms(
            10_000,
            500 * MICROS_PER_USD,
            ("coleman-clinical-docs", _TRIAGE, _EVIDENCE, "audit-trail-narrator"),
            baa_available=True,
        ),
    }
)


def plan_named(name: object) -> Plan | None:
    """The plan of this name; None when there is none, or `name` is no text."""
    try:
        return Plan(name) if isinstance(name, str) else None
    except ValueError:
        return None
