"""The exported log: JSON lines that an auditor can keep, read with any tool, and verify without this installation.

    {"format": "bailiwick-audit-log", "version": 1, "organization", "verifier_key", "first": 0, "size": N, "left": []}
    {"sequence": 0, "chain", "id", "organization_id", "prev_hash", "row_hash", "body"}
    ...
    {"sequence": N-1, ...}
    {"checkpoint": "<signed note over N entries>"}

An export that begins later (`first` > 0) carries in `left` the roots (hex) of the complete subtrees that cover the
entries before it, so that the signed root still proves every entry and its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from bailiwick.audit.entries import CHAINS, Entry

FORMAT: Final = "bailiwick-audit-log"
VERSION: Final = 1

_HASH = re.compile(r"[0-9a-f]{64}")
_ENTRY_FIELDS = {"sequence", "chain", "id", "organization_id", "prev_hash", "row_hash", "body"}


class LineMalformed(Exception):
    """A line of an export is not what its place asks for."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: whose log, who signs it, which entries follow: `first` (included) to `size` (excluded)."""

    organization: str
    verifier_key: str
    first: int
    size: int
    left: tuple[bytes, ...] = ()


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def header_line(header: Header) -> str:
    """The header as a line, with its line break."""
    left = [node.hex() for node in header.left]
    return _line({"format": FORMAT, "version": VERSION, **asdict(header), "left": left})


def entry_line(entry: Entry) -> str:
    """An entry as a line, with its line break."""
    return _line(
        {
            "sequence": entry.sequence,
            "chain": entry.chain,
            "id": str(entry.id),
            "organization_id": str(entry.organization_id),
            "prev_hash": entry.prev_hash,
            "row_hash": entry.row_hash,
            "body": entry.body,
        }
    )


def checkpoint_line(note: str) -> str:
    """The signed checkpoint as the last line, with its line break."""
    return _line({"checkpoint": note})


def read_line(line: str | bytes) -> dict[str, Any]:
    """The object on a line. Raises LineMalformed, also for a name that occurs twice: readers would differ about it."""
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise LineMalformed(f"not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise LineMalformed("not a JSON object")
    return value


def read_header(value: Mapping[str, Any]) -> Header:
    """Decodes `header_line`. Raises LineMalformed."""
    if value.get("format") != FORMAT or value.get("version") != VERSION:
        raise LineMalformed(f"not an export of format {FORMAT}, version {VERSION}")
    match value:
        case {
            "organization": str(organization),
            "verifier_key": str(verifier_key),
            "first": int(first),
            "size": int(size),
            "left": list(left),
        } if 0 <= first <= size and all(isinstance(node, str) and _HASH.fullmatch(node) for node in left):
            return Header(organization, verifier_key, first, size, tuple(map(bytes.fromhex, left)))
    raise LineMalformed("a field of the header is missing or of a wrong type")


def read_entry(value: Mapping[str, Any]) -> Entry:
    """Decodes `entry_line`. Raises LineMalformed, also for an unknown field: no hash would cover it."""
    if value.keys() != _ENTRY_FIELDS:
        raise LineMalformed(f"fields that are missing or unknown: {sorted(value.keys() ^ _ENTRY_FIELDS)}")
    sequence, chain, body = value["sequence"], value["chain"], value["body"]
    if type(sequence) is not int or chain not in CHAINS or not isinstance(body, str):
        raise LineMalformed("sequence, chain or body is of a wrong type")
    for name in ("prev_hash", "row_hash"):
        if not isinstance(value[name], str) or not _HASH.fullmatch(value[name]):
            raise LineMalformed(f"{name} is not 64 lower-case hex digits")
    return Entry(
        organization_id=_uuid(value["organization_id"]),
        sequence=sequence,
        chain=chain,
        id=_uuid(value["id"]),
        prev_hash=value["prev_hash"],
        row_hash=value["row_hash"],
        body=body,
    )


def _uuid(text: object) -> UUID:
    try:
        identifier = UUID(text) if isinstance(text, str) else None
    except ValueError:
        identifier = None
    if identifier is None or str(identifier) != text:
        raise LineMalformed(f"not a UUID in its usual form: {text!r}")
    return identifier


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return value
