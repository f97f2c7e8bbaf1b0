"""Batches of admissions and settlements, made by hand: what the pipeline writes, without targets to call."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from uuid import UUID

from bailiwick.identity import Caller, Credential
from bailiwick.invocations.lanes import Lane
from bailiwick.invocations.records import record
from bailiwick.invocations.requests import Admission, Charge, Decision, Inspection, Settlement, Status, Usage
from bailiwick.kernel.database import Database
from bailiwick.kernel.ids import uuid7

LEASE_SECONDS = 300


@functools.cache
def _caller(organization_id: UUID) -> Caller:
    return Caller(
        credential=Credential.ACCESS_TOKEN,
        organization_id=organization_id,
        organization_name=None,
        subject="usr_00000000000000000000000000",
    )


@functools.cache
def _charge(account_id: UUID, sink_id: UUID, budget_ids: tuple[UUID, ...]) -> Charge:
    return Charge(
        organization_version=1,
        virtual_key_id=None,
        account_id=account_id,
        sink_account_id=sink_id,
        budget_ids=budget_ids,
    )


def an_admission(
    organization_id: UUID,
    account_id: UUID,
    sink_id: UUID,
    amount: int,
    budget_ids: Sequence[UUID] = (),
    *,
    tokens: int = 0,
) -> Admission:
    """One item to admit: a hosted run that may cost `amount`. As in a process, what pays for several is one object."""
    return Admission(
        id=uuid7(),
        caller=_caller(organization_id),
        organization_id=organization_id,
        charge=_charge(account_id, sink_id, tuple(budget_ids)),
        amount_micros=amount,
        tokens=tokens,
        kind="agent_run",
        target_kind="template",
        target_name="helpdesk-tier1-triage",
    )


def a_settlement(admitted: Admission, status: Status, cost: int, *, tokens: int = 0) -> Settlement:
    """The item that settles an admitted one."""
    return record(
        call_kind="agent_run",
        admission=admitted,
        main_text="in",
        inspection=Inspection(Decision.BYPASS, [], []),
        usage=Usage(model="stub", input_tokens=tokens, cost_micros=cost),
        output_hash=None,
        status=status,
        error_code=None,
        latency_ms=1,
    ).settlement


def a_lane(database: Database, *, lease_seconds: int = LEASE_SECONDS) -> Lane:
    """A lane as the pipeline has it."""
    return Lane(database, lease_seconds=lease_seconds)
