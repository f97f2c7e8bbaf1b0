"""The schedule: DBOS on a real database fetches what is due, without anyone asking."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from dbos import DBOS

from bailiwick.kernel import durable
from bailiwick.kernel.database import Database
from bailiwick.logsources import create_source, list_sources
from bailiwick.logsources.schedule import schedule
from tests.logsources.organizations import new_caller
from tests.waiting import until_async


async def test_a_due_source_is_fetched_by_the_schedule(db: Database, database_url: str) -> None:
    caller = await new_caller()
    # Without a secret the fetch ends before it would reach the provider; that it was tried shows in the row.
    await create_source(
        caller, source_type="gcp_cloud_audit", display_name="x", config={"projectId": "acme"}, secret_ref=None
    )

    async def has_fetched() -> bool:
        ticks = await DBOS.list_workflows_async(name="log_sources.fetch", status="SUCCESS")
        return bool(ticks) and (await list_sources(caller))[0].fetch_error is not None

    await durable.start(database_url, [schedule(1)])
    try:
        await until_async(has_fetched)
        assert await durable.forget_finished() == 0  # they are kept for a day
        assert await durable.forget_finished(older_than=timedelta(0)) >= 1
    finally:
        await durable.stop()
    assert await asyncio.to_thread(lambda: "ran") == "ran"  # the loop is left with threads that take work


@pytest.mark.parametrize(("seconds", "cron"), [(1, "*/1 * * * * *"), (30, "*/30 * * * * *"), (300, "0 * * * * *")])
def test_the_tick_is_as_often_as_it_must_be(seconds: int, cron: str) -> None:
    assert schedule(seconds)["schedule"] == cron
