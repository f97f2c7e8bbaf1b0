"""Events as they are stored, each once, and as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel import ids
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.ids import Prefix
from bailiwick.logsources.events import LogEvent, Scalar
from bailiwick.logsources.tables import LogSource, StoredLogEvent

_BATCH = 1_000
_MILLISECONDS_MAX = 2**48 - 1


class SourcedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with the source that it came from; `source_id` is public (ls_...)."""

    source_id: str
    source_name: str
    event_id: str
    at: datetime
    actor: str
    action: str
    target: str
    outcome: str
    attributes: Mapping[str, Scalar]


async def store_events(
    session: AsyncSession, organization_id: UUID, source_id: UUID, events: Sequence[LogEvent]
) -> int:
    """Store those whose id the source has not had yet; answers how many. The caller's transaction holds the source's
    row locked, which keeps two deliveries of the same events apart."""
    stored = 0
    for start in range(0, len(events), _BATCH):
        batch = {event.event_id: event for event in events[start : start + _BATCH]}
        known = await session.scalars(
            select(StoredLogEvent.event_id).where(
                StoredLogEvent.organization_id == organization_id,
                StoredLogEvent.source_id == source_id,
                StoredLogEvent.event_id.in_(batch),
            )
        )
        for event_id in known:
            batch.pop(event_id, None)
        if not batch:
            continue
        rows = [
            {
                "organization_id": organization_id,
                "id": stored_id(source_id, event),
                "source_id": source_id,
                "event_id": event.event_id,
                "at": event.at,
                "action": event.action,
                "actor": event.actor,
                "target": event.target,
                "outcome": event.outcome,
                "attributes": dict(event.attributes),
            }
            for event in batch.values()
        ]
        written = await session.execute(
            insert(StoredLogEvent).values(rows).on_conflict_do_nothing().returning(StoredLogEvent.id)
        )
        stored += len(written.all())
    return stored


async def recent_events(
    organization_id: UUID, *, since: datetime, until: datetime, limit: int
) -> Sequence[SourcedEvent]:
    """Events of the enabled sources that happened in [since, until), newest first."""
    query = (
        select(
            StoredLogEvent.source_id,
            LogSource.display_name,
            StoredLogEvent.event_id,
            StoredLogEvent.at,
            StoredLogEvent.actor,
            StoredLogEvent.action,
            StoredLogEvent.target,
            StoredLogEvent.outcome,
            StoredLogEvent.attributes,
        )
        .join(
            LogSource,
            (LogSource.organization_id == StoredLogEvent.organization_id) & (LogSource.id == StoredLogEvent.source_id),
        )
        .where(
            StoredLogEvent.organization_id == organization_id,
            # Ids begin with the event's time: this bounds the partitions that are read.
            StoredLogEvent.id >= ids.uuid_at(since),
            StoredLogEvent.id < ids.uuid_at(until),
            LogSource.enabled,
        )
        .order_by(StoredLogEvent.id.desc())
        .limit(limit)
    )
    async with tenant_transaction(organization_id) as session:
        return [
            SourcedEvent(
                source_id=ids.encode(Prefix.LOG_SOURCE, row.source_id),
                source_name=row.display_name,
                event_id=row.event_id,
                at=row.at,
                actor=row.actor,
                action=row.action,
                target=row.target,
                outcome=row.outcome,
                attributes=row.attributes,
            )
            for row in await session.execute(query)
        ]


def stored_id(source_id: UUID, event: LogEvent) -> UUID:
    """A UUIDv7 (RFC 9562 section 5.7) of the event's own time; the other 74 bits digest source and event id."""
    milliseconds = min(max(int(event.at.timestamp() * 1000), 0), _MILLISECONDS_MAX)
    digest = int.from_bytes(hashlib.sha256(source_id.bytes + event.event_id.encode()).digest()[:10], "big")
    high, low = (digest >> 62) & 0xFFF, digest & (2**62 - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
