"""Fetching what is due: outcome and cursor together, sharing between processes, changes meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from bailiwick.identity import Caller
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction
from bailiwick.logsources import (
    Connector,
    create_source,
    fetch_due,
    list_sources,
    recent_events,
    update_source,
)
from bailiwick.logsources.connectors import FetchResult, Microsoft365
from bailiwick.logsources.fetching import claim_next, fetch_source
from bailiwick.secrets import Secret, put_secret
from bailiwick.settings import Settings
from tests.logsources.organizations import actions, new_caller
from tests.logsources.stubs.microsoft import CLIENT, TENANT, Microsoft, audit_record
from tests.logsources.stubs.server import serving

Connectors = Mapping[str, Connector]


@pytest.fixture
def settings_for_test(settings_for_test: Settings) -> Settings:
    """The product's own client may reach the stubs."""
    return settings_for_test.model_copy(update={"outbound_allowed_hosts": ["127.0.0.1"]})


@pytest.fixture
def microsoft() -> Microsoft:
    return Microsoft()


@pytest.fixture
async def connectors(microsoft: Microsoft) -> AsyncIterator[Connectors]:
    async with serving(microsoft.app()) as url:
        yield {"m365_unified_audit": Microsoft365(base_url=url, login_url=url)}


async def source_of(caller: Caller) -> Any:
    """A source with its secret in the organization's own store."""
    await put_secret(caller.tenant, "m365", Secret(json.dumps(CLIENT)), actor=caller.subject)
    return await create_source(
        caller,
        source_type="m365_unified_audit",
        display_name="Contoso",
        config={"tenantId": TENANT, "contentTypes": "Audit.General"},
        secret_ref="m365",
    )


def publish(microsoft: Microsoft, count: int) -> None:
    made = datetime.now(UTC) - timedelta(minutes=20)
    records = [audit_record(n, made - timedelta(seconds=n)) for n in range(count)]
    microsoft.blobs["Audit.General"] = [(made, "b1", records)]


async def make_due() -> None:
    async with system_transaction(CrossTenantUse.LOG_SOURCE_SCHEDULE) as session:
        await session.execute(text("update log_sources set due_at = now() - interval '1 second'"))


async def row_of(source: Any) -> Any:
    async with system_transaction(CrossTenantUse.LOG_SOURCE_SCHEDULE) as session:
        return (await session.execute(text("select * from log_sources where id = :id"), {"id": source.id})).one()


async def events_of(caller: Caller) -> Any:
    now = datetime.now(UTC)
    return await recent_events(caller.tenant, since=now - timedelta(days=1), until=now, limit=10_000)


async def test_a_due_source_is_fetched_once_and_its_events_read_by_its_own_organization(
    db: Database, microsoft: Microsoft, connectors: Connectors
) -> None:
    caller, other = await new_caller(), await new_caller()
    source = await source_of(caller)
    publish(microsoft, 2_500)  # more than one round
    assert await fetch_due(connectors) == 1
    assert await fetch_due(connectors) == 0
    events = await events_of(caller)
    assert len({event.event_id for event in events}) == len(events) == 2_500
    assert events[0].at == max(event.at for event in events)
    assert (events[0].source_id, events[0].source_name) == (source.public_id, "Contoso")
    assert events[0].attributes["Workload"] == "AzureActiveDirectory"
    assert await events_of(other) == []
    (shown,) = await list_sources(caller)
    assert shown.last_fetched_at is not None
    assert shown.fetch_error is None
    assert shown.updated_at == source.updated_at
    # Nothing new: nothing stored, nothing in the log.
    before = await actions(caller)
    await make_due()
    assert await fetch_due(connectors) == 1
    assert len(await events_of(caller)) == 2_500
    assert await actions(caller) == before
    assert "log_source.fetched" in before


async def test_a_failure_is_recorded_once_told_and_mends(
    db: Database, microsoft: Microsoft, connectors: Connectors
) -> None:
    caller = await new_caller()
    source = await source_of(caller)
    publish(microsoft, 3)
    for _ in range(2):
        microsoft.answers = [web.Response(status=500)]
        await make_due()
        await fetch_due(connectors)
    row = await row_of(source)
    assert "status 500" in row.fetch_error
    assert (row.failures, row.claim, row.last_fetched_at) == (2, None, None)
    assert row.due_at > datetime.now(UTC) + timedelta(seconds=400)  # twice the interval
    assert (await actions(caller)).count("log_source.fetch_failed") == 1
    microsoft.answers = [web.Response(status=429, headers={"Retry-After": "1800"})]
    await make_due()
    await fetch_due(connectors)
    assert (await row_of(source)).due_at > datetime.now(UTC) + timedelta(seconds=1700)
    await make_due()
    await fetch_due(connectors)
    row = await row_of(source)
    assert (row.fetch_error, row.failures) == (None, 0)
    assert len(await events_of(caller)) == 3


