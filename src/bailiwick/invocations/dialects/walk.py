"""The walk over a body that finds every text in it, and the rewriting of what was found.

What is not known to be structure is text: a field that a provider adds tomorrow is inspected without a change here.
A dialect is a `Places` table; within known objects (the *envelope*) some keys hold structure and are left out,
everything below any other key is *free* JSON, in which every string, every long number and every key that is not
a plain word is a position.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, Final

import msgspec

from bailiwick.invocations.dialects.errors import InvalidBody

_MOST_DEPTH: Final = 128
_SHORTEST_NUMBER: Final = 1_000_000
"""Numbers below it identify nobody (the shortest identifiers that detectors know have seven digits)."""


class Step(Enum):
    """Steps of a path that are no key and no index."""

    JSON_TEXT = "json"
    """Into the value that a string holds as JSON."""
    KEY = "key"
    """The key of the object itself, not its value; the key stands before it in the path."""


Path = tuple[str | int | Step, ...]


class Position(msgspec.Struct, frozen=True):
    """One text in a body, and where it stands."""

    path: Path
    text: str
    field: str
    """The place as findings name it, such as `messages[2].content[0].text`. Keys that the caller chose show as `*`,
    as they may be what was found."""
    is_read_only: bool = False
    """A text that its provider signed: altered, the next request with it would be refused."""

    @property
    def label(self) -> str:
        """The nearest key above the text, or "": words before a value tell what it is (`{"ssn": "..."}`)."""
        for step in reversed(self.path[:-1] if self.path[-1:] == (Step.KEY,) else self.path):
            if isinstance(step, str):
                return step
        return ""


class Places(msgspec.Struct, frozen=True):
    """Where texts stand in a dialect, by key. A key in no set holds a text, or free JSON."""

    structure: frozenset[str]
    """Identifiers, enumerations, binary data, addresses: left as they are, whatever they hold."""
    envelope: frozenset[str]
    """Objects and lists of objects of the dialect itself; plain words all."""
    schemas: frozenset[str] = frozenset()
    """JSON Schemas."""
    json_texts: frozenset[str] = frozenset()
    """Strings that hold JSON."""


_SCHEMA_STRUCTURE = frozenset({"type", "$ref", "$schema", "$id", "$anchor", "format", "required", "pattern"})


def walk(places: Places, body: object) -> list[Position]:
    """Every text of the body that is not empty, in the body's order. Raises InvalidBody for nesting too deep."""
    walker = _Walker(places)
    walker.envelope(body, (), "", 0)
    return walker.found


def _is_word(key: str) -> bool:
    """Whether a key is an ordinary name: letters and underscores hold no number, token or address."""
    return len(key) <= 40 and key.isascii() and key.replace("_", "").isalpha()


