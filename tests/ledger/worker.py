"""A process that uses the ledger without end, to be killed: `-m tests.ledger.worker URL ORGANIZATION WALLET SINK`.

It prints one line for each post that it was told of: the hold's id and the posted amount.
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import timedelta
from uuid import UUID

from bailiwick.kernel import database
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.ledger import InsufficientFunds, place_hold, post_hold, void_hold

LEASE = timedelta(seconds=2)


async def use_ledger(organization_id: UUID, wallet: UUID, sink: UUID) -> None:
    """Holds, posts, voids and leaves holds open, for ever."""
    while True:
        amount = random.randint(1, 50)
        try:
            async with tenant_transaction(organization_id) as session:
                placed = await place_hold(
                    session,
                    organization_id,
                    debit_account_id=wallet,
                    credit_account_id=sink,
                    amount=amount,
                    kind="test",
                    lease_expires_at=now() + LEASE,
                )
        except InsufficientFunds:
            await asyncio.sleep(0.01)
            continue
        choice = random.random()
        if choice < 0.1:
            continue
        async with tenant_transaction(organization_id) as session:
            if choice < 0.3:
                await void_hold(session, organization_id, placed.id)
            else:
                await post_hold(session, organization_id, placed.id, amount=amount // 2)
        if choice >= 0.3:
            sys.stdout.write(f"{placed.id} {amount // 2}\n")
            sys.stdout.flush()


async def main(url: str, *ids: str) -> None:
    """Uses the ledger in several tasks at once."""
    database.use(database.Database(url))
    await asyncio.gather(*(use_ledger(*(UUID(one) for one in ids)) for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
