"""Invocations under way in an older database, which had rows of their own: the migration leaves their holds alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from bailiwick.invocations import TraceStatus, get_trace, list_traces, sweep
from bailiwick.kernel import ids, runtime
from bailiwick.kernel.database import APPLICATION_ROLE, SYSTEM_ROLE, Database
from bailiwick.kernel.migrate import migrate
from bailiwick.settings import Settings
from tests.invocations.older_databases import older_database

_BEFORE = "0013"
_MONTH = datetime(2026, 4, 1, tzinfo=UTC)
_INVOCATION = (
    "insert into invocations (organization_id, id, kind, target_kind, target_name, subject, membership_id,"
    " session_name, hold_id, status) values (%s, %s, 'chat', 'model', 'fast', 'usr_1', %s, 's1', %s, %s)"
)
_HOLD = (
    "insert into holds (organization_id, id, ledger, debit_account_id, credit_account_id, amount, state, kind,"
    " reference, lease_expires_at) values (%s, %s, 'usd_micros', %s, %s, 7, %s, 'invocation', %s, now())"
)


@pytest.fixture
def older_url(server_url: str, template_database: str) -> Iterator[str]:
    """A database of before; `template_database` has made its roles."""
    del template_database
    with older_database(server_url, _BEFORE) as url:
        yield url


def _id_at(moment: datetime) -> UUID:
    return UUID(int=ids.uuid_at(moment).int | uuid.uuid4().int % 2**62)


def test_what_is_under_way_is_found_by_its_hold_and_nobody_changes_a_row(older_url: str) -> None:
    organization, member, account, sink = (ids.uuid7() for _ in range(4))
    running, its_hold = _id_at(_MONTH - timedelta(seconds=1)), _id_at(_MONTH)  # in two partitions
    ended, ended_hold = ids.uuid7(), ids.uuid7()
    with psycopg.connect(older_url) as connection:
        for invocation, hold, status, state in (
            (running, its_hold, "started", "open"),
            (ended, ended_hold, "completed", "posted"),
        ):
            connection.execute(_HOLD, (organization, hold, account, sink, state, str(invocation)))
            connection.execute(_INVOCATION, (organization, invocation, member, hold, status))
    migrate(older_url)
    with psycopg.connect(older_url, row_factory=dict_row) as connection:
        holds = connection.execute("select id, state, amount, reference from holds order by state").fetchall()
        rows = connection.execute("select id, hold_id, status from invocations").fetchall()
        found = connection.execute(
            "select * from invocations_found(%s, %s) order by id", (organization, [running, ended])
        ).fetchall()
        may_change = connection.execute(
            "select has_table_privilege(role, 'invocations', 'update') as it from unnest(%s::text[]) as role",
            ([APPLICATION_ROLE, SYSTEM_ROLE],),
        ).fetchall()
    assert [tuple(hold.values()) for hold in holds] == [
        (running, "open", 7, None),
        (ended_hold, "posted", 7, str(ended)),
    ]
    assert rows == [{"id": ended, "hold_id": ended_hold, "status": "completed"}]
    assert [(one["id"], one["status"]) for one in found] == [(running, "started"), (ended, "completed")]
    started, completed = found
    told = set(started) - {"id", "hold_id", "status"}
    assert {name: started[name] for name in told} == {name: completed[name] for name in told}
    assert (started["membership_id"], started["session_name"], started["cost_micros"]) == (member, "s1", 0)
    assert not any(role["it"] for role in may_change)


async def test_half_of_an_invocation_under_way_stops_neither_sweeps_nor_lists(
    older_url: str, settings_for_test: Settings
) -> None:
    organization, account, sink = (ids.uuid7() for _ in range(3))
    without_hold, without_row, whole, its_hold = (ids.uuid7() for _ in range(4))
    with psycopg.connect(older_url) as connection:
        connection.execute(_INVOCATION, (organization, without_hold, None, ids.uuid7(), "started"))
        connection.execute(_HOLD, (organization, without_row, account, sink, "open", None))
        connection.execute(_HOLD, (organization, its_hold, account, sink, "open", str(whole)))
        connection.execute(_INVOCATION, (organization, whole, None, its_hold, "started"))
    migrate(older_url)
    runtime.start(settings_for_test, older_url)
    try:
        before = await list_traces(organization, limit=9, offset=0)
        assert await sweep() == 2
        after = await list_traces(organization, limit=9, offset=0)
        lost = await list_traces(organization, limit=9, offset=0, status=TraceStatus.LOST)
        one = await get_trace(organization, ids.encode(ids.Prefix.TRACE, without_hold))
    finally:
        await runtime.stop()
    assert [(trace.id, trace.status) for trace in before.traces] == [(whole, "started"), (without_hold, "lost")]
    assert [(trace.id, trace.status) for trace in after.traces] == [(whole, "lost"), (without_hold, "lost")]
    assert (before.total, after.total, lost.total) == (2, 2, 2)
    assert one.error_code == "LEASE_EXPIRED"
    assert one.finished_at is not None


async def test_a_hold_that_tells_nothing_is_swept_and_stands_in_no_list(db: Database, database_url: str) -> None:
    """A statement of an older server that was at work during the migration would leave such a one."""
    organization, hold, account, sink = (ids.uuid7() for _ in range(4))
    with psycopg.connect(database_url) as connection:
        connection.execute(_HOLD, (organization, hold, account, sink, "open", None))
    assert (await list_traces(organization, limit=9, offset=0)).traces == []
    assert await sweep() == 1
    assert (await list_traces(organization, limit=9, offset=0)).total == 0