@pytest.mark.parametrize("secret_ref", [None, "not-there"])
async def test_a_source_without_a_usable_secret_says_so(
    db: Database, connectors: Connectors, secret_ref: str | None
) -> None:
    caller = await new_caller()
    await create_source(
        caller,
        source_type="m365_unified_audit",
        display_name="x",
        config={"tenantId": TENANT},
        secret_ref=secret_ref,
    )
    await fetch_due(connectors)
    (shown,) = await list_sources(caller)
    assert shown.fetch_error is not None
    assert "secret" in shown.fetch_error.lower()


async def test_processes_share_the_sources_without_fetching_one_twice(db: Database) -> None:
    fetched: list[str] = []

    class Slow:
        async def fetch(self, session: Any, config: Any, secret: Any, cursor: Any, limit: int) -> FetchResult:
            fetched.append(config["tenantId"])
            await asyncio.sleep(0.02)
            return FetchResult(events=[], cursor={}, more=False)

    callers = [await new_caller() for _ in range(3)]
    for caller in callers:
        await put_secret(caller.tenant, "s", Secret("x"), actor="test")
        for number in range(4):
            await create_source(
                caller,
                source_type="m365_unified_audit",
                display_name="x",
                config={"tenantId": f"{caller.tenant}-{number}"},
                secret_ref="s",
            )
    counts = await asyncio.gather(*(fetch_due({"m365_unified_audit": Slow()}, concurrency=2) for _ in range(3)))
    assert sum(counts) == 12
    assert len(set(fetched)) == len(fetched) == 12


async def test_a_claim_is_exclusive_until_its_lease_ends(db: Database) -> None:
    await source_of(await new_caller())
    assert await claim_next() is not None
    assert await claim_next() is None
    async with system_transaction(CrossTenantUse.LOG_SOURCE_SCHEDULE) as session:
        await session.execute(text("update log_sources set claimed_until = now() - interval '1 second'"))
    assert await claim_next() is not None


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"config": {"tenantId": TENANT, "contentTypes": "Audit.Exchange"}}]
)
async def test_a_change_meanwhile_makes_the_fetch_void(
    db: Database, microsoft: Microsoft, connectors: Connectors, change: dict[str, Any]
) -> None:
    caller = await new_caller()
    source = await source_of(caller)
    publish(microsoft, 3)
    claimed = await claim_next()
    assert claimed is not None
    await update_source(caller, source.public_id, **change)
    await fetch_source(claimed, connectors["m365_unified_audit"])
    assert await events_of(caller) == []
    row = await row_of(source)
    assert (row.cursor, row.claim, row.last_fetched_at) == (None, None, None)


async def test_events_of_a_disabled_source_are_not_read(
    db: Database, microsoft: Microsoft, connectors: Connectors
) -> None:
    caller = await new_caller()
    source = await source_of(caller)
    publish(microsoft, 3)
    await fetch_due(connectors)
    await update_source(caller, source.public_id, enabled=False)
    assert await events_of(caller) == []
    assert await fetch_due(connectors) == 0


async def test_one_broken_connector_does_not_stop_the_others(
    db: Database, microsoft: Microsoft, connectors: Connectors
) -> None:
    class Broken:
        async def fetch(self, session: Any, config: Any, secret: Any, cursor: Any, limit: int) -> FetchResult:
            raise ZeroDivisionError

    caller = await new_caller()
    await source_of(caller)
    await create_source(
        caller, source_type="gcp_cloud_audit", display_name="x", config={"projectId": "acme"}, secret_ref="m365"
    )
    publish(microsoft, 3)
    assert await fetch_due({**connectors, "gcp_cloud_audit": Broken()}, concurrency=1) == 2
    good, bad = await list_sources(caller)
    assert good.fetch_error is None
    assert bad.fetch_error is not None
    assert "broke on our side" in bad.fetch_error
