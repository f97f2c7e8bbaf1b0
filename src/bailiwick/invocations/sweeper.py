"""The sweeper: gives back holds whose lease ran out, because their process died; their invocations are lost."""

from __future__ import annotations

from sqlalchemy import text

from bailiwick import audit
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

_EXPIRE = text("select organization_id, hold_id, kind from ledger_expire_holds(:most)")
_LOSE = text(
    "insert into invocations (organization_id, id, hold_id, kind, target_kind, target_name, subject, membership_id,"
    " virtual_key_id, session_name, status, decision, error_code, audit_id, finished_at)"
    " select h.organization_id, h.id, h.id, d.kind, d.target_kind, d.target_name, d.subject, d.membership_id,"
    "  d.virtual_key_id, d.session_name, 'lost', 'KILL', 'LEASE_EXPIRED', i.audit_id, clock_timestamp()"
    " from unnest(cast(:organization_ids as uuid[]), cast(:ids as uuid[]), cast(:audit_ids as uuid[]))"
    "  as i (organization_id, id, audit_id)"
    " join holds h on h.organization_id = i.organization_id and h.id = i.id and h.details is not null"
    " cross join lateral invocations_of_details(h.details) as d"
)
_COUNT = text("select invocations_count_traces(cast(:organization_ids as uuid[]), cast(:ids as uuid[]))")


async def sweep(most: int = 500) -> int:
    """Sweeps up to `most` holds in one transaction and returns how many; several sweepers share the work."""
    async with system_transaction(CrossTenantUse.SWEEP) as session:
        expired = (await session.execute(_EXPIRE, {"most": most})).all()
        entries = [
            audit.Pending(
                row.organization_id,
                entry_id := ids.uuid7(),
                "activity",
                audit.activity_body(
                    entry_id,
                    action="invocation.lost" if row.kind == "invocation" else "hold.expired",
                    actor="system",
                    subject=ids.encode(ids.Prefix.TRACE if row.kind == "invocation" else ids.Prefix.HOLD, row.hold_id),
                    attributes={"hold": ids.encode(ids.Prefix.HOLD, row.hold_id)},
                    created_at=rfc3339(now()),
                ),
            )
            for row in expired
        ]
        lost = [(row, entry) for row, entry in zip(expired, entries, strict=True) if row.kind == "invocation"]
        if lost:
            places = {
                "organization_ids": [row.organization_id for row, _ in lost],
                "ids": [row.hold_id for row, _ in lost],
            }
            await session.execute(_LOSE, {**places, "audit_ids": [entry.id for _, entry in lost]})
            await session.execute(_COUNT, places)
        if entries:
            await audit.append_all(session, entries)
    return len(expired)
