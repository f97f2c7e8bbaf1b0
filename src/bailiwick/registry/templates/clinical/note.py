"""Orders a clinical note as SOAP: every sentence of the note, verbatim, in exactly one section, and what the note
lacks.

Invents nothing: sentences are quoted, vital signs and medicines repeat the note's own words, and the only judgement is
a comparison with adult reference ranges.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import msgspec
import yaml

from bailiwick.registry.templates.template import TemplateInput, TemplateResult, result_of

from .measures import Medicine, Reference, Vital, find_medicines, find_vitals
from .segments import Segment, split_note

SECTIONS = ("subjective", "objective", "assessment", "plan", "unsorted")


class Part(msgspec.Struct, frozen=True):
    """A part of a section, with its headings."""

    section: str
    name: str
    headings: tuple[str, ...]


class Expected(msgspec.Struct, frozen=True):
    """What shows that an element of the note is there."""

    parts: tuple[str, ...]
    words: tuple[str, ...]


class Cues(msgspec.Struct, frozen=True):
    """`cues.yaml`."""

    parts: dict[str, Part]
    cues: dict[str, dict[int, tuple[str, ...]]]
    orders: frozenset[str]
    vitals: dict[str, Reference]
    expected: dict[str, Expected]
    allergy_words: frozenset[str]
    medicines: frozenset[str]
    not_medicines: frozenset[str]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence in its place."""

    text: str
    section: str
    part: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An assessed problem, in the note's words, and the sentences of the plan that belong to it."""

    text: str
    plan: list[str]


def _load() -> Cues:
    text = resources.files(__package__).joinpath("cues.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return msgspec.convert(yaml.load(text, Loader=loader), Cues)  # noqa: S506 (a safe loader either way)


CUES = _load()
_HEADINGS = {heading: key for key, part in CUES.parts.items() for heading in part.headings}
_WEIGHTS = {
    phrase: (section, weight)
    for section, weighted in CUES.cues.items()
    for weight, phrases in weighted.items()
    for phrase in phrases
}


def _phrases(phrases: Sequence[str]) -> re.Pattern[str]:
    """One expression for whole phrases, longest first."""
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, ordered))})(?![a-z0-9])")


_CUE = _phrases([*_WEIGHTS])
_FIRST_WORD = re.compile(r"[\W\d]{0,8}([a-z/]+)")
_ITEM = re.compile(r"\s{0,3}(?:#\s?)?(\d{1,2})[.)]\s|\s{0,3}#")
_SUBITEM = re.compile(r"\s{0,3}[-*•]\s")


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """The whole reading of a note. `loose` are plan sentences that belong to no single problem."""

    lines: list[Line]
    headings: list[str]
    vitals: list[Vital]
    medicines: list[Medicine]
    problems: list[Problem]
    loose: list[str]
    missing: list[str]


def run(given: TemplateInput) -> TemplateResult:
    """Order the note in `given.message`."""
    ordered = order_note(given.message)
    return result_of(given, response=_response(ordered), facts=_facts(ordered), structured=_structured(ordered))


def order_note(note: str) -> Ordered:
    """Read `note`: sentences in their sections, what was measured and given, problems, and what is missing."""
    segments = split_note(note, _HEADINGS)
    lines = [_place(segment) for segment in segments if not segment.is_heading]
    vitals = [vital for line in lines for vital in find_vitals(line.text, CUES.vitals)]
    medicines = _medicines(lines)
    problems, loose = _problems(lines)
    return Ordered(
        lines=lines,
        headings=[segment.text for segment in segments if segment.is_heading],
        vitals=vitals,
        medicines=medicines,
        problems=problems,
        loose=loose,
        missing=_missing(lines, vitals, medicines),
    )


