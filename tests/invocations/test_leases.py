"""An answer that takes longer than a lease: its process keeps the hold, and nobody sweeps it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

from bailiwick.invocations import Pipeline, sweep
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import HoldExpired
from bailiwick.kernel.database import Database
from tests.invocations.conftest import ModelServer, Tenant, json_answer
from tests.invocations.model_calls import chat_body, model_call, said


@pytest.mark.parametrize("is_kept", [True, False])
async def test_the_hold_of_a_long_answer(
    db: Database, tenant: Tenant, model: ModelServer, exchange: Exchange, is_kept: bool
) -> None:
    answered = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        await answered.wait()
        return await json_answer(request, text="At last.")

    model.answer = wait
    pipeline = Pipeline(db, lease_seconds=1)
    keeper = asyncio.create_task(pipeline.keep_leases() if is_kept else asyncio.sleep(0))
    call = asyncio.create_task(
        pipeline.invoke(model_call(tenant, model.deployment(), exchange, chat_body("Hello"), timeout_seconds=30))
    )
    await asyncio.sleep(2.5)
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
