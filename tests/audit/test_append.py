"""Appending: order, links and isolation, with connections that race for real."""

from __future__ import annotations

import asyncio
import hashlib
import random
from datetime import datetime, timedelta, timezone
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bailiwick import audit
from bailiwick.audit import log
from bailiwick.audit.verify import LogWalk
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction
from bailiwick.kernel.ids import uuid7
from tests.audit.conftest import pending


async def append_one(organization_id: UUID, subject: str = "sop_1") -> UUID:
    async with tenant_transaction(organization_id) as session:
        return await audit.append(
            session, organization_id, action="policy.updated", actor="usr_1", subject=subject, attributes={"n": 1}
        )


async def walk(organization_id: UUID) -> LogWalk:
    """The stored log, verified up to its head."""
    verified = LogWalk(organization_id)
    async with tenant_transaction(organization_id) as session:
        size = await log.size_of(session, organization_id)
    async for batch in log.read_log(organization_id, 0, size):
        for entry in batch:
            verified.take(entry)
    assert verified.frontier.size == size
    return verified


async def test_entries_are_linked_in_two_chains_under_one_sequence(db: Database) -> None:
    mine = uuid7()
    first = await append_one(mine)
    async with system_transaction(CrossTenantUse.SWEEP) as session:
        await audit.append_all(session, [pending(mine), pending(mine, "activity"), pending(mine)])
    async with tenant_transaction(mine) as session:
        entries = await log.read_range(session, mine, 0, 10)
        assert await log.find_entry(session, mine, entry_id=first) == entries[0]
    assert [(entry.sequence, entry.chain) for entry in entries] == [
        (0, "activity"),
        (1, "runs"),
        (2, "activity"),
        (3, "runs"),
    ]
    assert entries[1].prev_hash == entries[0].prev_hash == "0" * 64
    assert entries[3].prev_hash == entries[1].row_hash
    assert entries[3].row_hash == hashlib.sha256((entries[1].row_hash + entries[3].body).encode()).hexdigest()
    assert (await walk(mine)).by_chain == {"runs": 2, "activity": 2}


async def test_what_rolls_back_leaves_no_gap(db: Database) -> None:
    mine = uuid7()
    await append_one(mine)
    with pytest.raises(ZeroDivisionError):
        async with tenant_transaction(mine) as session:
            await audit.append(session, mine, action="policy.updated", actor="usr_1", subject="sop_1")
            raise ZeroDivisionError
    await append_one(mine)
    assert (await walk(mine)).frontier.size == 2


async def test_racing_appenders_make_one_sound_log_for_each_organization(db: Database) -> None:
    """Batches over several organizations in any order, against single appends: no deadlock, no gap, no fork."""
    organizations = [uuid7() for _ in range(4)]
    draw = random.Random(7)
    wanted = dict.fromkeys(organizations, 0)

    async def batch() -> None:
        entries = [pending(draw.choice(organizations), draw.choice(["runs", "activity"])) for _ in range(12)]
        for entry in entries:
            wanted[entry.organization_id] += 1
        async with system_transaction(CrossTenantUse.SWEEP) as session:
            await audit.append_all(session, entries)

    async def single() -> None:
        organization_id = draw.choice(organizations)
        wanted[organization_id] += 1
        await append_one(organization_id)

    await asyncio.gather(*(batch() if number % 3 else single() for number in range(60)))
    for organization_id in organizations:
        assert (await walk(organization_id)).frontier.size == wanted[organization_id]


async def test_another_organization_neither_sees_nor_appends(db: Database) -> None:
    mine, other = uuid7(), uuid7()
    entry_id = await append_one(mine)
    async with tenant_transaction(other) as session:
        assert await log.size_of(session, mine) == 0
        assert await log.read_range(session, mine, 0, 10) == []
        with pytest.raises(audit.EntryNotFound):
            await log.find_entry(session, mine, entry_id=entry_id)
    with pytest.raises(DBAPIError, match="is not that of organisation"):
        async with tenant_transaction(other) as session:
            await audit.append(session, mine, action="policy.updated", actor="usr_1", subject="sop_1")
    with pytest.raises(DBAPIError, match="permission denied"):
        async with tenant_transaction(other) as session:
            await audit.append_all(session, [pending(mine)])
    assert (await walk(mine)).frontier.size == 1


