"""The sweeper: gives back holds whose lease ran out, because their process died, and marks their invocations lost."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from bailiwick import audit
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

_EXPIRE = text("select organization_id, hold_id, kind, reference from ledger_expire_holds(:most)")
_MARK = text(
    "update invocations v set status = 'lost', decision = 'KILL', error_code = 'LEASE_EXPIRED', audit_id = i.audit_id,"
    " finished_at = clock_timestamp()"
    " from unnest(cast(:organization_ids as uuid[]), cast(:ids as uuid[]), cast(:audit_ids as uuid[]))"
    " as i (organization_id, id, audit_id)"
    " where v.organization_id = i.organization_id and v.id = i.id and v.status = 'started'"
    " returning v.organization_id, v.id"
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
                    subject=(
                        ids.encode(ids.Prefix.TRACE, UUID(row.reference))
                        if row.kind == "invocation"
                        else ids.encode(ids.Prefix.HOLD, row.hold_id)
                    ),
                    attributes={"hold": ids.encode(ids.Prefix.HOLD, row.hold_id)},
                    created_at=rfc3339(now()),
                ),
            )
            for row in expired
        ]
        lost = [(row, entry) for row, entry in zip(expired, entries, strict=True) if row.kind == "invocation"]
        if lost:
            marked = await session.execute(
                _MARK,
                {
                    "organization_ids": [row.organization_id for row, _ in lost],
                    "ids": [UUID(row.reference) for row, _ in lost],
                    "audit_ids": [entry.id for _, entry in lost],
                },
            )
            ended = marked.all()
            await session.execute(
                _COUNT,
                {"organization_ids": [row.organization_id for row in ended], "ids": [row.id for row in ended]},
            )
        if entries:
            await audit.append_all(session, entries)
    return len(expired)
