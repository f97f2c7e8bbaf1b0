"""Tenant scope, after-commit work, partitions."""

from __future__ import annotations

import traceback

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bailiwick.kernel import outbox
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, after_commit, is_unavailable, system_transaction, tenant_transaction
from bailiwick.kernel.ids import uuid7


async def test_a_tenant_sees_and_writes_its_own_rows_only(db: Database) -> None:
    mine, other = uuid7(), uuid7()
    async with tenant_transaction(mine) as session:
        await outbox.emit(session, mine, "test", {})
    async with tenant_transaction(other) as session:
        assert (await session.scalar(text("select count(*) from outbox_events"))) == 0
        assert (await session.execute(text("delete from outbox_events returning 1"))).all() == []
    with pytest.raises(DBAPIError, match="row-level security"):
        async with tenant_transaction(other) as session:
            await outbox.emit(session, mine, "test", {})
    async with system_transaction(CrossTenantUse.OUTBOX) as session:
        assert (await session.scalar(text("select count(*) from outbox_events"))) == 1


async def test_rows_go_to_the_partition_of_their_month(db: Database) -> None:
    mine = uuid7()
    async with tenant_transaction(mine) as session:
        await outbox.emit(session, mine, "test", {})
        name = await session.scalar(text("select tableoid::regclass::text from outbox_events"))
    assert name is not None
    assert name.startswith("outbox_events_y")


async def test_work_after_commit_runs_only_after_a_commit(db: Database) -> None:
    ran: list[str] = []

    async def run() -> None:
        ran.append("ran")

    with pytest.raises(ZeroDivisionError):
        async with tenant_transaction(uuid7()) as session:
            after_commit(session, run)
            raise ZeroDivisionError
    assert ran == []
    async with tenant_transaction(uuid7()) as session:
        after_commit(session, run)
        assert ran == []
    assert ran == ["ran"]


async def test_connections_that_ended_in_the_pool_are_replaced_unnoticed(db: Database, database_url: str) -> None:
    mine = uuid7()
    async with tenant_transaction(mine) as first, tenant_transaction(mine) as second:
        ended = [await session.scalar(text("select pg_backend_pid()")) for session in (first, second)]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as superuser:
        for pid in ended:
            await superuser.execute("select pg_terminate_backend(%s, 10000)", [pid])
    async with tenant_transaction(mine) as first, tenant_transaction(mine) as second:
        await outbox.emit(first, mine, "test", {})
        for session in (first, second):
            assert await session.scalar(text("select pg_backend_pid()")) not in ended
            assert await session.scalar(text("select current_setting('bailiwick.organization_id')")) == str(mine)
    async with tenant_transaction(mine) as session:
        assert await session.scalar(text("select count(*) from outbox_events")) == 1


async def test_a_connection_that_ends_within_a_transaction_is_told(db: Database, database_url: str) -> None:
    mine = uuid7()
    with pytest.raises(DBAPIError) as raised:
        async with tenant_transaction(mine) as session:
            await outbox.emit(session, mine, "test", {})
            pid = await session.scalar(text("select pg_backend_pid()"))
            async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as superuser:
                await superuser.execute("select pg_terminate_backend(%s, 10000)", [pid])
            await session.execute(text("select 1"))
    assert is_unavailable(raised.value)
    async with tenant_transaction(mine) as session:
        assert await session.scalar(text("select count(*) from outbox_events")) == 0


async def test_the_application_role_cannot_leave_its_tenant_by_partition(db: Database) -> None:
    mine = uuid7()
    async with tenant_transaction(mine) as session:
        await outbox.emit(session, mine, "test", {})
    with pytest.raises(DBAPIError, match="permission denied"):
        async with tenant_transaction(uuid7()) as session:
            await session.execute(text("select * from outbox_events_default"))


async def test_an_error_does_not_tell_what_was_to_be_written(db: Database) -> None:
    with pytest.raises(DBAPIError, match="not-null") as raised:
        async with system_transaction(CrossTenantUse.SIGN_UP) as session:
            await session.execute(
                text("insert into users (id, name, password_hash) values (:id, null, :hash)"),
                {"id": uuid7(), "hash": "hash-of-a-password"},
            )
    assert "hash-of-a-password" not in "".join(traceback.format_exception(raised.value))
