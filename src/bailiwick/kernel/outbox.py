"""The outbox: events for the world outside, written in the transaction of the change that they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Text, func, insert
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base
from bailiwick.kernel.ids import uuid7


class OutboxEvent(Base):
    """An event to publish: at least once, in the order of ids within an organisation."""

    __tablename__ = "outbox_events"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


async def emit(session: AsyncSession, organization_id: UUID, topic: str, payload: Mapping[str, Any]) -> None:
    """Writes one event; it is published only if the caller's transaction commits."""
    await session.execute(
        insert(OutboxEvent).values(organization_id=organization_id, id=uuid7(), topic=topic, payload=dict(payload))
    )
