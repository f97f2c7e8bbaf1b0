"""Tables of invocations, written by the SQL functions `invocations_admit` and `invocations_settle` only, their counts,
kill switches, and cached answers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, LargeBinary, SmallInteger, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base


class Invocation(Base):
    """One governed call of an agent or a model. Its row is written when it ends, and never changed; one under way is
    read from its open hold (`sql/under_way.sql`)."""

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
    status: Mapped[str] = mapped_column(Text)
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
    requested_model: Mapped[str | None] = mapped_column(Text)
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cache_hit: Mapped[bool | None]
    cache_savings_micros: Mapped[int | None] = mapped_column(BigInteger)
    raw_cost_micros: Mapped[int | None] = mapped_column(BigInteger)
    decision_id: Mapped[UUID | None]
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class RunCount(Base):
    """How many audited runs of an agent an organisation has."""

    __tablename__ = "run_counts"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[str] = mapped_column(Text, primary_key=True)
    runs: Mapped[int] = mapped_column(BigInteger)


class TraceCount(Base):
    """How many ended invocations began in an hour or a day, by what the list of traces is filtered by; how many of them
    are completed agent runs; which they are, in an hour that has few.
    """

    __tablename__ = "trace_counts"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    span_hours: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    start_hour: Mapped[int] = mapped_column(Integer, primary_key=True)
    status: Mapped[str] = mapped_column(Text, primary_key=True)
    decision: Mapped[str] = mapped_column(Text, primary_key=True)
    requested_model: Mapped[str] = mapped_column(Text, primary_key=True)
    routed_model: Mapped[str] = mapped_column(Text, primary_key=True)
    virtual_key_id: Mapped[UUID] = mapped_column(primary_key=True)
    traces: Mapped[int] = mapped_column(BigInteger)
    runs: Mapped[int] = mapped_column(BigInteger, server_default="0")
    run_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))


class KillSwitch(Base):
    """What stops an organisation, or one of its keys or agents, until it is lifted."""

    __tablename__ = "kill_switches"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(Text)
    target: Mapped[str | None] = mapped_column(Text)
    key_id: Mapped[UUID | None]
    reason: Mapped[str] = mapped_column(Text)
    engaged_by: Mapped[str] = mapped_column(Text)
    engaged_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lifted_by: Mapped[str | None] = mapped_column(Text)
    lifted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class InstallationKillSwitch(Base):
    """What stops everything on this installation until it is lifted."""

    __tablename__ = "installation_kill_switches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    engaged_by: Mapped[str] = mapped_column(Text)
    engaged_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lifted_by: Mapped[str | None] = mapped_column(Text)
    lifted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class CachedAnswer(Base):
    """An answer that is repeated to exactly the same request of the same key; `content` is sealed."""

    __tablename__ = "cached_answers"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    virtual_key_id: Mapped[UUID] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    is_stream: Mapped[bool]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost_micros: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
