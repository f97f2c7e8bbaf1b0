"""Accounts, transfers, holds, budgets (migration 0003 says what each constraint protects)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, SmallInteger, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base


class Ledger(StrEnum):
    """A ledger has one asset; amounts are integers in its smallest unit. Nothing moves between ledgers."""

    USD_MICROS = "usd_micros"
    """Money for models and runs, in millionths of a US dollar."""
    CREDITS = "credits"
    """Whole credits of wallets."""


class HoldState(StrEnum):
    """A hold is open, then closed once in one of three ways."""

    OPEN = "open"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


class BudgetScope(StrEnum):
    """Whose use a budget caps."""

    ORGANIZATION = "organization"
    MEMBER = "member"
    VIRTUAL_KEY = "virtual_key"
    SESSION = "session"
    AGENT = "agent"


class BudgetUnit(StrEnum):
    """What a budget counts: money, completed invocations, model tokens, or (per minute) admitted invocations."""

    USD_MICROS = "usd_micros"
    RUNS = "runs"
    TOKENS = "tokens"
    REQUESTS = "requests"


class BudgetPeriod(StrEnum):
    """How long a budget's window is. One of a minute begins anew in place (`rate_limits.py`)."""

    ONCE = "once"
    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"
    BILLING = "billing"


class Account(Base):
    """Holds an amount of one ledger; `balance - held` never falls below `floor` (None: no lower bound)."""

    __tablename__ = "accounts"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    ledger: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[UUID]
    balance: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held: Mapped[int] = mapped_column(BigInteger, server_default="0")
    floor: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    closed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    @property
    def available(self) -> int | None:
        """What may still be debited or held; None: no bound."""
        return None if self.floor is None else self.balance - self.held - self.floor


class Transfer(Base):
    """Moves `amount` from the debited to the credited account. Never changed; a mistake is corrected by another."""

    __tablename__ = "transfers"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    ledger: Mapped[str] = mapped_column(Text)
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    hold_id: Mapped[UUID | None]
    reference: Mapped[str | None] = mapped_column(Text)
    corrects_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Hold(Base):
    """A pending transfer: keeps `amount` of the debited account, and part of each budget, until it is closed.

    A budget counts it in the budget's own unit: money by `amount`, runs and requests by one, tokens by `tokens`.
    """

    __tablename__ = "holds"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    ledger: Mapped[str] = mapped_column(Text)
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    budget_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    state: Mapped[str] = mapped_column(Text, server_default="open")
    posted_amount: Mapped[int | None] = mapped_column(BigInteger)
    posted_tokens: Mapped[int | None] = mapped_column(BigInteger)
    posted_runs: Mapped[int | None] = mapped_column(SmallInteger)
    kind: Mapped[str] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What its owner will need to know of it once it is closed; nothing to the ledger."""
    lease_expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    closed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Budget(Base):
    """A cap on what a scope may use in one window (start included, end excluded; end None: for ever)."""

    __tablename__ = "budgets"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(Text)
    scope_id: Mapped[UUID]
    unit: Mapped[str] = mapped_column(Text)
    period: Mapped[str] = mapped_column(Text)
    period_start: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    period_end: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    limit_amount: Mapped[int] = mapped_column(BigInteger)
    lowered_from: Mapped[int | None] = mapped_column(BigInteger)
    spent: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @property
    def left(self) -> int:
        """What may still be held; negative when the limit was lowered below what is used."""
        return self.limit_amount - self.spent - self.held
