"""Broken logs: each kind of damage is found by our verifier, which names the place, and by the auditors' own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bailiwick.audit import export
from bailiwick.audit.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from bailiwick.audit.entries import canonical_json
from bailiwick.audit.verify import verify_export
from tests.audit import logs

ENTRIES = logs.make_entries(11)
LINES = logs.export_of(ENTRIES)
FORK = logs.chained([*ENTRIES[:5], *logs.make_entries(11, salt="other")[5:]])


def assert_found(lines: list[str], check: str, sequence: int | None = None, **given: Any) -> None:
    ours, theirs = logs.verdicts(lines, **given)
    assert ours is not None
    assert (ours.check, ours.sequence) == (check, sequence), str(ours)
    assert theirs is not None
    if sequence is not None:
        assert f"entry {sequence}" in theirs


@pytest.mark.parametrize("size", [0, 1, 2, 11])
def test_a_sound_log_holds(size: int) -> None:
    entries = ENTRIES[:size]
    earlier = [logs.head_of(ENTRIES[:kept]) for kept in range(size + 1)]
    lines = logs.export_of(entries)
    assert logs.verdicts(lines, earlier=earlier) == (None, None)
    verified = verify_export(lines, logs.key_of())
    assert (verified.first, verified.size, verified.root) == (0, size, logs.head_of(entries).root)
    assert sum(verified.by_chain.values()) == size


@pytest.mark.parametrize("first", range(12))
def test_a_partial_export_holds_when_it_is_asked_for(first: int) -> None:
    lines = logs.export_of(ENTRIES, first=first)
    earlier = [logs.head_of(ENTRIES[:kept]) for kept in range(first, 12)]
    assert logs.verdicts(lines, partial=True, earlier=earlier) == (None, None)
    if first:
        assert_found(lines, "header")
        assert_found(lines, "consistency", partial=True, earlier=[logs.head_of(ENTRIES[: first - 1])])


EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "sequence": ("sequence", lambda entry: entry.update(sequence=entry["sequence"] + 1)),
    "sequence as text": ("line", lambda entry: entry.update(sequence=str(entry["sequence"]))),
    "id": ("id", lambda entry: entry.update(id=entry["id"][:-1] + "f")),
    "organization": ("organization", lambda entry: entry.update(organization_id=entry["id"])),
    "prev_hash": ("link", lambda entry: entry.update(prev_hash="1" + entry["prev_hash"][1:])),
    "row_hash": ("row_hash", lambda entry: entry.update(row_hash="1" + entry["row_hash"][:-1])),
    "row_hash in capitals": ("line", lambda entry: entry.update(row_hash=entry["row_hash"].upper())),
    "chain": ("link", lambda entry: entry.update(chain={"runs": "activity"}.get(entry["chain"], "runs"))),
    "no such chain": ("line", lambda entry: entry.update(chain="other")),
    "a field more": ("line", lambda entry: entry.update(note="covered by no hash")),
    "a field less": ("line", lambda entry: entry.pop("prev_hash")),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("place", [3, 4, 10])
def test_an_edited_field_is_found_where_it_stands(edit: str, place: int) -> None:
    check, change = EDITS[edit]
    assert_found(logs.edited(LINES, place + 1, change), check, place)


@pytest.mark.parametrize("place", [0, 1, 10])
def test_every_edited_value_of_a_body_is_found(place: int) -> None:
    body = json.loads(ENTRIES[place].body)
    for name, value in body.items():
        changed = canonical_json(body | {name: f"{value}x"})
        lines = list(LINES)
        lines[place + 1] = export.entry_line(replace(ENTRIES[place], body=changed))
        assert_found(lines, "row_hash", place)


def test_another_spelling_of_the_same_body_is_found_though_hashed_anew() -> None:
    spaced = json.dumps(json.loads(ENTRIES[4].body))
    entries = logs.chained([*ENTRIES[:4], replace(ENTRIES[4], body=spaced), *ENTRIES[5:]])
    assert_found(logs.export_of(entries), "body", 4)


@pytest.mark.parametrize("body", ["[]", "text", '{"a":1,"a":1}', "[" * 100_000])
def test_a_body_that_is_no_object_is_found_though_hashed_anew(body: str) -> None:
    entries = logs.chained([*ENTRIES[:4], replace(ENTRIES[4], body=body), *ENTRIES[5:]])
    assert_found(logs.export_of(entries), "body", 4)


def test_a_body_under_the_id_of_another_entry_is_found() -> None:
    entries = logs.chained([*ENTRIES[:4], replace(ENTRIES[4], body=ENTRIES[7].body), *ENTRIES[5:]])
    assert_found(logs.export_of(entries), "id", 4)


def test_an_entry_edited_and_chained_anew_is_found_by_the_signed_root() -> None:
    body = canonical_json(json.loads(ENTRIES[4].body) | {"actor": "someone else"})
    entries = logs.chained([*ENTRIES[:4], replace(ENTRIES[4], body=body), *ENTRIES[5:]])
    assert_found(logs.export_of(entries, head=logs.head_of(ENTRIES)), "root")


def test_a_dropped_tail_is_found() -> None:
    assert_found([*LINES[:-3], LINES[-1]], "size")
    shorter = logs.edited([*LINES[:-3], LINES[-1]], 0, lambda header: header.update(size=9))
    assert_found(shorter, "size")


def test_a_dropped_tail_is_found_by_the_checkpoint_of_before_when_the_rest_is_signed_anew() -> None:
    shorter = logs.export_of(ENTRIES[:9])
    assert logs.verdicts(shorter) == (None, None)
    assert_found(shorter, "consistency", earlier=[logs.head_of(ENTRIES)])


def test_a_dropped_head_is_found() -> None:
    assert_found([LINES[0], *LINES[2:]], "sequence", 0)
    entries = logs.chained(ENTRIES[1:])
    assert_found(logs.export_of(entries, head=logs.head_of(ENTRIES)), "size")
    begun_later = logs.edited([LINES[0], *LINES[2:]], 0, lambda header: header.update(first=1, left=["00" * 32]))
    assert_found(begun_later, "header")
    assert_found(begun_later, "root", partial=True)
    assert_found(logs.edited(begun_later, 0, lambda header: header.update(left=[])), "header", partial=True)


def test_a_dropped_entry_is_found() -> None:
    assert_found([*LINES[:6], *LINES[7:]], "sequence", 5)


def test_entries_in_another_order_are_found() -> None:
    assert_found([*LINES[:4], LINES[5], LINES[4], *LINES[6:]], "sequence", 3)
    swapped = logs.chained([*ENTRIES[:3], ENTRIES[4], ENTRIES[3], *ENTRIES[5:]])  # of two chains: all links still hold
    assert_found(logs.export_of(swapped, head=logs.head_of(ENTRIES)), "root")


def test_a_fork_is_found_by_the_checkpoint_of_before() -> None:
    """Both branches are signed and sound in themselves."""
    forked = logs.export_of(FORK)
    assert logs.verdicts(forked) == (None, None)
    assert logs.verdicts(forked, earlier=[logs.head_of(ENTRIES[:5])]) == (None, None)
    for kept in range(6, 12):
        assert_found(forked, "consistency", earlier=[logs.head_of(ENTRIES[:kept])])


def test_a_splice_of_two_logs_is_found() -> None:
    # Entry 7 still links to what both branches have in common; 8 is the first that does not.
    assert_found([*LINES[:8], *logs.export_of(FORK)[8:]], "link", 8)
    other = logs.make_entries(11, organization_id=UUID(int=logs.ORGANIZATION.int + 1))
    assert_found([*LINES[:8], *logs.export_of(other)[8:]], "organization", 7)


def test_chains_in_each_others_place_are_found() -> None:
    swap = {"runs": "activity", "activity": "runs"}
    entries = [replace(entry, chain=swap[entry.chain]) for entry in ENTRIES]  # type: ignore[arg-type]
    assert_found(logs.export_of(entries, head=logs.head_of(ENTRIES)), "root")


@pytest.mark.parametrize("lines", [[], LINES[:1], LINES[:7], LINES[:-1], [*LINES[:7], LINES[7][:40]]])
def test_a_cut_file_is_found(lines: list[str]) -> None:
    ours, theirs = logs.verdicts(lines)
    assert ours is not None
    assert ours.check in ("header", "end", "line")
    assert theirs is not None


@pytest.mark.parametrize("extra", [LINES[1], LINES[-1], "\n", "{}\n"])
def test_what_follows_the_checkpoint_is_found(extra: str) -> None:
    assert_found([*LINES, extra], "end")


@pytest.mark.parametrize("line", ["not json\n", "[]\n", '{"sequence":0,"sequence":0}\n', "[" * 100_000, "\n"])
def test_a_line_that_is_no_entry_is_found(line: str) -> None:
    ours, theirs = logs.verdicts([*LINES[:3], line, *LINES[3:]])
    assert ours is not None
    assert ours.check == "line"
    assert theirs is not None


def test_another_key_is_found() -> None:
    other = logs.key_of(Ed25519PrivateKey.generate())
    assert_found(LINES, "header", key=other)
    relabelled = logs.edited(LINES, 0, lambda header: header.update(verifier_key=str(other)))
    assert_found(relabelled, "signature", key=other)
    assert_found(relabelled, "header")


def test_a_key_of_another_organization_is_found() -> None:
    organization_id = UUID(int=logs.ORGANIZATION.int + 1)
    other = VerifierKey(logs.key_of(organization_id=organization_id).name, logs.key_of().public_key)
    relabelled = logs.edited(LINES, 0, lambda header: header.update(verifier_key=str(other)))
    assert_found(relabelled, "header", key=other)
    ours, _ = logs.verdicts(LINES, earlier=[logs.head_of(ENTRIES, organization_id)])
    assert ours is not None
    assert ours.check == "consistency"


def _spoil_signature(last: dict[str, Any]) -> None:
    text, _, signature = last["checkpoint"].rstrip("\n").rpartition(" ")
    last["checkpoint"] = f"{text} {logs.other_base64(signature)}\n"


@pytest.mark.parametrize(
    "change",
    [
        _spoil_signature,
        lambda last: last.update(checkpoint=last["checkpoint"].replace("\n11\n", "\n10\n")),
        lambda last: last.update(checkpoint=last["checkpoint"].partition("\n\n")[0]),
        lambda last: last.update(checkpoint=None),
        lambda last: last.update(checkpoint=""),
    ],
)
def test_a_checkpoint_that_was_not_signed_so_is_found(change: Callable[[dict[str, Any]], object]) -> None:
    assert_found(logs.edited(LINES, -1, change), "signature")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"version": 2}, {"first": "0"}, {"first": -1}, {"left": "00"}, {"left": [0]},
        {"organization": "ws_0"}, {"verifier_key": "x"},
    ],
)  # fmt: skip
def test_a_malformed_header_is_found(change: dict[str, Any]) -> None:
    assert_found(logs.edited(LINES, 0, lambda header: header.update(change)), "header")


def _run_as_auditor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(logs._DOCUMENT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_auditors_verifier_runs_alone(tmp_path: Path) -> None:
    log, key, kept, forged = (tmp_path / name for name in ("log.jsonl", "key.txt", "kept.txt", "forged.txt"))
    log.write_text("".join(LINES), encoding="utf-8")
    key.write_text(f"{logs.key_of()}\n", encoding="utf-8")
    kept.write_text(sign_checkpoint(logs.head_of(ENTRIES[:6]), logs.PRIVATE_KEY), encoding="utf-8")
    forged.write_text(sign_checkpoint(logs.head_of(FORK), logs.PRIVATE_KEY), encoding="utf-8")

    sound = _run_as_auditor(log, "--key", key, "--checkpoint", kept)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert logs.head_of(ENTRIES).root.hex() in sound.stdout
    broken = _run_as_auditor(log, "--key", str(logs.key_of()), "--checkpoint", forged)
    assert broken.returncode == 1
    assert broken.stderr.startswith("BROKEN: consistency: ")
    assert _run_as_auditor(log, "--key", "no such file").returncode == 2


def test_the_auditors_verifier_imports_nothing_of_ours() -> None:
    source = logs._DOCUMENT.read_text("utf-8")
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_checkpoint_over_nothing_fits_every_log() -> None:
    nothing = Checkpoint(logs.key_of().name, 0, logs.head_of([]).root)
    assert logs.verdicts(LINES, earlier=[nothing]) == (None, None)
    assert_found(LINES, "consistency", earlier=[replace(nothing, root=bytes(32))])
