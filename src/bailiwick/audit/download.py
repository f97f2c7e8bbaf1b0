"""Streams an organization's log out of the database, in the form of `export.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from bailiwick.audit import log
from bailiwick.audit.export import Header, checkpoint_line, entry_line, header_line
from bailiwick.audit.heads import make_checkpoint
from bailiwick.audit.merkle import range_nodes
from bailiwick.audit.tree import get_nodes
from bailiwick.kernel import ids
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import InvalidInput


async def export_log(organization_id: UUID, *, first: int = 0) -> AsyncIterator[str]:
    """Lines of the log from entry `first` on, up to a checkpoint over all of it, several to a piece.

    The checkpoint is made and the range checked before this returns, so that an error is not an answer cut short.
    Raises InvalidInput when `first` is beyond the log. Holds no connection while the reader takes its time.
    """
    checkpoint = await make_checkpoint(organization_id)
    if not 0 <= first <= checkpoint.size:
        raise InvalidInput.of("first", f"must be from 0 to {checkpoint.size}, the log's size")
    before = range_nodes(0, first)
    async with tenant_transaction(organization_id) as session:
        hashes = await get_nodes(session, organization_id, before)
    header = Header(
        organization=ids.encode(ids.Prefix.ORGANIZATION, organization_id),
        verifier_key=str(checkpoint.verifier_key),
        first=first,
        size=checkpoint.size,
        left=tuple(hashes[node] for node in before),
    )

    async def pieces() -> AsyncIterator[str]:
        yield header_line(header)
        async for entries in log.read_log(organization_id, first, checkpoint.size):
            yield "".join(map(entry_line, entries))
        yield checkpoint_line(checkpoint.note)

    return pieces()
