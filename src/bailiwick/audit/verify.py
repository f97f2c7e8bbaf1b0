"""Verification of a log, entry by entry, in constant memory: an export offline, or the log in the database.

docs/verify_audit_log.py does the same with nothing of this package; both are tested against the same broken logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from bailiwick.audit import export
from bailiwick.audit.checkpoint import Checkpoint, NoteInvalid, VerifierKey, open_checkpoint, origin_of
from bailiwick.audit.entries import CHAINS, NO_HASH, Chain, Entry, canonical_json, entry_leaf_hash, row_hash
from bailiwick.audit.merkle import Frontier
from bailiwick.kernel import ids

Check = Literal[
    "header", "line", "organization", "sequence", "id", "link", "row_hash", "body", "end", "signature", "size", "root",
    "consistency", "column", "head", "tree",
]  # fmt: skip
"""What failed: the form of a line, a field of an entry, the end of the file, a checkpoint, or what the database keeps
beside the entries (`column`, `head`, `tree`)."""


class LogBroken(Exception):
    """A log is not what was appended. Names the first entry that shows it, where one entry does, and the check."""

    def __init__(self, check: Check, detail: str, *, sequence: int | None = None, entry_id: str | None = None) -> None:
        self.check, self.detail, self.sequence, self.entry_id = check, detail, sequence, entry_id
        place = "" if sequence is None else f"entry {sequence}" + (f" ({entry_id})" if entry_id else "") + ": "
        super().__init__(f"{place}{check}: {detail}")


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """What held: entries `first` (included) to `size` (excluded) of an organization's log, under the signed `root`."""

    organization: str
    first: int
    size: int
    root: bytes
    by_chain: dict[Chain, int]


class LogWalk:
    """Takes the entries of one log in order and raises LogBroken at the first that does not fit those before it.

    A walk that begins after the first entry is given the roots of the subtrees before it (`left`); the first link of
    each chain then leads to an entry out of sight and is vouched for by the root alone.
    """

    def __init__(self, organization_id: UUID, *, first: int = 0, left: Iterable[bytes] = ()) -> None:
        """Raises ValueError when the number of subtrees does not fit `first`."""
        self.organization_id = organization_id
        self.frontier = Frontier(first, left)
        self.by_chain: dict[Chain, int] = dict.fromkeys(CHAINS, 0)
        self._last_hash: dict[Chain, str | None] = dict.fromkeys(CHAINS, None if first else NO_HASH)
        self._expected: dict[int, list[tuple[bytes, Check]]] = {}

    def expect(self, checkpoint: Checkpoint, check: Check) -> None:
        """Asks that the log have had this head; call it before the walk."""
        if checkpoint.size < self.frontier.size:
            raise LogBroken(
                check,
                f"the checkpoint has {checkpoint.size} entries, the log is given from entry {self.frontier.size} on:"
                " they cannot be compared",
            )
        self._expected.setdefault(checkpoint.size, []).append((checkpoint.root, check))
        self._compare()

    @property
    def last_hashes(self) -> dict[Chain, str | None]:
        """The `row_hash` of each chain's last entry so far: 64 zeros before the first, None when it is out of sight."""
        return dict(self._last_hash)

    def take(self, entry: Entry) -> None:
        """Checks the next entry: its place, its link, its hash, and the form of its body."""
        try:
            self._check(entry)
        except _Mismatch as problem:
            sequence = self.frontier.size
            raise LogBroken(problem.check, problem.detail, sequence=sequence, entry_id=str(entry.id)) from None
        self._last_hash[entry.chain] = entry.row_hash
        self.by_chain[entry.chain] += 1
        self.frontier.append(entry_leaf_hash(entry))
        self._compare()

    def end(self) -> None:
        """Asks that no checkpoint go beyond the last entry."""
        if self._expected:
            size, [(_, check), *_] = max(self._expected.items())
            raise LogBroken(
                check, f"a checkpoint has {size} entries, the log only {self.frontier.size}: its end is gone"
            )

    def _check(self, entry: Entry) -> None:
        if entry.organization_id != self.organization_id:
            raise _Mismatch("organization", f"belongs to organization {entry.organization_id}")
        if entry.sequence != self.frontier.size:
            raise _Mismatch("sequence", f"has number {entry.sequence}")
        last_hash = self._last_hash[entry.chain]
        if last_hash is not None and entry.prev_hash != last_hash:
            raise _Mismatch("link", f"prev_hash is not the row_hash of the {entry.chain} entry before, {last_hash}")
        if entry.row_hash != row_hash(entry.prev_hash, entry.body):
            raise _Mismatch("row_hash", "row_hash is not the SHA-256 of prev_hash and body")
        try:
            body = json.loads(entry.body)
            canonical = canonical_json(body)
        except (ValueError, RecursionError):
            raise _Mismatch("body", "the body is not JSON") from None
        if not isinstance(body, dict) or canonical != entry.body:
            raise _Mismatch("body", "the body is not a JSON object in canonical form (RFC 8785)")
        if body.get("id") != ids.encode(ids.Prefix.AUDIT_ENTRY, entry.id):
            raise _Mismatch("id", f"the body is that of entry {body.get('id')}")

    def _compare(self) -> None:
        for root, check in self._expected.pop(self.frontier.size, ()):
            if root != self.frontier.root():
                size = self.frontier.size
                raise LogBroken(check, f"the first {size} entries are not those that the checkpoint over {size} has")


