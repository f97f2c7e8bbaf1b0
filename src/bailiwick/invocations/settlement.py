"""Settlement: money, row, audit entry and event of an invocation, batched."""

from __future__ import annotations

from collections.abc import Sequence

from bailiwick.invocations.errors import HoldExpired
from bailiwick.invocations.requests import Settlement
from bailiwick.invocations.statements import Statement

TOPIC = "invocation.settled"


def _fields(item: Settlement) -> tuple[object, ...]:
    """One item: the arguments of `invocations_settle_one`, and a row of the SQL type `invocation_settlement`."""
    admission, usage = item.admission, item.usage
    return (
        admission.organization_id,
        admission.id,
        item.status,
        item.decision,
        item.error_code,
        usage.provider,
        usage.model,
        usage.input_tokens,
        usage.output_tokens,
        usage.cost_micros,
        item.latency_ms,
        usage.first_token_ms,
        item.findings,
        item.input_hash,
        item.output_hash,
        item.audit_id,
        item.audit_chain,
        item.audit_body,
        item.audit_action,
        item.audit_actor,
        item.event_payload,
        item.run_agent,
        admission.requested_model,
        usage.cached_tokens,
        usage.reasoning_tokens,
        usage.cache_hit,
        usage.cache_savings_micros,
        usage.raw_cost_micros,
        item.decision_id,
        admission.context,
    )


def call(statement: Statement, items: Sequence[Settlement]) -> str:
    """The call that settles a batch; `answer` reads each element of the array that it answers."""
    if len(items) == 1:  # two one by one would lock the second's hold, for which a sweep may wait, after the accounts
        return statement.array([statement.call("invocations_settle_one", *_fields(items[0]), TOPIC)])
    return statement.call("invocations_settle", [_fields(item) for item in items], TOPIC)


def answer(outcome: str) -> Exception | None:
    """HoldExpired for an item whose hold was given back before."""
    return HoldExpired() if outcome == "expired" else None
