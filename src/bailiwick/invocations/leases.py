"""Leases: while its process lives, an invocation's hold is not swept, however long its answer takes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from bailiwick.invocations.requests import Admission
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

# Those that are being closed at this moment are passed over: a batch of settlements locks its holds in its own order.
_RENEW = text(
    "with standing as ("
    "  select h.organization_id, h.id"
    "   from unnest(cast(:organization_ids as uuid[]), cast(:ids as uuid[])) as i (organization_id, id)"
    "   join holds h on h.organization_id = i.organization_id and h.id = i.id"
    "  where h.closed_at is null for no key update of h skip locked)"
    " update holds h set lease_expires_at = clock_timestamp() + make_interval(secs => :seconds)"
    " from standing s where h.organization_id = s.organization_id and h.id = s.id"
)


async def renew_leases(admissions: Sequence[Admission], *, lease_seconds: int) -> None:
    """Lets the open holds of these invocations stand for another `lease_seconds` from now."""
    async with system_transaction(CrossTenantUse.LEASES) as session:
        await session.execute(
            _RENEW,
            {
                "seconds": lease_seconds,
                "organization_ids": [one.organization_id for one in admissions],
                "ids": [one.id for one in admissions],
            },
        )
