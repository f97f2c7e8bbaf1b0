"""Signed heads: makes checkpoints of logs, on demand and for every log that has grown, and looks them up."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.audit import log
from bailiwick.audit.checkpoint import Checkpoint, VerifierKey, origin_of, sign_checkpoint
from bailiwick.audit.keys import signing_key, verifier_keys
from bailiwick.audit.tables import AuditCheckpoint, AuditHead, AuditTree
from bailiwick.audit.tree import grow, locked_tree, root_at
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction

_BATCH = 4_096
"""Entries that join the tree in one transaction."""


class SignedCheckpoint(msgspec.Struct, frozen=True):
    """A stored checkpoint: the log's size and root then, the signed note, and the key that verifies it."""

    size: int
    root: bytes
    note: str
    verifier_key: VerifierKey
    created_at: datetime


async def make_checkpoint(organization_id: UUID) -> SignedCheckpoint:
    """A checkpoint over every entry that was committed at the call, or more: the latest if it is that, else a new one.

    Takes entries into the tree in batches, a transaction each; what a call leaves when it is cut short, the next does.
    """
    target = None
    while True:
        async with tenant_transaction(organization_id) as session:
            tree = await locked_tree(session, organization_id)
            if target is None:
                target = await log.size_of(session, organization_id)
            await grow(session, tree, min(target, tree.size + _BATCH))
            if tree.size >= target:
                if tree.signed_size != tree.size:
                    await _sign(session, tree)
                return await checkpoint_at(session, organization_id, tree.size)


async def _sign(session: AsyncSession, tree: AuditTree) -> None:
    organization_id = tree.organization_id
    private_key = await signing_key(session, organization_id)
    key = VerifierKey(origin_of(organization_id), private_key.public_key().public_bytes_raw())
    checkpoint = Checkpoint(key.name, tree.size, await root_at(session, organization_id, tree.size))
    await session.execute(
        insert(AuditCheckpoint).values(
            organization_id=organization_id,
            size=checkpoint.size,
            root=checkpoint.root,
            key_id=key.key_id,
            note=sign_checkpoint(checkpoint, private_key),
        )
    )
    tree.signed_size = tree.size
    await session.flush()


async def find_checkpoint(session: AsyncSession, organization_id: UUID, size: int) -> SignedCheckpoint | None:
    """The checkpoint of exactly this size, when one was made."""
    found = await session.scalars(
        select(AuditCheckpoint).where(AuditCheckpoint.organization_id == organization_id, AuditCheckpoint.size == size)
    )
    row = found.one_or_none()
    if row is None:
        return None
    keys = await verifier_keys(session, organization_id)
    return SignedCheckpoint(row.size, row.root, row.note, keys[row.key_id], row.created_at)


async def checkpoint_at(session: AsyncSession, organization_id: UUID, size: int) -> SignedCheckpoint:
    """The checkpoint of a size that was signed. Raises RuntimeError when it is not there."""
    found = await find_checkpoint(session, organization_id, size)
    if found is None:
        raise RuntimeError(f"no checkpoint of size {size} in the audit log of {organization_id}")
    return found


async def signed_size(session: AsyncSession, organization_id: UUID) -> int | None:
    """The size of the latest checkpoint; None before the first."""
    return await session.scalar(select(AuditTree.signed_size).where(AuditTree.organization_id == organization_id))


async def make_due_checkpoints() -> int:
    """A checkpoint for each log that has grown since its last one; returns how many. For the schedule: any number of
    processes may run it at the same time."""
    async with system_transaction(CrossTenantUse.CHECKPOINT) as session:
        grown = await session.scalars(
            select(AuditHead.organization_id)
            .outerjoin(AuditTree, AuditTree.organization_id == AuditHead.organization_id)
            .where(AuditHead.size > func.coalesce(AuditTree.signed_size, 0))
            .order_by(AuditHead.organization_id)
        )
        organizations = grown.all()
    for organization_id in organizations:
        await make_checkpoint(organization_id)
    return len(organizations)
