"""Leases: while its process lives, an invocation's hold is not swept, however long its answer takes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from bailiwick.invocations.requests import Admission
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

_RENEW = text(
    "update holds h set lease_expires_at = clock_timestamp() + make_interval(secs => :seconds)"
    " from unnest(cast(:organization_ids as uuid[]), cast(:ids as uuid[])) as i (organization_id, id)"
    " where h.organization_id = i.organization_id and h.id = i.id and h.closed_at is null"
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
