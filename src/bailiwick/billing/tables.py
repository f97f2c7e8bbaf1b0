"""Tables of provisioning and billing (migration 0006 says what each is for)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base


class Tenant(Base):
    """An organisation that was provisioned at least once; `key_id` is null while it holds no gateway key."""

    __tablename__ = "tenants"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    plan: Mapped[str] = mapped_column(Text)
    gateway: Mapped[str | None] = mapped_column(Text)
    key_id: Mapped[UUID | None]
    account_id: Mapped[UUID | None]
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    sink_account_id: Mapped[UUID]
    runs_budget_id: Mapped[UUID]
    runs_uncounted: Mapped[int] = mapped_column(Integer, server_default="0")
    granted_micros: Mapped[int] = mapped_column(BigInteger, server_default="0")
    gateway_budget_micros: Mapped[int | None] = mapped_column(BigInteger)
    gateway_period_start: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    period_start: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    period_end: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    period_subscribed: Mapped[bool] = mapped_column(Boolean, server_default="false")
    provisioned_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    deprovisioned_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class GatewayTask(Base):
    """Something begun at the LiteLLM proxy whose outcome is not recorded yet; the row goes with the outcome."""

    __tablename__ = "gateway_tasks"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Subscription(Base):
    """A Stripe subscription: for each group of fields its value and the stamp of the event that set it."""

    __tablename__ = "subscriptions"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    customer_id: Mapped[str | None] = mapped_column(Text)
    plan: Mapped[str | None] = mapped_column(Text)
    plan_stamp: Mapped[int] = mapped_column(BigInteger, server_default="0")
    status: Mapped[str | None] = mapped_column(Text)
    status_stamp: Mapped[int] = mapped_column(BigInteger, server_default="0")
    period_start: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    period_end: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    period_stamp: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cancel_at_period_end: Mapped[bool] = mapped_column(Boolean, server_default="false")
    cancel_stamp: Mapped[int] = mapped_column(BigInteger, server_default="0")
    first_at: Mapped[int] = mapped_column(BigInteger)
    alive_stamp: Mapped[int | None] = mapped_column(BigInteger)
    deleted_stamp: Mapped[int | None] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")


class StripeCustomer(Base):
    """The organisation that a Stripe customer stands for."""

    __tablename__ = "stripe_customers"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    organization_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class StripeEvent(Base):
    """An event that was received: none has its effect twice."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    created: Mapped[int | None] = mapped_column(BigInteger)
    organization_id: Mapped[UUID | None]
    customer_id: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
