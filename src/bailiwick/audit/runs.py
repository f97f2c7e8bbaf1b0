"""The runs of a log, page by page."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.audit.entries import Entry
from bailiwick.audit.log import COLUMNS, as_entry, in_chain
from bailiwick.audit.tables import AuditEntry


async def page_of_runs(
    session: AsyncSession, organization_id: UUID, *, agent_id: str | None, offset: int, limit: int
) -> list[Entry]:
    """Entries of the runs chain, newest first, of one agent or of all.

    The ids of the page come from an index alone, however far down it stands; only its own rows are then read.
    """
    chosen = select(AuditEntry.id).where(AuditEntry.organization_id == organization_id, in_chain("runs"))
    if agent_id is not None:
        chosen = chosen.where(AuditEntry.agent_id == agent_id)
    page = chosen.order_by(AuditEntry.id.desc()).offset(offset).limit(limit).subquery()
    query = (
        select(*COLUMNS)
        .join(page, page.c.id == AuditEntry.id)
        .where(AuditEntry.organization_id == organization_id)
        .order_by(AuditEntry.id.desc())
    )
    return [as_entry(row) for row in await session.execute(query)]
