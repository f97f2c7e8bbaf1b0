"""`kill -9` of workers in the middle: what they were told stands, what they held comes back, nothing else changes."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from uuid import UUID

from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.ledger import check, expire_holds, get_account, get_hold
from tests.ledger.conftest import Purse
from tests.ledger.test_transfers import fund

NO_GRACE = timedelta(0)


async def work_until_killed(database_url: str, purse: Purse, posts: int) -> dict[UUID, int]:
    """Runs a worker until it has told of `posts` posts, then kills it; the posts that it told of."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.ledger.worker", database_url),
        *(str(one) for one in (purse.organization_id, purse.wallet_id, purse.revenue_id)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    told = {}
    async for line in worker.stdout:
        if not line.endswith(b"\n"):
            break
        hold_id, amount = line.split()
        told[UUID(hold_id.decode())] = int(amount)
        if len(told) == posts:
            worker.kill()
    assert await worker.wait() == -9
    return told


async def test_killed_workers_leak_nothing(db: Database, database_url: str, purse: Purse) -> None:
    await fund(purse, 20_000)
    told: dict[UUID, int] = {}
    for posted in await asyncio.gather(*(work_until_killed(database_url, purse, posts) for posts in (40, 60, 80))):
        told |= posted
    assert len(told) >= 180

    async with tenant_transaction(purse.organization_id) as session:
        held = (await get_account(session, purse.organization_id, purse.wallet_id)).held
    assert held > 0  # the workers left holds behind
    expired = []
    while held:  # ends when the last lease is over; the suite's timeout bounds it
        expired += await expire_holds()
        async with tenant_transaction(purse.organization_id) as session:
            held = (await get_account(session, purse.organization_id, purse.wallet_id)).held
        await asyncio.sleep(0.05)
    assert expired

    report = await check(grace=NO_GRACE)
    assert report.clean, report.problems
    async with tenant_transaction(purse.organization_id) as session:
        for hold_id, amount in told.items():
            hold = await get_hold(session, purse.organization_id, hold_id)
            assert (hold.state, hold.posted_amount) == ("posted", amount)
        wallet = await get_account(session, purse.organization_id, purse.wallet_id)
        revenue = await get_account(session, purse.organization_id, purse.revenue_id)
    assert wallet.balance + revenue.balance == 20_000
    assert wallet.balance >= 0
    assert revenue.balance >= sum(told.values())
