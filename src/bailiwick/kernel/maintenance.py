"""Upkeep of the database: partitions ahead of time, and rows that have had their use."""

from __future__ import annotations

from sqlalchemy import text

from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

_KEPT = (("rate_windows", "window_start < now() - interval '1 hour'"),)


async def maintain() -> None:
    """Makes the partitions of the coming months and removes what has expired. Safe to run anywhere, any time."""
    async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
        await session.execute(text("select bailiwick_ensure_partitions()"))
    for table, expired in _KEPT:
        async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
            await session.execute(text(f"delete from {table} where {expired}"))  # noqa: S608 - constants above
