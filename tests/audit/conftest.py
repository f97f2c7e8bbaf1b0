"""Entries in a real database."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bailiwick import audit
from bailiwick.audit.entries import activity_body, run_body
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.ids import uuid7


def pending(organization_id: UUID, chain: str = "runs") -> audit.Pending:
    """An entry that waits to be appended."""
    entry_id = uuid7()
    if chain == "activity":
        body = activity_body(entry_id, action="hold.expired", actor="system", subject="hold_1")
        return audit.Pending(organization_id, entry_id, "activity", body)
    public_id = ids.encode(ids.Prefix.AUDIT_ENTRY, entry_id)
    return audit.Pending(organization_id, entry_id, "runs", run_body({"id": public_id, "agent_id": "größe 😀"}))


async def append_many(organization_id: UUID, count: int) -> Sequence[audit.Pending]:
    """Appends `count` entries, every third to the activity chain."""
    entries = [pending(organization_id, "activity" if number % 3 == 1 else "runs") for number in range(count)]
    if entries:
        async with system_transaction(CrossTenantUse.SWEEP) as session:
            await audit.append_all(session, entries)
    return entries
