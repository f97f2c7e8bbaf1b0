"""Logs to verify and ways to break them."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bailiwick.audit import export, merkle
from bailiwick.audit.checkpoint import Checkpoint, VerifierKey, origin_of, sign_checkpoint
from bailiwick.audit.entries import CHAINS, NO_HASH, Chain, Entry, activity_body, entry_leaf_hash, row_hash, run_body
from bailiwick.audit.verify import LogBroken, verify_export
from bailiwick.kernel import ids

ORGANIZATION = UUID("018f0000-0000-7000-8000-00000000c0de")
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

_DOCUMENT = Path(__file__).parents[2] / "docs" / "verify_audit_log.py"


def _load_auditors_verifier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_audit_log", _DOCUMENT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDITORS = _load_auditors_verifier()


def body_of(number: int, chain: Chain, entry_id: UUID, salt: str = "") -> str:
    """The body of a plausible entry."""
    if chain == "runs":
        return run_body(
            {
                "id": ids.encode(ids.Prefix.AUDIT_ENTRY, entry_id),
                "agent_id": "helpdesk-tier1-triage",
                "user_id": f"usr_{number}{salt}",
                "action": "agent_run",
                "model_used": "rules/1",
                "tokens_used": 40 + number,
                "latency_ms": 3,
                "policy_flags": [{"type": "PERSON_NAME", "offset": 3, "length": 5}],
                "created_at": "2026-05-12T14:22:00.000Z",
                "input_hash": "ab" * 32,
                "output_hash": None,
                "chain": {"prev_hash": "left out", "row_hash": "left out"},
            }
        )
    return activity_body(
        entry_id,
        action="policy.updated",
        actor="usr_0",
        subject=f"sop_{number}{salt}",
        attributes={"reason": "Größe «geändert» \n\t\x01 😀", "share": 0.25, "é": [1e-7, 1e21, 100.0, -0.0]},
        created_at="2026-05-12T14:22:00.000Z",
    )


def make_entries(count: int, *, salt: str = "", organization_id: UUID = ORGANIZATION) -> list[Entry]:
    """A sound log with entries of both chains."""
    entries: list[Entry] = []
    for number in range(count):
        chain: Chain = "activity" if number % 3 == 1 else "runs"
        entry_id = UUID(int=(0x018F << 112) | (7 << 76) | (2 << 62) | number)
        entries.append(Entry(organization_id, number, chain, entry_id, "", "", body_of(number, chain, entry_id, salt)))
    return chained(entries)


def chained(entries: Sequence[Entry]) -> list[Entry]:
    """The entries renumbered and linked anew, as a forger would do it who knows the format."""
    last: dict[Chain, str] = dict.fromkeys(CHAINS, NO_HASH)
    linked = []
    for number, entry in enumerate(entries):
        prev_hash = last[entry.chain]
        last[entry.chain] = row_hash(prev_hash, entry.body)
        linked.append(replace(entry, sequence=number, prev_hash=prev_hash, row_hash=last[entry.chain]))
    return linked


def head_of(entries: Sequence[Entry], organization_id: UUID = ORGANIZATION) -> Checkpoint:
    root = merkle.root_of(map(entry_leaf_hash, entries))
    return Checkpoint(origin_of(organization_id), len(entries), root)


def key_of(private_key: Ed25519PrivateKey = PRIVATE_KEY, organization_id: UUID = ORGANIZATION) -> VerifierKey:
    return VerifierKey(origin_of(organization_id), private_key.public_key().public_bytes_raw())


def export_of(entries: Sequence[Entry], *, first: int = 0, head: Checkpoint | None = None) -> list[str]:
    """The lines of an export of the entries from `first` on."""
    head = head or head_of(entries)
    left = [
        merkle.root_of(map(entry_leaf_hash, entries[index << level : (index + 1) << level]))
        for level, index in merkle.range_nodes(0, first)
    ]
    public_id = ids.encode(ids.Prefix.ORGANIZATION, ORGANIZATION)
    return [
        export.header_line(export.Header(public_id, str(key_of()), first, len(entries), tuple(left))),
        *map(export.entry_line, entries[first:]),
        export.checkpoint_line(sign_checkpoint(head, PRIVATE_KEY)),
    ]


def edited(lines: Sequence[str], place: int, change: Callable[[dict[str, Any]], object]) -> list[str]:
    """The lines with the object on one of them changed."""
    value = json.loads(lines[place])
    change(value)
    changed = list(lines)
    changed[place] = json.dumps(value, ensure_ascii=False) + "\n"
    return changed


def verdicts(
    lines: Sequence[str],
    *,
    key: VerifierKey | None = None,
    earlier: Sequence[Checkpoint] = (),
    partial: bool = False,
) -> tuple[LogBroken | None, str | None]:
    """What our verifier and the auditors' say is broken; None when they find nothing."""
    key = key or key_of()
    ours: LogBroken | None = None
    theirs: str | None = None
    try:
        verify_export([line.encode() for line in lines], key, earlier=earlier, partial=partial)
    except LogBroken as problem:
        ours = problem
    try:
        saved = [(checkpoint.size, checkpoint.root) for checkpoint in earlier]
        AUDITORS.verify([line.encode() for line in lines], AUDITORS.read_key(str(key)), saved, partial)
    except AUDITORS.Broken as problem:
        theirs = str(problem)
    return ours, theirs


def other_base64(text: str) -> str:
    """Another value of the same length in base64."""
    decoded = bytearray(base64.b64decode(text))
    decoded[-1] ^= 1
    return base64.b64encode(decoded).decode()
