"""The stored Merkle tree of an organization's log: grown from its entries, read in tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.audit import log, tiles
from bailiwick.audit.entries import entry_leaf_hash
from bailiwick.audit.merkle import Frontier, Node, Range, fold, nodes_of, range_nodes
from bailiwick.audit.tables import AuditTree, AuditTreeTile


async def locked_tree(session: AsyncSession, organization_id: UUID) -> AuditTree:
    """The tree's row, made when missing and locked: one process at a time grows and signs a tree."""
    await session.execute(insert(AuditTree).values(organization_id=organization_id).on_conflict_do_nothing())
    found = await session.scalars(
        select(AuditTree).where(AuditTree.organization_id == organization_id).with_for_update()
    )
    return found.one()


async def grow(session: AsyncSession, tree: AuditTree, size: int) -> None:
    """Takes the entries up to `size` (excluded) into a locked tree. O(entries taken)."""
    if size <= tree.size:
        return
    entries = await log.read_range(session, tree.organization_id, tree.size, size)
    if [entry.sequence for entry in entries] != list(range(tree.size, size)):
        raise RuntimeError(
            f"the audit log of {tree.organization_id} has gaps between entries {tree.size} and {size}:"
            " run `bailiwick audit verify`"
        )
    edge = await _load(session, tree.organization_id, tiles.edge_tiles(tree.size))
    changed = tiles.append(tree.size, edge, [entry_leaf_hash(entry) for entry in entries])
    statement = insert(AuditTreeTile).values(
        [
            {"organization_id": tree.organization_id, "level": level, "index": index, "hashes": hashes}
            for (level, index), hashes in changed.items()
        ]
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["organization_id", "level", "index"], set_={"hashes": statement.excluded.hashes}
        )
    )
    tree.size = size


async def get_nodes(session: AsyncSession, organization_id: UUID, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """The hashes of complete nodes of the stored tree. Raises KeyError for a node that it does not hold."""
    return tiles.nodes_in(nodes, await _load(session, organization_id, tiles.tiles_of(nodes)))


async def root_at(session: AsyncSession, organization_id: UUID, size: int) -> bytes:
    """The root over the first `size` entries, all within the stored tree."""
    nodes = range_nodes(0, size)
    hashes = await get_nodes(session, organization_id, nodes)
    return Frontier(size, [hashes[node] for node in nodes]).root()


async def proof_of(session: AsyncSession, organization_id: UUID, plan: Sequence[Range]) -> list[bytes]:
    """The hashes of a plan of `merkle.inclusion_ranges` or `merkle.consistency_ranges`."""
    return fold(plan, await get_nodes(session, organization_id, nodes_of(plan)))


async def _load(
    session: AsyncSession, organization_id: UUID, wanted: Iterable[tiles.Tile]
) -> Mapping[tiles.Tile, bytes]:
    rows = await session.execute(
        select(AuditTreeTile.level, AuditTreeTile.index, AuditTreeTile.hashes).where(
            AuditTreeTile.organization_id == organization_id,
            tuple_(AuditTreeTile.level, AuditTreeTile.index).in_(list(wanted)),
        )
    )
    return {(level, index): hashes for level, index, hashes in rows}