def _structured(ordered: Ordered) -> dict[str, Any]:
    return {
        "sections": {
            section: [{"text": line.text, "part": line.part} for line in ordered.lines if line.section == section]
            for section in SECTIONS
        },
        "headings": ordered.headings,
        "vitals": [msgspec.to_builtins(vital) for vital in ordered.vitals],
        "medications": [msgspec.to_builtins(medicine) for medicine in ordered.medicines],
        "allergies": [line.text for line in ordered.lines if _speaks_of_allergy(line)],
        "problems": [
            {"number": number, "problem": problem.text, "plan": problem.plan}
            for number, problem in enumerate(ordered.problems, 1)
        ],
        "plan_of_no_problem": ordered.loose,
        "missing": ordered.missing,
    }


def _place(segment: Segment) -> Line:
    """The section of a sentence: of its heading, else by its cues. Under a joint heading for assessment and plan,
    numbered lines are problems and instructions are plan."""
    if segment.part == "assessment_plan":
        is_problem = _ITEM.match(segment.text) is not None
        section = (
            "plan" if not is_problem and (_is_order(segment.text) or _SUBITEM.match(segment.text)) else "assessment"
        )
        return Line(text=segment.text, section=section, part=segment.part)
    if segment.part:
        return Line(text=segment.text, section=CUES.parts[segment.part].section, part=segment.part)
    return Line(text=segment.text, section=_by_cues(segment.text), part="")


def _is_order(text: str) -> bool:
    match = _FIRST_WORD.match(text.lower())
    return match is not None and match[1] in CUES.orders


def _by_cues(text: str) -> str:
    scores = dict.fromkeys(SECTIONS[:4], 0)
    for match in _CUE.finditer(text.lower()):
        section, weight = _WEIGHTS[match[0]]
        scores[section] += weight
    if _is_order(text):
        scores["plan"] += 6
    if find_vitals(text, CUES.vitals):
        scores["objective"] += 2
    best = max(scores, key=lambda section: scores[section])
    return best if scores[best] else "unsorted"


def _speaks_of_allergy(line: Line) -> bool:
    return line.part == "allergies" or _contains(line.text, CUES.allergy_words)


@functools.lru_cache(maxsize=64)
def _pattern(words: frozenset[str] | tuple[str, ...]) -> re.Pattern[str]:
    return _phrases(sorted(words))


def _contains(text: str, words: frozenset[str] | tuple[str, ...]) -> bool:
    return bool(words) and _pattern(words).search(text.lower()) is not None


def _medicines(lines: Sequence[Line]) -> list[Medicine]:
    """The medicines of the note; one that is named again with the same words is given once, and without a dose only
    when no dose is given anywhere."""
    found: dict[tuple[str, str], Medicine] = {}
    for line in lines:
        if _speaks_of_allergy(line):
            continue
        for medicine in find_medicines(line.text, CUES.medicines, CUES.not_medicines):
            found.setdefault((medicine.name.lower(), medicine.quote.lower()), medicine)
    dosed = {medicine.name.lower() for medicine in found.values() if medicine.dose}
    return [medicine for medicine in found.values() if medicine.dose or medicine.name.lower() not in dosed]


_PLAIN_WORD = re.compile(r"[a-z]{5,}")


def _problems(lines: Sequence[Line]) -> tuple[list[Problem], list[str]]:
    """Problems in order, each with its plan: by position under a joint heading, else by number, else by a common word;
    one problem alone has the whole plan."""
    problems: list[Problem] = []
    numbers: dict[str, Problem] = {}
    loose: list[str] = []
    current: Problem | None = None
    for line in lines:
        if line.section == "assessment":
            current = Problem(text=line.text, plan=[])
            problems.append(current)
            if (item := _ITEM.match(line.text)) and item[1]:
                numbers.setdefault(item[1], current)
        elif line.section == "plan":
            owner = current if line.part == "assessment_plan" else _owner(line, problems, numbers)
            if owner is None:
                loose.append(line.text)
            else:
                owner.plan.append(line.text)
    return problems, loose


def _owner(line: Line, problems: Sequence[Problem], numbers: Mapping[str, Problem]) -> Problem | None:
    if (item := _ITEM.match(line.text)) and item[1] in numbers:
        return numbers[item[1]]
    if len(problems) == 1:
        return problems[0]
    words = frozenset(_PLAIN_WORD.findall(line.text.lower()))
    return next((p for p in problems[:50] if not words.isdisjoint(_PLAIN_WORD.findall(p.text.lower()))), None)


