"""The log of an organization: append, look up, list, read in order."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.audit.entries import Chain, Entry, activity_body
from bailiwick.audit.errors import EntryNotFound
from bailiwick.audit.tables import AuditEntry, AuditHead
from bailiwick.kernel import ids
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.paging import decode_cursor, encode_cursor

_ACTION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_BATCH = 2_000
_EPOCH = datetime.fromtimestamp(0, UTC)

_APPEND_ACTIVITY = text("select audit_append_activity(:organization_id, :entry_id, :body)")
_APPEND = text(
    "select audit_append(cast(:organization_ids as uuid[]), cast(:entry_ids as uuid[]),"
    " cast(:chains as text[]), cast(:bodies as text[]))"
)
_LITERALS: Mapping[Chain, TextClause] = {"runs": text("'runs'"), "activity": text("'activity'")}
COLUMNS = (
    AuditEntry.organization_id,
    AuditEntry.sequence,
    AuditEntry.chain,
    AuditEntry.id,
    AuditEntry.prev_hash,
    AuditEntry.row_hash,
    AuditEntry.body,
)


def in_chain(chain: Chain) -> ColumnElement[bool]:
    """Whether an entry is of a chain, with a literal as in the predicates of the indexes: a parameter would hide from
    the planner that they match."""
    return AuditEntry.chain == _LITERALS[chain]


async def append(
    session: AsyncSession,
    organization_id: UUID,
    *,
    action: str,
    actor: str,
    subject: str,
    attributes: Mapping[str, Any] | None = None,
) -> UUID:
    """Appends one change of state to the organization's log, within the caller's transaction, and returns its id.

    `action` is `noun.verb_past` (`log_source.created`); `actor` is `caller.subject` or `system`; `subject` is the
    public id of what changed; `attributes` hold small facts (numbers, short strings), never content or secrets. Call it
    last: the end of the log stays locked until the transaction ends. Raises ValueError for what cannot be stored.
    """
    if not _ACTION.fullmatch(action):
        raise ValueError(f"an audit action is noun.verb_past, not {action!r}")
    entry_id = ids.uuid7()
    body = activity_body(entry_id, action=action, actor=actor, subject=subject, attributes=attributes)
    await session.execute(_APPEND_ACTIVITY, {"organization_id": organization_id, "entry_id": entry_id, "body": body})
    return entry_id


class Pending(msgspec.Struct, frozen=True):
    """An entry that `append_all` will append."""

    organization_id: UUID
    id: UUID
    chain: Chain
    body: str


async def append_all(session: AsyncSession, entries: list[Pending]) -> None:
    """Appends entries of any organizations and chains in their order, within a system transaction."""
    await session.execute(
        _APPEND,
        {
            "organization_ids": [entry.organization_id for entry in entries],
            "entry_ids": [entry.id for entry in entries],
            "chains": [entry.chain for entry in entries],
            "bodies": [entry.body for entry in entries],
        },
    )


def as_entry(row: Any) -> Entry:
    """An entry from a row of `audit_entries`, its hashes in hex."""
    return Entry(
        row.organization_id,
        row.sequence,
        cast(Chain, row.chain),
        row.id,
        row.prev_hash.hex(),
        row.row_hash.hex(),
        row.body,
    )


async def find_entry(
    session: AsyncSession, organization_id: UUID, *, entry_id: UUID | None = None, sequence: int | None = None
) -> Entry:
    """One entry by its id or its sequence. Raises EntryNotFound, also for an entry of another organization."""
    condition = AuditEntry.id == entry_id if sequence is None else AuditEntry.sequence == sequence
    found = await session.execute(select(*COLUMNS).where(AuditEntry.organization_id == organization_id, condition))
    row = found.first()
    if row is None:
        raise EntryNotFound
    return as_entry(row)


async def size_of(session: AsyncSession, organization_id: UUID) -> int:
    """The number of entries in an organization's log, as committed."""
    return await session.scalar(select(AuditHead.size).where(AuditHead.organization_id == organization_id)) or 0


async def read_range(session: AsyncSession, organization_id: UUID, first: int, size: int) -> list[Entry]:
    """The entries from `first` (included) to `size` (excluded) in order; keep ranges bounded."""
    query = (
        select(*COLUMNS)
        .where(AuditEntry.organization_id == organization_id, AuditEntry.sequence >= first, AuditEntry.sequence < size)
        .order_by(AuditEntry.sequence)
    )
    return [as_entry(row) for row in await session.execute(query)]


async def read_log(organization_id: UUID, first: int, size: int) -> AsyncIterator[list[Entry]]:
    """The entries from `first` to `size` in batches. Holds a connection only while it fetches one, however slow the
    reader: the log cannot change behind it."""
    while first < size:
        end = min(first + _BATCH, size)
        async with tenant_transaction(organization_id) as session:
            entries = await read_range(session, organization_id, first, end)
        yield entries
        first = end


def _first_id(moment: datetime) -> UUID:
    """The lower bound of the ids of entries made at or after `moment`."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return ids.uuid_at(max(aware, _EPOCH))


class EntryPage(msgspec.Struct, frozen=True):
    """Entries, newest first, and the cursor behind them; None at the end of the list."""

    entries: list[Entry]
    next_cursor: str | None


async def list_entries(
    organization_id: UUID,
    *,
    chain: Chain | None = None,
    action: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> EntryPage:
    """Entries of a log, newest first, made from `since` (included) to `until` (excluded).

    `action` and `actor` select among entries of the activity chain; runs have a list of their own. A time without an
    offset is UTC. Raises InvalidInput for a cursor that is none.
    """
    conditions: list[ColumnElement[bool]] = [AuditEntry.organization_id == organization_id]
    if action is not None:
        conditions.append(AuditEntry.action == action)
    if actor is not None:
        conditions.append(AuditEntry.actor == actor)
    if chain is not None:
        conditions.append(in_chain(chain))
    if since is not None:
        conditions.append(AuditEntry.id >= _first_id(since))
    if until is not None:
        conditions.append(AuditEntry.id < _first_id(until))
    if cursor is not None:
        conditions.append(AuditEntry.id < decode_cursor(cursor))
    query = select(*COLUMNS).where(*conditions).order_by(AuditEntry.id.desc()).limit(limit + 1)
    async with tenant_transaction(organization_id) as session:
        entries = [as_entry(row) for row in await session.execute(query)]
    more = len(entries) > limit
    return EntryPage(entries[:limit], encode_cursor(entries[limit - 1].id) if more else None)