class _Walker:
    """One walk; `found` is what it has met."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.found: list[Position] = []

    def envelope(self, node: object, path: Path, field: str, depth: int) -> None:
        """An object or list of the dialect itself."""
        _check_depth(field, depth)
        if isinstance(node, list):
            for index, value in enumerate(node):
                here, place = (*path, index), f"{field}[{index}]"
                if isinstance(value, str):
                    self._text(value, here, place)
                elif isinstance(value, (dict, list)):
                    self.envelope(value, here, place, depth + 1)
        elif isinstance(node, dict):
            structure, envelope = self._places.structure, self._places.envelope
            signed = bool(node.get("signature")) or node.get("type") == "thinking"
            for key, value in node.items():
                # A document of plain text is given as `data`, as binary ones are; some words (`format`) name a scalar
                # here and an object of the dialect there.
                if key in structure and not (
                    (isinstance(value, dict) and key in envelope) or (key == "data" and node.get("type") == "text")
                ):
                    continue
                here, place = self._entered(key, path, field)
                if signed and key == "thinking" and isinstance(value, str):
                    self._text(value, here, place, is_read_only=True)
                elif value is not None:
                    self._member(key, value, here, place, depth)

    def _member(self, key: str, value: object, path: Path, field: str, depth: int) -> None:
        if isinstance(value, str):
            if key in self._places.json_texts:
                self.json_text(value, path, field, depth)
            else:
                self._text(value, path, field)
        elif isinstance(value, (dict, list)):
            if key in self._places.envelope:
                self.envelope(value, path, field, depth + 1)
            elif key in self._places.schemas:
                self.free(value, path, field, depth + 1, skipped=_SCHEMA_STRUCTURE)
            else:
                self.free(value, path, field, depth + 1)

    def free(self, node: object, path: Path, field: str, depth: int, *, skipped: frozenset[str] = frozenset()) -> None:
        """JSON whose keys mean nothing to us."""
        _check_depth(field, depth)
        if isinstance(node, str):
            self._text(node, path, field)
        elif isinstance(node, dict):
            for key, value in node.items():
                # Below `properties` a keyword may be a name; then its value is an object.
                if key in skipped and not isinstance(value, dict):
                    continue
                here, place = self._entered(key, path, field)
                self.free(value, here, place, depth + 1, skipped=skipped)
        elif isinstance(node, list):
            for index, value in enumerate(node):
                self.free(value, (*path, index), f"{field}[{index}]", depth + 1, skipped=skipped)
        elif isinstance(node, (int, float)) and not isinstance(node, bool) and abs(node) >= _SHORTEST_NUMBER:
            self.found.append(Position(path, json.dumps(node), field))

    def json_text(self, raw: str, path: Path, field: str, depth: int) -> None:
        """The texts inside a JSON string; the string as it is when it is no JSON or would not survive being read (a
        duplicate key hides a value from every reader but the one that takes the other)."""
        before = len(self.found)
        try:
            value = json.loads(raw, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
            if "\\u" in raw:
                json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written again
            self.free(value, (*path, Step.JSON_TEXT), field, depth + 1)
        except (ValueError, RecursionError, InvalidBody):
            del self.found[before:]
            self._text(raw, path, field)

    def _text(self, text: str, path: Path, field: str, *, is_read_only: bool = False) -> None:
        if text:
            self.found.append(Position(path, text, field, is_read_only))

    def _entered(self, key: str, path: Path, field: str) -> tuple[Path, str]:
        """Path and field of an object's member; its key is a position of its own unless it is a plain word."""
        here = (*path, key)
        if key in self._places.envelope or _is_word(key):
            return here, f"{field}.{key}" if field else key
        place = f"{field}.*" if field else "*"
        if key:
            self.found.append(Position((*here, Step.KEY), key, place))
        return here, place


def _check_depth(field: str, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise InvalidBody(field or "body", "is nested too deeply")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate key")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def json_text_positions(raw: str, field: str) -> list[Position]:
    """The positions inside one JSON string; their paths begin at the string, for `with_texts`."""
    walker = _Walker(Places(frozenset(), frozenset()))
    walker.json_text(raw, (), field, 0)
    return walker.found


def with_texts(body: Any, positions: Sequence[Position], texts: Iterable[str]) -> Any:
    """The body with the positions' texts replaced, in their order; the body given is not touched, and is itself
    returned when nothing changes. A number that is replaced becomes a string. Raises ValueError when a read-only
    text would change, or when there are not as many texts as positions.
    """
    return rewrite(body, changes_of(positions, texts))


def changes_of(positions: Sequence[Position], texts: Iterable[str]) -> list[tuple[Path, Any]]:
    """What `rewrite` is to do for `with_texts`."""
    changes: list[tuple[Path, Any]] = []
    for position, text in zip(positions, texts, strict=True):
        if text == position.text:
            continue
        if position.is_read_only:
            raise ValueError(f"{position.field} is read-only")
        changes.append((position.path, text))
    return changes


def rewrite(body: Any, changes: Iterable[tuple[Path, Any]]) -> Any:
    """A copy of the body with the values at the paths replaced; parts without a change are shared with the original."""
    tree: dict[Any, Any] = {}
    for path, value in changes:
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[_VALUE] = value
    return _rewritten(body, tree) if tree else body


_VALUE: Final = object()


def _rewritten(node: Any, tree: dict[Any, Any]) -> Any:
    if _VALUE in tree:
        return tree[_VALUE]
    if Step.JSON_TEXT in tree:
        return json.dumps(_rewritten(json.loads(node), tree[Step.JSON_TEXT]), ensure_ascii=False, separators=(",", ":"))
    if isinstance(node, dict):
        return dict(_entries(node, tree))
    copy = list(node)
    for step, branch in tree.items():
        copy[step] = _rewritten(copy[step], branch)
    return copy


def _entries(node: dict[str, Any], tree: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    taken = set(node)
    for key, value in node.items():
        branch = tree.get(key)
        if branch is None:
            yield key, value
            continue
        renamed = branch.get(Step.KEY, {}).get(_VALUE, key)
        if renamed != key:
            plain, number = renamed, 2
            while renamed in taken:  # two keys masked alike must not become one entry
                renamed, number = f"{plain}_{number}", number + 1
            taken.add(renamed)
        rest = {step: below for step, below in branch.items() if step is not Step.KEY}
        yield renamed, _rewritten(value, rest) if rest else value