def _missing(lines: Sequence[Line], vitals: Sequence[Vital], medicines: Sequence[Medicine]) -> list[str]:
    filled = {line.part for line in lines}
    sections = {line.section for line in lines}
    missing = []
    for name, expected in CUES.expected.items():
        there = (
            not filled.isdisjoint(expected.parts)
            or (name == "vital signs" and bool(vitals))
            or (name == "medications" and bool(medicines))
            or name in sections
            or any(_contains(line.text, expected.words) for line in lines)
        )
        if name == "history of present illness":
            there = there or any(line.section == "subjective" and not line.part for line in lines)
        if name == "examination":
            there = there or any(
                line.section == "objective" and not line.part and not _only_vitals(line) for line in lines
            )
        if not there:
            missing.append(name)
    missing += [f"dose of {medicine.name}" for medicine in medicines if medicine.dose is None][:20]
    missing += [f"unit of {vital.quote}" for vital in vitals if vital.unit is None and vital.name == "temperature"][:5]
    return missing


def _only_vitals(line: Line) -> bool:
    return bool(find_vitals(line.text, CUES.vitals))


def _response(ordered: Ordered) -> str:
    lines = ordered.lines
    counts = ", ".join(
        f"{number} {section}" for section in SECTIONS if (number := sum(line.section == section for line in lines))
    )
    out = [f"SOAP note of {len(lines)} sentences ({counts or 'none'}); {len(ordered.missing)} elements missing."]
    for section in SECTIONS:
        out += _section(section, [line for line in lines if line.section == section])
    if ordered.vitals:
        out.append("\nVital signs found (adult reference)")
        out += [f"- {_vital_line(vital)}" for vital in ordered.vitals]
    if ordered.medicines:
        out.append("\nMedications found")
        out += [f"- {_medicine_line(medicine)}" for medicine in ordered.medicines]
    if ordered.problems:
        out.append("\nProblems and their plan")
        for number, problem in enumerate(ordered.problems, 1):
            plan = "; ".join(f"“{item}”" for item in problem.plan) or "no plan item found"
            out.append(f"{number}. “{problem.text}” → {plan}")
        out += [f"Of no single problem: “{item}”" for item in ordered.loose]
    if ordered.missing:
        out.append("\nMissing from the note")
        out += [f"- {item}" for item in ordered.missing]
    return "\n".join(out)


def _section(section: str, lines: Sequence[Line]) -> list[str]:
    if not lines and section == "unsorted":
        return []
    out = [f"\n{section.capitalize()}"]
    if not lines:
        return [*out, "- nothing in the note"]
    part = ""
    for line in lines:
        if line.part != part:
            part = line.part
            out.append(f"  {CUES.parts[part].name if part else 'No heading'}")
        out.append(f"- “{line.text}”")
    return out


_FLAGS = {
    "check": "not plausible, check",
    "low": "below",
    "high": "above",
    "in range": "in range",
    "": "no reference applied",
}


def _vital_line(vital: Vital) -> str:
    unit = f" {vital.unit}" if vital.unit else " (unit not stated)"
    return f"{vital.name} {vital.value:g}{unit}: {_FLAGS[vital.flag]} — “{vital.quote}”"


def _medicine_line(medicine: Medicine) -> str:
    stated = " ".join(word for word in (medicine.name, medicine.dose, medicine.route, medicine.frequency) if word)
    return stated if medicine.dose else f"{stated} (no dose stated)"


def _facts(ordered: Ordered) -> str:
    out = [f"{line.section}{f'/{line.part}' if line.part else ''}: {line.text}" for line in ordered.lines]
    out += [f"vital: {_vital_line(vital)}" for vital in ordered.vitals]
    out += [f"medication: {_medicine_line(medicine)}" for medicine in ordered.medicines]
    out.append(f"missing: {', '.join(ordered.missing) or 'nothing'}")
    return "\n".join(out)
