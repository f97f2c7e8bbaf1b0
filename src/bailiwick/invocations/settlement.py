"""Settlement: money, row, audit entry and event of an invocation, in one batched statement."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from bailiwick.invocations.errors import HoldExpired
from bailiwick.invocations.requests import Settlement
from bailiwick.kernel.ids import uuid7

_SQL = (
    "select invocations_settle($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],"
    " $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::integer[], $14::integer[],"
    " $15::text[], $16::text[], $17::text[], $18::uuid[], $19::text[], $20::text[], $21::uuid[], $22::text[],"
    " $23::text[], $24::text[], $25::text[], $26::bigint[], $27::bigint[], $28::boolean[], $29::bigint[],"
    " $30::bigint[], $31::uuid[], $32::text[])"
)
TOPIC = "invocation.settled"


async def settle(connection: asyncpg.Connection[asyncpg.Record], items: Sequence[Settlement]) -> list[Exception | None]:
    """Settles a batch; what returns is on disk. HoldExpired for an item whose hold was given back before."""
    outcomes: list[str] = await connection.fetchval(
        _SQL,
        [item.admission.organization_id for item in items],
        [item.admission.id for item in items],
        [item.admission.hold_id for item in items],
        [uuid7() for _ in items],
        [item.status.value for item in items],
        [item.decision.value for item in items],
        [item.error_code for item in items],
        [item.usage.provider for item in items],
        [item.usage.model for item in items],
        [item.usage.input_tokens for item in items],
        [item.usage.output_tokens for item in items],
        [item.usage.cost_micros for item in items],
        [item.latency_ms for item in items],
        [item.usage.first_token_ms for item in items],
        [item.findings for item in items],
        [item.input_hash for item in items],
        [item.output_hash for item in items],
        [item.audit_id for item in items],
        [item.audit_chain for item in items],
        [item.audit_body for item in items],
        [uuid7() for _ in items],
        [TOPIC] * len(items),
        [item.event_payload for item in items],
        [item.run_agent for item in items],
        [item.admission.requested_model for item in items],
        [item.usage.cached_tokens for item in items],
        [item.usage.reasoning_tokens for item in items],
        [item.usage.cache_hit for item in items],
        [item.usage.cache_savings_micros for item in items],
        [item.usage.raw_cost_micros for item in items],
        [item.decision_id for item in items],
        [item.context for item in items],
    )
    return [HoldExpired() if outcome == "expired" else None for outcome in outcomes]
