"""Tables of invocations. Written by the SQL functions `invocations_admit` and `invocations_settle` only."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base


class Invocation(Base):
    """One governed call of an agent or a model."""

    __tablename__ = "invocations"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    target_kind: Mapped[str] = mapped_column(Text)
    target_name: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    membership_id: Mapped[UUID | None]
    virtual_key_id: Mapped[UUID | None]
    session_name: Mapped[str | None] = mapped_column(Text)
    hold_id: Mapped[UUID | None]
    status: Mapped[str] = mapped_column(Text, server_default="started")
    decision: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    provider: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    input_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    output_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cost_micros: Mapped[int] = mapped_column(BigInteger, server_default="0")
    latency_ms: Mapped[int | None] = mapped_column(Integer)
    first_token_ms: Mapped[int | None] = mapped_column(Integer)
    findings: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    input_hash: Mapped[str | None] = mapped_column(Text)
    output_hash: Mapped[str | None] = mapped_column(Text)
    audit_id: Mapped[UUID | None]
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class RunCount(Base):
    """How many audited runs of an agent an organisation has."""

    __tablename__ = "run_counts"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[str] = mapped_column(Text, primary_key=True)
    runs: Mapped[int] = mapped_column(BigInteger)
