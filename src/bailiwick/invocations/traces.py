"""Traces: what is shown of every invocation, of whatever kind and however it ended. Read-only, metadata only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, BigInteger, Integer, Text, Uuid, bindparam, column, func, select, true
from sqlalchemy.orm import aliased

from bailiwick.invocations.errors import TraceNotFound
from bailiwick.invocations.requests import Decision
from bailiwick.invocations.tables import Invocation
from bailiwick.kernel import ids
from bailiwick.kernel.database import tenant_transaction


class TraceStatus(StrEnum):
    """How far an invocation is, or how it ended."""

    STARTED = "started"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its process died."""
    REFUSED = "refused"
    """It was not admitted: no budget, or a kill switch."""


class TracePage(msgspec.Struct, frozen=True):
    """One page of traces, newest first, and how many match in all."""

    traces: Sequence[Invocation]
    total: int


class Utility(msgspec.Struct, frozen=True):
    """What a call was good for: `classification` USEFUL, WASTED or None (ambiguous); `confidence` 0-1."""

    classification: str | None
    confidence: float
    waste: str


_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_COLUMNS = tuple(column(of_table.name, of_table.type) for of_table in Invocation.__table__.columns)
_FOUND = aliased(
    Invocation,
    func.invocations_found(bindparam("organization_id", type_=Uuid), bindparam("wanted", type_=ARRAY(Uuid)))
    .table_valued(*_COLUMNS)
    .alias("found"),
    adapt_on_names=True,
)
# One statement, hence one snapshot: what is listed is what was counted, and as it was filtered.
_COUNTED = (
    func.invocations_trace_page(
        bindparam("organization_id", type_=Uuid),
        bindparam("from_ms", type_=BigInteger),
        bindparam("until_ms", type_=BigInteger),
        bindparam("decision", type_=Text),
        bindparam("model", type_=Text),
        bindparam("status", type_=Text),
        bindparam("virtual_key_id", type_=Uuid),
        bindparam("session_name", type_=Text),
        bindparam("skipped", type_=BigInteger),
        bindparam("at_most", type_=Integer),
    )
    .table_valued(column("total", BigInteger), column("ids", ARRAY(Uuid)))
    .alias("page")
)
_LISTED = aliased(
    Invocation,
    func.invocations_found(bindparam("organization_id", type_=Uuid), _COUNTED.c.ids)
    .table_valued(*_COLUMNS)
    .lateral("listed"),
    adapt_on_names=True,
)
_PAGE = select(_COUNTED.c.total, _LISTED).select_from(_COUNTED).outerjoin(_LISTED, true()).order_by(_LISTED.id.desc())
# Rules of governance-semantics.md section 6. A model counts as dear from what the call itself cost: 4 USD for a
# million tokens, in and out together, is more than any economy model asks.
_DEAR_MICROS_PER_TOKEN = 4
_SMALL_INPUT, _SMALL_OUTPUT = 500, 200


async def list_traces(
    organization_id: UUID,
    *,
    limit: int,
    offset: int,
    since: datetime | None = None,
    until: datetime | None = None,
    decision: Decision | None = None,
    model: str | None = None,
    status: TraceStatus | None = None,
    virtual_key_id: str | None = None,
    session_name: str | None = None,
) -> TracePage:
    """The traces that match all that is given. A trace's time is that of its admission, to the millisecond.

    `since` is exclusive, `until` inclusive; `model` is the requested or the routed one; an invocation under way counts
    as BYPASS; a `virtual_key_id` (public) that is none matches nothing.
    """
    key = None if virtual_key_id is None else ids.decode(ids.Prefix.VIRTUAL_KEY, virtual_key_id)
    if virtual_key_id is not None and key is None:
        return TracePage((), 0)
    parameters = {
        "organization_id": organization_id,
        "from_ms": 0 if since is None else _after(since),
        "until_ms": _LAST if until is None else _after(until),
        "decision": None if decision is None else decision.value,
        "model": model,
        "status": None if status is None else status.value,
        "virtual_key_id": key,
        "session_name": session_name,
        "skipped": offset,
        "at_most": limit,
    }
    async with tenant_transaction(organization_id) as session:
        rows = (await session.execute(_PAGE, parameters)).all()
    return TracePage([trace for _, trace in rows if trace is not None], rows[0].total)


def _after(moment: datetime) -> int:
    """The millisecond (of the Unix epoch) after that of `moment`, which is in UTC unless it says otherwise."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return min(max((aware - _EPOCH) // _MILLISECOND + 1, 0), _LAST)


async def get_trace(organization_id: UUID, trace_id: str) -> Invocation:
    """One trace by its public id. Raises TraceNotFound, also for another organisation's."""
    identifier = ids.decode(ids.Prefix.TRACE, trace_id)
    if identifier is None:
        raise TraceNotFound
    async with tenant_transaction(organization_id) as session:
        found: Invocation | None = await session.scalar(
            select(_FOUND), {"organization_id": organization_id, "wanted": [identifier]}
        )
    if found is None:
        raise TraceNotFound
    return found


def requested_model(trace: Invocation) -> str:
    """What the caller asked for: a model, or the agent."""
    return trace.requested_model or trace.target_name


def raw_cost_micros(trace: Invocation) -> int:
    """What the call would have cost without savings."""
    saved = trace.cost_micros + (trace.cache_savings_micros or 0)
    return saved if trace.raw_cost_micros is None else trace.raw_cost_micros


def utility(trace: Invocation) -> Utility:
    """What an ended call was good for, by the rules of governance-semantics.md section 6 that its row can answer.

    A call that is under way, failed or was cancelled is ambiguous: it answered nothing, and nobody stopped it.
    """
    tokens = trace.input_tokens + trace.output_tokens
    if trace.decision == Decision.KILL:
        return Utility("WASTED", 1.0, "TOKEN_WASTE" if tokens else "NONE")
    if trace.status != TraceStatus.COMPLETED:
        return Utility(None, 0.5, "NONE")
    is_small = trace.input_tokens < _SMALL_INPUT and trace.output_tokens < _SMALL_OUTPUT
    if trace.target_kind == "model" and is_small and raw_cost_micros(trace) >= _DEAR_MICROS_PER_TOKEN * tokens > 0:
        return Utility(None, 0.6, "MODEL_MISMATCH")
    return Utility("USEFUL", 0.9, "NONE")
