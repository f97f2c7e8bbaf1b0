"""Proofs over an organization's log: that an entry stands in it, and that it has only grown."""

from __future__ import annotations

from uuid import UUID

import msgspec

from bailiwick.audit import log
from bailiwick.audit.entries import Entry, entry_leaf_hash
from bailiwick.audit.heads import SignedCheckpoint, find_checkpoint, make_checkpoint, signed_size
from bailiwick.audit.merkle import consistency_ranges, inclusion_ranges
from bailiwick.audit.tree import proof_of, root_at
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import InvalidInput


class InclusionProof(msgspec.Struct, frozen=True):
    """That `entry` is leaf `entry.sequence` of the tree of `size` leaves with this root (RFC 9162 §2.1.3)."""

    entry: Entry
    leaf_hash: bytes
    size: int
    root: bytes
    hashes: list[bytes]
    checkpoint: SignedCheckpoint | None
    """The signed checkpoint of this size, when one was made."""


class ConsistencyProof(msgspec.Struct, frozen=True):
    """That the tree of `second` leaves begins with the tree of `first` leaves (RFC 9162 §2.1.4)."""

    first: int
    second: int
    first_root: bytes
    second_root: bytes
    hashes: list[bytes]
    first_checkpoint: SignedCheckpoint | None
    second_checkpoint: SignedCheckpoint | None


async def prove_inclusion(
    organization_id: UUID, *, entry_id: UUID | None = None, sequence: int | None = None, size: int | None = None
) -> InclusionProof:
    """The proof for one entry, named by id or sequence, in the tree of `size` entries; by default in the latest
    checkpoint's, which is made when the entry is younger than that.

    Raises EntryNotFound; InvalidInput when `size` is beyond the log or does not hold the entry.
    """
    async with tenant_transaction(organization_id) as session:
        entry = await log.find_entry(session, organization_id, entry_id=entry_id, sequence=sequence)
        signed = await signed_size(session, organization_id) or 0
    if size is None:
        size = signed if signed > entry.sequence else (await make_checkpoint(organization_id)).size
    elif size <= entry.sequence:
        raise InvalidInput.of("size", f"must be above {entry.sequence}, the entry's sequence")
    elif size > signed:
        await _grow_to(organization_id, size, field="size")
    async with tenant_transaction(organization_id) as session:
        return InclusionProof(
            entry=entry,
            leaf_hash=entry_leaf_hash(entry),
            size=size,
            root=await root_at(session, organization_id, size),
            hashes=await proof_of(session, organization_id, inclusion_ranges(entry.sequence, size)),
            checkpoint=await find_checkpoint(session, organization_id, size),
        )


async def prove_consistency(organization_id: UUID, first: int, second: int | None = None) -> ConsistencyProof:
    """The proof between two sizes of the log; `second` is by default that of a checkpoint over all of it.

    Raises InvalidInput unless 0 <= first <= second <= the log's size.
    """
    if second is None:
        second = (await make_checkpoint(organization_id)).size
    else:
        await _grow_to(organization_id, second, field="second")
    if first < 0:
        raise InvalidInput.of("first", "must be 0 or more")
    if first > second:
        raise InvalidInput.of("first", f"must not be above {second}, the second size")
    async with tenant_transaction(organization_id) as session:
        return ConsistencyProof(
            first=first,
            second=second,
            first_root=await root_at(session, organization_id, first),
            second_root=await root_at(session, organization_id, second),
            hashes=await proof_of(session, organization_id, consistency_ranges(first, second)),
            first_checkpoint=await find_checkpoint(session, organization_id, first),
            second_checkpoint=await find_checkpoint(session, organization_id, second),
        )


async def _grow_to(organization_id: UUID, size: int, *, field: str) -> None:
    """Makes sure that the stored tree covers `size` entries. Raises InvalidInput when the log does not."""
    async with tenant_transaction(organization_id) as session:
        signed = await signed_size(session, organization_id) or 0
    if size > signed and size > (await make_checkpoint(organization_id)).size:
        raise InvalidInput.of(field, "is larger than the log")
