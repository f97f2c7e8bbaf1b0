"""Invocations under way in an older database, which had rows of their own: the migration leaves their holds alone."""

from __future__ import annotations

import uuid

import psycopg
from alembic import command
from psycopg.rows import dict_row

from bailiwick.kernel import ids
from bailiwick.kernel.database import APPLICATION_ROLE, SYSTEM_ROLE
from bailiwick.kernel.migrate import alembic_config, migrate
from tests.conftest import drop, with_database

_BEFORE = "0013"
_INVOCATION = (
    "insert into invocations (organization_id, id, kind, target_kind, target_name, subject, membership_id,"
    " session_name, hold_id, status) values (%s, %s, 'chat', 'model', 'fast', 'usr_1', %s, 's1', %s, %s)"
)
_HOLD = (
    "insert into holds (organization_id, id, ledger, debit_account_id, credit_account_id, amount, state, kind,"
    " reference, lease_expires_at) values (%s, %s, 'usd_micros', %s, %s, 7, %s, 'invocation', %s, now())"
)


def test_what_is_under_way_is_found_by_its_hold_and_nobody_changes_a_row(server_url: str) -> None:
    name = f"older_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'create database "{name}"'.encode())
    url = with_database(server_url, name)
    organization, member, account, sink = (ids.uuid7() for _ in range(4))
    running, ended, its_hold, ended_hold = (ids.uuid7() for _ in range(4))
    try:
        command.upgrade(alembic_config(url), _BEFORE)
        with psycopg.connect(url) as connection:
            connection.execute("select bailiwick_ensure_partitions()")
            for invocation, hold, status, state in (
                (running, its_hold, "started", "open"),
                (ended, ended_hold, "completed", "posted"),
            ):
                connection.execute(_HOLD, (organization, hold, account, sink, state, str(invocation)))
                connection.execute(_INVOCATION, (organization, invocation, member, hold, status))
        migrate(url)
        with psycopg.connect(url, row_factory=dict_row) as connection:
            holds = connection.execute("select id, state, amount, reference from holds order by state").fetchall()
            rows = connection.execute("select id, hold_id, status from invocations").fetchall()
            found = connection.execute(
                "select * from invocations_found(%s, %s) order by id", (organization, [running, ended])
            ).fetchall()
            may_change = connection.execute(
                "select has_table_privilege(role, 'invocations', 'update') as it from unnest(%s::text[]) as role",
                ([APPLICATION_ROLE, SYSTEM_ROLE],),
            ).fetchall()
    finally:
        drop(server_url, url)
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
