"""An answer that takes longer than a lease: its process keeps the hold, and nobody sweeps it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from functools import partial

import pytest
from aiohttp import web

from bailiwick import ledger
from bailiwick.invocations import Pipeline, sweep
from bailiwick.invocations.batches import write
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import HoldExpired
from bailiwick.invocations.leases import renew_leases
from bailiwick.invocations.requests import Status
from bailiwick.kernel.database import Database, tenant_transaction
from tests.invocations.conftest import ModelServer, Tenant, end_leases, json_answer
from tests.invocations.model_calls import chat_body, model_call, said
from tests.invocations.money import a_settlement, an_admission
from tests.ledger.world import make_world
from tests.waiting import PATIENCE_SECONDS, until_async


@pytest.mark.parametrize("is_kept", [True, False])
async def test_the_hold_of_a_long_answer(
    db: Database, tenant: Tenant, model: ModelServer, exchange: Exchange, is_kept: bool
) -> None:
    answered = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        await answered.wait()
        return await json_answer(request, text="At last.")

    model.answer = wait
    pipeline = Pipeline(db, lease_seconds=6)
    keeper = asyncio.create_task(pipeline.keep_leases() if is_kept else asyncio.sleep(0))
    call = asyncio.create_task(
        pipeline.invoke(model_call(tenant, model.deployment(), exchange, chat_body("Hello"), timeout_seconds=30))
    )
    standing = "select 1 from holds where organization_id = :organization and lease_expires_at > now()"
    await until_async(partial(tenant.rows, standing))
    end_leases(db)
    if is_kept:
        await until_async(partial(tenant.rows, standing))
    assert await sweep() == (0 if is_kept else 1)
    answered.set()
    if is_kept:
        assert said(await call) == "At last."
        assert (await tenant.last()).status == "completed"
    else:
        with pytest.raises(HoldExpired):
            await call
    keeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeper
    await pipeline.close()


async def test_leases_are_renewed_without_waiting_for_settlements(db: Database) -> None:
    world = await make_world([100], [])
    first, second = (an_admission(world.organization_id, world.wallets[0], world.sink, 1) for _ in range(2))
    connection = await db.connect()
    await write(connection, [first, second], lease_seconds=1)
    async with connection.transaction():
        await write(connection, [a_settlement(second, Status.COMPLETED, 1)], lease_seconds=1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await renew_leases([first, second], lease_seconds=300)
        await write(connection, [a_settlement(first, Status.COMPLETED, 1)], lease_seconds=1)
    await connection.close()
    async with tenant_transaction(world.organization_id) as session:
        holds = [await ledger.get_hold(session, world.organization_id, one.id) for one in (first, second)]
    assert [hold.state for hold in holds] == ["posted", "posted"]
    assert holds[0].lease_expires_at - holds[1].lease_expires_at > timedelta(seconds=250)  # the first alone stood
