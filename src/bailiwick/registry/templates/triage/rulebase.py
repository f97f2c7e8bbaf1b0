"""The triage rule base: `rules.yaml` read once and compiled into look-up tables.

A term is a phrase of words. Inside it `word~` also stands for the inflected forms (crash, crashes, crashed, crashing),
and `a/b` for alternatives. Terms are compiled into a table by first word, longest first, so that scanning a message
costs a dictionary look-up a word, whatever the number of rules.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import msgspec
import yaml

TOKEN = re.compile(r"\w+(?:'(?!s\b)\w+)?|[.,;:!?\n]")
"""A word (letters and digits of any script, with one inner apostrophe, without a possessive s), or a mark that may end
a clause."""


class Subcategory(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the catalogue, with everything about the answer that does not depend on the message already
    rendered."""

    key: str
    category: str
    category_name: str
    name: str
    group: str
    impact: int
    urgency: int
    impact_floor: int
    shared: bool
    strict: bool
    path: str
    steps: tuple[str, ...]
    asks: tuple[str, ...]
    steps_text: str


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """What a phrase says. `kind` is "topic", "impact", "self", "vip", "urgency", "symptom", "request", "resolved",
    "negator", "denial", "neutral", "entity" or "count"; `level` is 1 (high) to 3 (low) for impact, urgency and
    symptom."""

    kind: str
    text: str
    topic: int = -1
    weight: int = 0
    level: int = 0
    strict: bool = False


class Priority(msgspec.Struct, frozen=True, kw_only=True):
    """A priority and what is promised for it."""

    name: str
    meaning: str
    sla: str


Candidate = tuple[int, list[str], Term]
"""Length of the phrase in words, its words after the first, and its meaning."""


ENDS_CLAUSE: tuple[tuple[Candidate, ...], tuple[Candidate, ...]] = ((), ())
"""Stands in `RuleBase.words` for what ends a clause, and with it the reach of a negation."""

_Table = dict[tuple[str, ...], Term]


class RuleBase(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled rules. A thing and what is said of it may be the same words ("no internet"), so `words` gives for
    the first word of phrases the topics and, apart, the signals; `ENDS_CLAUSE` for a mark or a turn.
    `matrix[impact][urgency]` is an index into `priorities`; `unknown` is the topic of no match."""

    version: str
    subcategories: tuple[Subcategory, ...]
    unknown: Subcategory
    words: dict[str, tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]
    priorities: tuple[Priority, ...]
    matrix: tuple[tuple[int, ...], ...]
    questions: dict[str, str]
    numbers: dict[str, int]


def load_rule_base() -> RuleBase:
    """Read and compile `rules.yaml`. Raises `ValueError` when the same words are given two meanings."""
    text = resources.files(__package__).joinpath("rules.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506 (a safe loader either way)
    subcategories: list[Subcategory] = []
    topics: _Table = {}
    signals: _Table = {}
    for category, body in data["categories"].items():
        for key, sub in body["subcategories"].items():
            strict = bool(sub.get("strict", False))
            for weight, phrases in sub.get("terms", {}).items():
                for phrase in phrases:
                    term = Term(kind="topic", text=phrase, topic=len(subcategories), weight=int(weight), strict=strict)
                    _add(topics, phrase, term)
            subcategories.append(_subcategory(category, body, key, sub))
    for kind in ("impact", "urgency", "symptom"):
        for level, phrases in data[kind].items():
            for phrase in phrases:
                _add(signals, phrase, Term(kind=kind, text=phrase, level=int(level)))
    for kind in ("self", "vip", "request", "resolved", "negator", "denial", "neutral", "entity", "count"):
        for phrase in data[kind]:
            _add(signals, phrase, Term(kind=kind, text=phrase))
    for phrase in data["neutral"]:
        _add(topics, phrase, Term(kind="neutral", text=phrase))
    names = [p["name"] for p in data["priorities"]]
    return RuleBase(
        version=str(data["version"]),
        subcategories=tuple(s for s in subcategories if s.key != "unknown"),
        unknown=next(s for s in subcategories if s.key == "unknown"),
        words=_by_first_word(topics, signals),
        priorities=tuple(Priority(**p) for p in data["priorities"]),
        matrix=tuple(tuple(names.index(cell) for cell in row) for row in data["matrix"]),
        questions=data["questions"],
        numbers={str(word): number for word, number in data["numbers"].items()},
    )


def _subcategory(category: str, body: dict[str, Any], key: str, sub: dict[str, Any]) -> Subcategory:
    steps = tuple(sub["steps"])
    return Subcategory(
        key=key,
        category=category,
        category_name=body["name"],
        name=sub["name"],
        group=sub.get("group", body["group"]),
        impact=sub.get("impact", 3),
        urgency=sub.get("urgency", 2),
        impact_floor=sub.get("impact_floor", 3),
        shared=bool(sub.get("shared", False)),
        strict=bool(sub.get("strict", False)),
        path=sub["path"],
        steps=steps,
        asks=tuple(sub.get("asks", body.get("asks", ()))),
        steps_text="\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)),
    )


def _add(table: _Table, phrase: str | int | bool, term: Term) -> None:
    if isinstance(phrase, bool):
        raise ValueError("triage rules: YAML reads a bare yes, no, on or off as a truth value; put it in quotes")
    for words in _spellings(phrase):
        other = table.get(words)
        if other is not None and (other.kind != term.kind or other.topic != term.topic or other.level != term.level):
            raise ValueError(f"triage rules: {' '.join(words)!r} stands for both {other} and {term}")
        if other is None:
            table[words] = term


def _spellings(phrase: str | int) -> Iterator[tuple[str, ...]]:
    """Yield every sequence of tokens that a term of the rule base stands for."""
    choices: list[list[list[str]]] = []
    for word in str(phrase).lower().split():
        forms = [form for alternative in word.split("/") for form in _inflections(alternative)]
        choices.append([TOKEN.findall(form) for form in forms])
    for combination in itertools.product(*choices):
        yield tuple(itertools.chain.from_iterable(combination))


_VOWELS = frozenset("aeiou")


def _inflections(word: str) -> Sequence[str]:
    if not word.endswith("~"):
        return (word,)
    stem = word[:-1]
    if stem.endswith("e"):
        return (stem, f"{stem}s", f"{stem}d", f"{stem[:-1]}ing")
    if stem.endswith("y") and stem[-2:-1] not in _VOWELS:
        return (stem, f"{stem[:-1]}ies", f"{stem[:-1]}ied", f"{stem}ing")
    ending = "es" if stem.endswith(("s", "x", "ch", "sh", "z")) else "s"
    forms = (stem, f"{stem}{ending}", f"{stem}ed", f"{stem}ing")
    if len(stem) > 2 and stem[-1] not in _VOWELS | {"w", "x", "y"} and stem[-2] in _VOWELS:
        return (*forms, f"{stem}{stem[-1]}ed", f"{stem}{stem[-1]}ing")
    return forms


def _by_first_word(topics: _Table, signals: _Table) -> dict[str, tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]:
    found: dict[str, tuple[list[Candidate], list[Candidate]]] = {}
    for place, table in enumerate((topics, signals)):
        for words, term in table.items():
            found.setdefault(words[0], ([], []))[place].append((len(words), list(words[1:]), term))
    compiled = {first: (_longest_first(both[0]), _longest_first(both[1])) for first, both in found.items()}
    return compiled | dict.fromkeys((*".,;:!?\n", "but", "however", "although", "though"), ENDS_CLAUSE)


def _longest_first(rows: list[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(rows, key=lambda row: -row[0]))
