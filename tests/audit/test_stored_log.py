"""Checkpoints, proofs and exports of stored logs, and what verification finds when somebody owns the database."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import psycopg
import pytest

from bailiwick import audit
from bailiwick.audit import heads, tree
from bailiwick.audit.verify import Check
from bailiwick.kernel.crypto import SealBroken
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from tests.audit import logs
from tests.audit.conftest import append_many


async def exported(organization_id: UUID, first: int = 0) -> list[str]:
    pieces = [piece async for piece in await audit.export_log(organization_id, first=first)]
    return "".join(pieces).splitlines(keepends=True)


async def test_a_checkpoint_covers_what_was_committed_and_is_made_once(db: Database) -> None:
    mine = uuid7()
    nothing = await audit.make_checkpoint(mine)
    assert nothing.size == 0
    await append_many(mine, 5)
    five = await audit.make_checkpoint(mine)
    assert await audit.make_checkpoint(mine) == five
    opened = audit.open_checkpoint(five.note, five.verifier_key)
    assert (opened.size, opened.root) == (5, five.root)
    assert str(nothing.verifier_key) == str(five.verifier_key)
    assert five.verifier_key.name == audit.origin_of(mine)


async def test_a_long_log_joins_the_tree_in_batches(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_BATCH", 100)
    mine = uuid7()
    await append_many(mine, 777)
    checkpoint = await audit.make_checkpoint(mine)
    assert checkpoint.size == 777
    assert (await audit.verify_stored_log(mine)).root == checkpoint.root


async def test_due_checkpoints_are_made_for_logs_that_grew(db: Database) -> None:
    mine, other = uuid7(), uuid7()
    await append_many(mine, 3)
    await append_many(other, 2)
    assert await audit.make_due_checkpoints() == 2
    assert await audit.make_due_checkpoints() == 0
    await append_many(mine, 1)
    assert await audit.make_due_checkpoints() == 1
    assert (await audit.make_checkpoint(mine)).size == 4


async def test_racing_checkpoints_and_appends_stay_consistent(db: Database) -> None:
    mine = uuid7()
    await append_many(mine, 1)

    async def work(number: int) -> audit.SignedCheckpoint:
        await append_many(mine, number % 7)
        return await audit.make_checkpoint(mine)

    made = await asyncio.gather(*(work(number) for number in range(24)))
    last = await audit.make_checkpoint(mine)
    for checkpoint in made:
        proof = await audit.prove_consistency(mine, checkpoint.size)
        assert proof.first_checkpoint == checkpoint
        assert audit.verify_consistency(checkpoint.size, last.size, proof.hashes, checkpoint.root, last.root)
    assert (await audit.verify_stored_log(mine)).size == last.size == 1 + sum(number % 7 for number in range(24))


async def test_every_entry_is_proved(db: Database) -> None:
    mine = uuid7()
    appended = await append_many(mine, 300)
    checkpoint = await audit.make_checkpoint(mine)
    for sequence in (0, 1, 255, 256, 299):
        proof = await audit.prove_inclusion(mine, entry_id=appended[sequence].id)
        assert proof == await audit.prove_inclusion(mine, sequence=sequence)
        assert (proof.entry.sequence, proof.entry.body) == (sequence, appended[sequence].body)
        assert proof.checkpoint == checkpoint
        assert audit.verify_inclusion(proof.leaf_hash, sequence, 300, proof.hashes, checkpoint.root)
    within = await audit.prove_inclusion(mine, sequence=4, size=5)
    assert audit.verify_inclusion(within.leaf_hash, 4, 5, within.hashes, within.root)
    assert within.checkpoint is None


async def test_an_entry_younger_than_the_last_checkpoint_gets_a_new_one(db: Database) -> None:
    mine = uuid7()
    await append_many(mine, 2)
    await audit.make_checkpoint(mine)
    await append_many(mine, 2)
    assert (await audit.prove_inclusion(mine, sequence=1)).size == 2
    assert (await audit.prove_inclusion(mine, sequence=1, size=3)).size == 3
    proof = await audit.prove_inclusion(mine, sequence=3)
    assert proof.checkpoint is not None
    assert proof.size == proof.checkpoint.size == 4


async def test_what_is_not_in_the_log_has_no_proof(db: Database) -> None:
    mine, other = uuid7(), uuid7()
    (theirs,) = await append_many(other, 1)
    await append_many(mine, 2)
    with pytest.raises(audit.EntryNotFound):
        await audit.prove_inclusion(mine, entry_id=theirs.id)
    with pytest.raises(audit.EntryNotFound):
        await audit.prove_inclusion(mine, sequence=2)
    for size in (1, 3):
        with pytest.raises(InvalidInput, match="size"):
            await audit.prove_inclusion(mine, sequence=1, size=size)
    for first, second in ((-1, 1), (2, 1), (0, 3)):
        with pytest.raises(InvalidInput, match=r"first|second"):
            await audit.prove_consistency(mine, first, second)


async def test_an_export_holds_for_both_verifiers_and_against_earlier_checkpoints(db: Database) -> None:
    mine = uuid7()
    await append_many(mine, 260)
    kept = await audit.make_checkpoint(mine)
    await append_many(mine, 41)
    earlier = [audit.open_checkpoint(kept.note, kept.verifier_key)]
    lines = await exported(mine)
    assert len(lines) == 303
    assert logs.verdicts(lines, key=kept.verifier_key, earlier=earlier) == (None, None)
    partial = await exported(mine, first=259)
    assert len(partial) == 44
    assert logs.verdicts(partial, key=kept.verifier_key, earlier=earlier, partial=True) == (None, None)
    for first in (-1, 302):
        with pytest.raises(InvalidInput, match="first"):
            await exported(mine, first=first)
    assert logs.verdicts(await exported(uuid7())) != (None, None)


async def test_an_organization_exports_only_its_own(db: Database) -> None:
    mine, other = uuid7(), uuid7()
    await append_many(mine, 4)
    await append_many(other, 3)
    assert [json.loads(line)["organization_id"] for line in (await exported(mine))[1:-1]] == [str(mine)] * 4


async def test_a_signing_key_of_another_installation_does_not_open(db: Database, database_url: str) -> None:
    mine, other = uuid7(), uuid7()
    await audit.make_checkpoint(mine)
    await audit.make_checkpoint(other)
    with psycopg.connect(database_url) as owner:
        owner.execute(
            "update audit_signing_keys set sealed_private_key ="
            " (select sealed_private_key from audit_signing_keys where organization_id = %(other)s)"
            " where organization_id = %(mine)s",
            {"other": other, "mine": mine},
        )
    await append_many(mine, 1)
    with pytest.raises(SealBroken):
        await audit.make_checkpoint(mine)


TAMPERING: dict[str, tuple[Check, int | None, str]] = {
    "body": ("row_hash", 3, "update audit_entries set body = replace(body, 'größe', 'Größe') where sequence = 3"),
    "chain": ("link", 3, "update audit_entries set chain = 'activity' where sequence = 3"),
    "id": ("id", 3, "update audit_entries set id = overlay(id::text placing 'ffff' from 33)::uuid where sequence = 3"),
    "sequence": ("sequence", 3, "update audit_entries set sequence = 4 where sequence = 3"),
    "sequences exchanged": ("root", None, "update audit_entries set sequence = 7 - sequence where sequence in (3, 4)"),
    "prev_hash": ("link", 3, "update audit_entries set prev_hash = sha256('') where sequence = 3"),
    "row_hash": ("row_hash", 3, "update audit_entries set row_hash = sha256('') where sequence = 3"),
    "action": ("column", 7, "update audit_entries set action = 'key.created' where sequence = 7"),
    "actor": ("column", 7, "update audit_entries set actor = 'usr_2' where sequence = 7"),
    "agent_id": ("column", 3, "update audit_entries set agent_id = null where sequence = 3"),
    "an entry removed": ("sequence", 3, "delete from audit_entries where sequence = 3"),
    "the tail removed": ("head", None, "delete from audit_entries where sequence > 7"),
    "the tail removed with its trace": (
        "root",
        None,
        "delete from audit_entries where sequence > 7; update audit_heads h set size = 8,"
        " runs_hash = (select row_hash from audit_entries where chain = 'runs' order by sequence desc limit 1),"
        " activity_hash = (select row_hash from audit_entries where chain = 'activity' order by sequence desc limit 1)",
    ),
    "all but the checkpoints removed": ("root", None, "delete from audit_entries; delete from audit_heads"),
    "the head set back": ("head", None, "update audit_heads set size = 8"),
    "the head's hash": ("head", None, "update audit_heads set runs_hash = sha256('')"),
    "a tile": ("tree", None, "update audit_tree_tiles set hashes = set_byte(hashes, 5, 255 - get_byte(hashes, 5))"),
    "a tile removed": ("tree", None, "delete from audit_tree_tiles"),
    "a checkpoint's root": ("signature", None, "update audit_checkpoints set root = sha256('')"),
    "a checkpoint's note": (
        "signature",
        None,
        "update audit_checkpoints set note = translate(note, 'ABCDEFGH', 'BADCFEHG')",
    ),
    "a checkpoint's key": ("signature", None, "delete from audit_signing_keys"),
    "an entry forged whole": (
        "root",
        None,
        "update audit_entries e set body = f.body, row_hash = sha256(convert_to(encode(e.prev_hash, 'hex') || f.body,"
        " 'UTF8')) from (select replace(body, 'hold_1', 'hold_2') as body from audit_entries where sequence = 10) f"
        " where e.sequence = 10; update audit_heads set activity_hash ="
        " (select row_hash from audit_entries where sequence = 10)",
    ),
}


@pytest.mark.parametrize("damage", TAMPERING)
async def test_tampering_with_the_database_is_found(db: Database, database_url: str, damage: str) -> None:
    check, sequence, statements = TAMPERING[damage]
    mine = uuid7()
    await append_many(mine, 12)
    await audit.make_checkpoint(mine)
    assert (await audit.verify_stored_log(mine)).by_chain == {"runs": 8, "activity": 4}
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")  # the owner's way past the triggers
        owner.execute(statements.encode())
    with pytest.raises(audit.LogBroken) as found:
        await audit.verify_stored_log(mine)
    assert (found.value.check, found.value.sequence) == (check, sequence)


async def test_the_installation_is_verified_log_by_log(db: Database, database_url: str) -> None:
    sound, broken = sorted([uuid7(), uuid7()])
    for organization_id in (sound, broken):
        await append_many(organization_id, 4)
    await audit.make_due_checkpoints()
    await append_many(sound, 2)
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("delete from audit_entries where organization_id = %s and sequence = 1", (broken,))
    verdicts = [verdict async for verdict in audit.verify_installation()]
    assert [verdict.organization_id for verdict in verdicts] == [sound, broken]
    assert verdicts[0].verified is not None
    assert verdicts[0].verified.size == 6
    assert verdicts[1].broken is not None
    assert verdicts[1].broken.sequence == 1


async def test_the_stored_tree_answers_for_another_organization_nothing(db: Database) -> None:
    mine = uuid7()
    await append_many(mine, 3)
    await audit.make_checkpoint(mine)
    async with tenant_transaction(uuid7()) as session:
        with pytest.raises(KeyError):
            await tree.root_at(session, mine, 3)
        assert await heads.signed_size(session, mine) is None
        assert await heads.find_checkpoint(session, mine, 3) is None