class _Mismatch(Exception):
    def __init__(self, check: Check, detail: str) -> None:
        self.check, self.detail = check, detail


def verify_export(
    lines: Iterable[str | bytes], key: VerifierKey, *, earlier: Sequence[Checkpoint] = (), partial: bool = False
) -> VerifiedLog:
    """Verifies an exported log against the key that the auditor holds; the key in the file is not trusted.

    `earlier` are checkpoints of the same log, kept from before: the log must have grown out of each of them. An export
    that does not begin at the first entry is accepted only when `partial`. Raises LogBroken at the first fault.
    """
    numbered = enumerate(lines, start=1)
    header = _read_header(numbered, key, partial=partial)
    organization_id = ids.decode(ids.Prefix.ORGANIZATION, header.organization)
    if organization_id is None or origin_of(organization_id) != key.name:
        raise LogBroken("header", f"the log is of {header.organization}, the key is of {key.name}")
    try:
        walk = LogWalk(organization_id, first=header.first, left=header.left)
    except ValueError as problem:
        raise LogBroken("header", str(problem)) from None
    for checkpoint in earlier:
        if checkpoint.origin != key.name:
            raise LogBroken("consistency", f"the earlier checkpoint is of another log, {checkpoint.origin}")
        walk.expect(checkpoint, "consistency")
    checkpoint = _take_entries(numbered, walk, key)
    if checkpoint.size != walk.frontier.size or checkpoint.size != header.size:
        raise LogBroken(
            "size",
            f"the signed checkpoint has {checkpoint.size} entries, the file {walk.frontier.size},"
            f" its header {header.size}",
        )
    walk.expect(checkpoint, "root")
    walk.end()
    return VerifiedLog(header.organization, header.first, checkpoint.size, checkpoint.root, walk.by_chain)


def _read_header(numbered: Iterator[tuple[int, str | bytes]], key: VerifierKey, *, partial: bool) -> export.Header:
    try:
        header = export.read_header(export.read_line(next(numbered, (1, b""))[1]))
    except export.LineMalformed as problem:
        raise LogBroken("header", str(problem)) from None
    if header.verifier_key != str(key):
        raise LogBroken("header", f"the file says that {header.verifier_key} signs it, the key given is {key}")
    if header.first and not partial:
        raise LogBroken("header", f"the export begins at entry {header.first} and not at the first")
    return header


def _take_entries(numbered: Iterator[tuple[int, str | bytes]], walk: LogWalk, key: VerifierKey) -> Checkpoint:
    """Walks the entries and answers the signed checkpoint behind them."""
    for number, line in numbered:
        value = _read(number, line)
        if "checkpoint" not in value:
            try:
                walk.take(export.read_entry(value))
            except export.LineMalformed as problem:
                entry_id = value.get("id")
                raise LogBroken(
                    "line",
                    f"line {number}: {problem}",
                    sequence=walk.frontier.size,
                    entry_id=entry_id if isinstance(entry_id, str) else None,
                ) from None
            continue
        if next(numbered, None) is not None:
            raise LogBroken("end", f"something follows the checkpoint in line {number}")
        try:
            return open_checkpoint(str(value["checkpoint"]), key)
        except NoteInvalid as problem:
            raise LogBroken("signature", str(problem)) from None
    raise LogBroken("end", "the file ends without its signed checkpoint: it was cut")


def _read(number: int, line: str | bytes) -> dict[str, Any]:
    try:
        return export.read_line(line)
    except export.LineMalformed as problem:
        raise LogBroken("line", f"line {number}: {problem}") from None
