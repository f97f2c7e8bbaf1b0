"""Finds vital signs and medicines in a sentence. Each finding repeats the words of the note; nothing is worked out."""

import re
from collections.abc import Mapping

import msgspec


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Adult reference range and limits of what is plausible, in `unit`."""

    name: str
    low: float
    high: float
    least: float
    most: float
    unit: str


class Vital(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value: `unit` as the note states it, None when it does not; `flag` is "low", "in range", "high",
    "check" (not plausible) or "" (no reference)."""

    name: str
    value: float
    unit: str | None
    flag: str
    quote: str


class Medicine(msgspec.Struct, frozen=True, kw_only=True):
    """A medicine as named in the note; what the note does not state is None."""

    name: str
    dose: str | None
    route: str | None
    frequency: str | None
    quote: str


_GAP = r"[^\d\n;]{0,16}?"
"""What may stand between the name of a sign and its value; bounded, so that the search stays linear."""

_DECIMAL = r"\d{1,3}(?:\.\d{1,2})?"
_SIGNS: dict[str, tuple[str, str]] = {
    "blood_pressure": (r"BP|blood pressure", r"(\d{2,3})\s?/\s?(\d{2,3})(?:\s?(mm\s?Hg))?"),
    "heart_rate": (r"HR|heart rate|pulse(?! ox)", r"(\d{2,3})\b(?:\s?(bpm|/min))?"),
    "respiratory_rate": (
        r"RR|resps?|respirations|respiratory rate",
        r"(\d{1,2})\b(?:\s?(/min|breaths/min))?",
    ),
    "temperature": (
        r"temp|temperature|tmax|(?-i:T)",
        r"(\d{2,3}(?:\.\d{1,2})?)\b\s?(?:°|º|deg(?:rees)?)?\s?([CF]\b)?",
    ),
    "oxygen_saturation": (
        r"SpO2|O2 ?sats?|sats?|saturation|pulse ox(?:imetry)?",
        r"(\d{2,3})\b\s?(%)?",
    ),
    "weight": (r"weight|wt|weighs", rf"({_DECIMAL})\s?(kgs?|lbs?|pounds)\b"),
    "height": (r"height|ht", rf"({_DECIMAL})\s?(cm|m|in|inches)\b"),
    "body_mass_index": (r"BMI", rf"({_DECIMAL})\b"),
    "pain": (r"pain", r"(\d{1,2})\s?(/\s?10)\b"),
}
_VITALS = tuple(
    (key, re.compile(rf"\b(?:{names})\b{_GAP}(?<![\d.]){value}", re.IGNORECASE))
    for key, (names, value) in _SIGNS.items()
)

_ROUTE = (
    r"PO|by mouth|orally|IV|IM|SC|SQ|subcut(?:aneously)?|SL|sublingual|topical(?:ly)?"
    r"|inhaled|intranasal(?:ly)?|PR|nebulized"
)
_FREQUENCY = (
    r"(?:once|twice|three times|four times)(?: a day| daily| a week| weekly)?|daily|BID|TID|QID|QHS|QAM|QPM|QD|nightly"
    r"|at bedtime|every (?:day|morning|night|evening)"
    r"|every (?:\d{1,2}|other|six|eight|twelve)(?:-\d{1,2})? ?(?:hours|hrs|h|days|day)"
    r"|q ?\d{1,2}(?:-\d{1,2})? ?h(?:rs|ours)?|weekly|monthly|as needed|PRN"
)
_DOSED = re.compile(
    r"\b(?P<name>[A-Za-z][A-Za-z-]{2,30})(?:\s(?:XR|ER|SR|XL|CR|EC))?(?:\s(?:to|from|at|dose of))?\s"
    r"(?P<dose>\d[\d,.]{0,6}(?:-\d{1,4})?\s?(?:mg|mcg|µg|g|units?|IU|mEq|mL|puffs?|tabs?|tablets?|capsules?|caps?|drops?|sprays?))\b"
    r"(?!\s?/\s?(?:d?L|m?L|day)\b)"
    rf"(?:\s(?P<route>{_ROUTE})\b)?(?:,?\s(?P<frequency>(?:{_FREQUENCY})(?:\s(?:{_FREQUENCY}))?)\b)?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z][A-Za-z-]{2,30}")


def find_vitals(sentence: str, references: Mapping[str, Reference]) -> list[Vital]:
    """The vital signs of one sentence, in the order of the list above."""
    vitals: list[Vital] = []
    for key, pattern in _VITALS:
        for match in pattern.finditer(sentence):
            if key == "blood_pressure":
                for name, value in (("systolic", match[1]), ("diastolic", match[2])):
                    vitals.append(_vital(f"{key}_{name}", value, match[3], match[0], references))
            else:
                unit = match[2] if match.re.groups > 1 else None
                vitals.append(_vital(key, match[1], unit, match[0], references))
    return vitals


def _vital(key: str, text: str, unit: str | None, quote: str, references: Mapping[str, Reference]) -> Vital:
    value = float(text)
    if key == "temperature":
        key = f"temperature_{unit.lower()}" if unit else key
    reference = references.get(key)
    flag = ""
    if reference is not None:
        if not reference.least <= value <= reference.most:
            flag = "check"
        else:
            flag = "low" if value < reference.low else "high" if value > reference.high else "in range"
    name = reference.name if reference else key.replace("_", " ")
    return Vital(name=name, value=value, unit=unit, flag=flag, quote=quote.strip())


def find_medicines(sentence: str, known: frozenset[str], excluded: frozenset[str]) -> list[Medicine]:
    """Medicines of one sentence: any word with a dose behind it, and known names without one."""
    found: list[Medicine] = []
    named: set[str] = set()
    for match in _DOSED.finditer(sentence):
        name = match["name"]
        if name.lower() in excluded or name.lower().endswith("ing"):
            continue
        named.add(name.lower())
        found.append(
            Medicine(
                name=name,
                dose=match["dose"],
                route=match["route"],
                frequency=match["frequency"],
                quote=match[0].strip(),
            )
        )
    for word in _WORD.findall(sentence):
        if word.lower() in known and word.lower() not in named:
            named.add(word.lower())
            found.append(Medicine(name=word, dose=None, route=None, frequency=None, quote=word))
    return found
