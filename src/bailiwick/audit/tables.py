"""Tables of the audit log. Entries and heads are written by the SQL function `audit_append` alone (`sql/`)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, LargeBinary, SmallInteger, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base


class AuditEntry(Base):
    """One stored entry; `entries.Entry` is its form everywhere else. Hashes are 32 bytes."""

    __tablename__ = "audit_entries"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    chain: Mapped[str] = mapped_column(Text)
    prev_hash: Mapped[bytes] = mapped_column(LargeBinary)
    row_hash: Mapped[bytes] = mapped_column(LargeBinary)
    body: Mapped[str] = mapped_column(Text)
    # What it is found by: members of the body, written beside it since reading them out costs more than all else.
    action: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    agent_id: Mapped[str | None] = mapped_column(Text)


class AuditHead(Base):
    """Where a log ends: its number of entries, each chain's last hash, and the one that the last entry links to."""

    __tablename__ = "audit_heads"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")
    runs_hash: Mapped[bytes] = mapped_column(LargeBinary, server_default=func.decode(func.repeat("00", 32), "hex"))
    activity_hash: Mapped[bytes] = mapped_column(LargeBinary, server_default=func.decode(func.repeat("00", 32), "hex"))
    linked_hash: Mapped[bytes | None] = mapped_column(LargeBinary)


class AuditTree(Base):
    """How many entries the stored tree covers, and the size of the last checkpoint."""

    __tablename__ = "audit_trees"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")
    signed_size: Mapped[int | None] = mapped_column(BigInteger)


class AuditTreeTile(Base):
    """Up to 256 hashes of one level of the tree (`tiles.py`)."""

    __tablename__ = "audit_tree_tiles"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class AuditSigningKey(Base):
    """A key that signs an organization's checkpoints; one is active, retired ones still verify."""

    __tablename__ = "audit_signing_keys"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    retired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class AuditCheckpoint(Base):
    """A signed head of a log."""

    __tablename__ = "audit_checkpoints"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
