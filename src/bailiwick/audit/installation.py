"""Verification of the installation's own logs, where they are stored: entries, heads, stored tree, checkpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
from sqlalchemy import func, select, text, union

from bailiwick.audit import log
from bailiwick.audit.checkpoint import Checkpoint, NoteInvalid, VerifierKey, open_checkpoint, origin_of
from bailiwick.audit.entries import NO_HASH
from bailiwick.audit.keys import verifier_keys
from bailiwick.audit.tables import AuditCheckpoint, AuditEntry, AuditHead, AuditTree
from bailiwick.audit.tree import root_at
from bailiwick.audit.verify import LogBroken, LogWalk, VerifiedLog
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction

_OTHER_COLUMNS = text(
    "select e.sequence, e.id from audit_entries e cross join lateral audit_found_by(e.chain, e.body) as f"
    " where e.organization_id = :organization_id and e.sequence between :first and :last"
    " and (e.action, e.actor, e.agent_id) is distinct from (f.action, f.actor, f.agent_id) order by e.sequence limit 1"
)


class Verdict(msgspec.Struct, frozen=True):
    """What became of one organization's log: `verified`, or `broken`."""

    organization_id: UUID
    verified: VerifiedLog | None = None
    broken: LogBroken | None = None


class _Head(msgspec.Struct, frozen=True):
    size: int
    last_hashes: dict[str, str]


async def verify_installation() -> AsyncIterator[Verdict]:
    """The verdict on each organization's log, one after the other."""
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        known = union(select(AuditHead.organization_id), select(AuditTree.organization_id)).subquery()
        organizations = (await session.scalars(select(known.c.organization_id).order_by("organization_id"))).all()
    for organization_id in organizations:
        try:
            yield Verdict(organization_id, verified=await verify_stored_log(organization_id))
        except LogBroken as problem:
            yield Verdict(organization_id, broken=problem)


async def verify_stored_log(organization_id: UUID) -> VerifiedLog:
    """Walks the log up to its head as it stands at the call, against every checkpoint made of it. Raises LogBroken."""
    walk = LogWalk(organization_id)
    # The tree and the checkpoints are read first: they can only lag behind the head that is read after them.
    await _expect_signed_and_stored_roots(walk)
    head = await _read_head(organization_id)
    async for entries in log.read_log(organization_id, 0, head.size):
        for entry in entries:
            walk.take(entry)
        await _compare_columns(organization_id, entries[0].sequence, entries[-1].sequence)
    size = walk.frontier.size
    if size != head.size:
        raise LogBroken("head", f"the log should have {head.size} entries and has {size}")
    if walk.last_hashes != head.last_hashes:
        raise LogBroken("head", "the head's last hashes are not those of the last entries")
    walk.end()
    public_id = ids.encode(ids.Prefix.ORGANIZATION, organization_id)
    return VerifiedLog(public_id, 0, size, walk.frontier.root(), walk.by_chain)


async def _compare_columns(organization_id: UUID, first: int, last: int) -> None:
    """Compares what entries are found by, which no hash covers, with their bodies, which are known to be sound."""
    async with tenant_transaction(organization_id) as session:
        found = await session.execute(
            _OTHER_COLUMNS, {"organization_id": organization_id, "first": first, "last": last}
        )
        row = found.first()
    if row is not None:
        raise LogBroken(
            "column", "its action, actor or agent is not that of the body", sequence=row.sequence, entry_id=str(row.id)
        )


async def _read_head(organization_id: UUID) -> _Head:
    """The head; its size is compared with the last entry's sequence in one statement, so in one snapshot."""
    last = select(func.max(AuditEntry.sequence)).where(AuditEntry.organization_id == organization_id).scalar_subquery()
    async with tenant_transaction(organization_id) as session:
        found = await session.execute(
            select(AuditHead.size, AuditHead.runs_hash, AuditHead.activity_hash, last.label("last")).where(
                AuditHead.organization_id == organization_id
            )
        )
        row = found.first()
    if row is None:
        return _Head(0, {"runs": NO_HASH, "activity": NO_HASH})
    if (-1 if row.last is None else row.last) != row.size - 1:
        raise LogBroken("head", f"the head counts {row.size} entries, the last one is {row.last}")
    return _Head(row.size, {"runs": row.runs_hash.hex(), "activity": row.activity_hash.hex()})


async def _expect_signed_and_stored_roots(walk: LogWalk) -> None:
    organization_id = walk.organization_id
    async with tenant_transaction(organization_id) as session:
        keys = await verifier_keys(session, organization_id)
        rows = await session.execute(
            select(AuditCheckpoint.size, AuditCheckpoint.root, AuditCheckpoint.key_id, AuditCheckpoint.note)
            .where(AuditCheckpoint.organization_id == organization_id)
            .order_by(AuditCheckpoint.size)
        )
        for row in rows:
            checkpoint = _open(row.note, keys.get(row.key_id), row.size)
            if (checkpoint.size, checkpoint.root) != (row.size, row.root):
                raise LogBroken("signature", f"the checkpoint stored for size {row.size} is another one")
            walk.expect(checkpoint, "root")
        size = await session.scalar(select(AuditTree.size).where(AuditTree.organization_id == organization_id)) or 0
        try:
            root = await root_at(session, organization_id, size)
        except KeyError:
            raise LogBroken("tree", f"the stored tree lacks hashes of its first {size} entries") from None
        walk.expect(Checkpoint(origin_of(organization_id), size, root), "tree")


def _open(note: str, key: VerifierKey | None, size: int) -> Checkpoint:
    if key is None:
        raise LogBroken("signature", f"the key of the checkpoint of size {size} is not known")
    try:
        return open_checkpoint(note, key)
    except NoteInvalid as problem:
        raise LogBroken("signature", f"checkpoint of size {size}: {problem}") from None