async def test_the_application_can_change_no_entry(db: Database) -> None:
    mine = uuid7()
    await append_one(mine)
    for statement in (
        "update audit_entries set body = '{}'",
        "delete from audit_entries",
        "truncate audit_entries",
        "insert into audit_entries (organization_id, id, sequence, chain, prev_hash, row_hash, body)"
        " select organization_id, gen_random_uuid(), 1, chain, prev_hash, row_hash, body from audit_entries",
        "update audit_heads set size = 0",
        "update audit_checkpoints set note = ''",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with tenant_transaction(mine) as session:
                await session.execute(text(statement))


async def test_nor_can_the_owner_by_accident(db: Database, database_url: str) -> None:
    await append_one(uuid7())
    for statement in (b"update audit_entries set body = '{}'", b"delete from audit_entries", b"truncate audit_entries"):
        with (
            psycopg.connect(database_url) as owner,
            pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
        ):
            owner.execute(statement)


async def test_arrays_of_different_length_append_nothing(db: Database) -> None:
    mine = uuid7()
    with pytest.raises(DBAPIError, match="differ in length"):
        async with system_transaction(CrossTenantUse.SWEEP) as session:
            await session.execute(
                text("select audit_append(:o, :i, array['runs'], '{}'::text[])"), {"o": [mine], "i": [uuid7()]}
            )


async def test_an_action_is_a_noun_and_a_verb(db: Database) -> None:
    mine = uuid7()
    async with tenant_transaction(mine) as session:
        for action in ("", "updated", "Policy.updated", "policy updated", "policy."):
            with pytest.raises(ValueError, match=r"noun\.verb_past"):
                await audit.append(session, mine, action=action, actor="usr_1", subject="sop_1")
        assert await log.size_of(session, mine) == 0


async def test_lists_are_filtered_and_paged(db: Database) -> None:
    mine = uuid7()
    for number in range(5):
        await append_one(mine, f"sop_{number}")
    async with tenant_transaction(mine) as session:
        await audit.append(session, mine, action="key.revoked", actor="usr_2", subject="vk_1")
    async with system_transaction(CrossTenantUse.SWEEP) as session:
        await audit.append_all(session, [pending(mine)])

    everything = await audit.list_entries(mine)
    assert [entry.sequence for entry in everything.entries] == [6, 5, 4, 3, 2, 1, 0]
    assert everything.next_cursor is None
    seen, cursor = [], None
    while True:
        page = await audit.list_entries(mine, action="policy.updated", cursor=cursor, limit=2)
        seen += [entry.sequence for entry in page.entries]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [4, 3, 2, 1, 0]
    assert [entry.sequence for entry in (await audit.list_entries(mine, actor="usr_2")).entries] == [5]
    assert [entry.sequence for entry in (await audit.list_entries(mine, chain="runs")).entries] == [6]
    assert (await audit.list_entries(mine, chain="runs", actor="usr_2")).entries == []
    made = ids.time_of(everything.entries[-1].id)
    assert (await audit.list_entries(mine, until=made)).entries == []
    assert (await audit.list_entries(mine, since=made)).entries == everything.entries
    naive = datetime.fromisoformat("0001-01-01")  # what a client may send
    for moment in (naive, naive.replace(tzinfo=timezone(timedelta(hours=14)))):
        assert (await audit.list_entries(mine, since=moment)).entries == everything.entries
        assert (await audit.list_entries(mine, until=moment)).entries == []
    assert (await audit.list_entries(mine, until=naive.replace(year=9999))).entries == everything.entries
    assert (await audit.list_entries(uuid7())).entries == []
