"""Person names: given and family names known from lists, titles, and words that a name follows.

A name that is also a word (Mark, Grace, May) counts with a plain family name or a telling word beside it, not alone.
"""

from __future__ import annotations

import re

from bailiwick.dlp.detectors import Detector, look_behind
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.word_lists import words_of

_given = words_of("given_names.txt")
_family = words_of("family_names.txt")
_GIVEN, _GIVEN_WORDS = _given["plain"], _given["word"]
_FAMILY, _FAMILY_WORDS = _family["plain"], _family["word"]
_common = words_of("common_words.txt")
_COMMON = _common["words"] | _common["places"]

_NAME = r"(?:O'|D'|Mc|Mac|De|Di|La|Le|Van|St\.)?[A-Z][a-z]{1,20}(?:['-][A-Z][a-z]{1,20})?"
_PARTICLE = (
    r"(?:(?:de la|de los|van der|van den|von der|von|van|de|del|della|di|da|dos|el|al|bin|ibn|ben|le|"
    r"la|du|ter|ten|zu) )"
)
_WHOLE_NAME = re.compile(
    rf"({_NAME}) (?:(?:[A-Z]\.?|"
    rf"\"[A-Z][a-z]+\") )?(?:({_NAME}) )??{_PARTICLE}?({_NAME})(?![A-Za-z])(?:,? (?:Jr|Sr|III|II|"
    rf"IV)\b\.?)?"
)
_PAIR = re.compile(rf"({_NAME}) (?:[A-Z]\.? )?{_PARTICLE}?({_NAME})(?![A-Za-z])(?: ({_NAME})(?![A-Za-z]))?")
_TITLED = re.compile(rf"\.? {{1,2}}((?:{_NAME}|[A-Z]\.)(?: (?:[A-Z]\. )?{_PARTICLE}?{_NAME}){{0,2}})(?![A-Za-z])")
_TITLED_LOWER = re.compile(r"\.? ([a-z]{2,20})(?: ([a-z]{2,20}))?\b")
_LEAD_GAP = (
    r"(?: (?:is|was|named|called|id|name|initials|aged?|mr|mrs|ms|dr)\b\.?)?[ \t]{0,2}[:=,\-\"'(]{0,3}[ \t]{0,3}\"?"
)
_LED = re.compile(rf"{_LEAD_GAP}({_NAME}(?: [A-Z]\.)?(?: {_PARTICLE}?{_NAME}){{1,2}})(?![A-Za-z])")
_LED_REVERSED = re.compile(rf"{_LEAD_GAP}({_NAME}(?:[ -]{_NAME})?, ?{_NAME}(?: [A-Z]\b\.?)?)(?![A-Za-z])")
_LED_ONE = re.compile(rf"(?: is)?[:,]? ({_NAME})(?![A-Za-z])")
_LED_CAPITALS = re.compile(rf"{_LEAD_GAP}([A-Z][A-Z'-]{{1,20}},? [A-Z][A-Z'-]{{1,20}}(?: [A-Z]\b\.?)?)(?![A-Za-z])")
_LED_LOWER = re.compile(rf"{_LEAD_GAP}([a-z]{{2,20}}) (?:[a-z]\.? )?([a-z'-]{{2,20}})\b")
_REVERSED = re.compile(rf"({_NAME}), ({_NAME})(?: [A-Z]\b\.?)?(?![A-Za-z])")


def _found(start: int, end: int, confidence: float) -> Finding:
    return Finding("PERSON_NAME", Category.PII, start, end - start, confidence)


def _is_common(word: str) -> bool:
    return word in _COMMON and word not in _FAMILY and word not in _GIVEN


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[ .,]+", name.lower()) if len(part) > 1]


def _is_given(word: str) -> bool:
    return word in _GIVEN or ("-" in word and word.partition("-")[0] in _GIVEN)


def _is_family(word: str) -> bool:
    if word in _FAMILY or ("-" in word and (word.partition("-")[0] in _FAMILY or word.partition("-")[2] in _FAMILY)):
        return True
    return (word.startswith(("o'", "mc", "mac", "d'")) and word.replace("'", "") in _FAMILY) or word.startswith("o'")


def _pair_confidence(first: str, last: str, before: str) -> float:
    """How surely two capitalised words are given and family name; 0 when they are likelier something else."""
    if (first in _COMMON and first not in _GIVEN) or (last in _COMMON and last not in _FAMILY):
        return 0.0
    if _is_given(first):
        if _is_family(last):
            return 0.93
        if last in _GIVEN or last in _GIVEN_WORDS or last in _FAMILY_WORDS:
            return 0.75
        return 0.0 if before.endswith(("in ", "at ")) else 0.7  # "in Jordan Valley", "at Alexandria Landing"
    return 0.8 if first in _GIVEN_WORDS and _is_family(last) else 0.0


_NAMED_AFTER = words_of("common_words.txt")["places"]
"""A street or a house that bears a name is no person."""


def _judge_pair(text: str, start: int, end: int) -> Finding | None:
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-'_./@#"):
        return None
    match = _PAIR.match(text, start)
    if match is None:
        return None
    first, last, further = match[1].lower(), match[2].lower(), (match[3] or "").lower()
    confidence = _pair_confidence(first, last, look_behind(text, start, 12))
    last_end = match.end(2)
    if further and (_is_family(further) or further in _FAMILY_WORDS) and further not in _COMMON:
        if not confidence and _is_given(first) and last not in _COMMON:
            confidence = 0.8
        if confidence:
            last_end = match.end(3)
    elif further in _NAMED_AFTER:
        return None
    return _found(start, last_end, confidence) if confidence else None


def _judge_reversed(text: str, start: int, end: int) -> Finding | None:
    match = _REVERSED.match(text, start)
    if match is None or (start > 0 and text[start - 1].isalnum()):
        return None
    family, given = match[1].lower(), match[2].lower()
    if not (_is_family(family) and _is_given(given)) or family in _GIVEN:
        return None
    return _found(*match.span(), 0.8)


def _judge_titled(text: str, start: int, end: int) -> Finding | None:
    if start > 0 and text[start - 1].isalnum():
        return None
    match = _TITLED.match(text, end)
    if match is None:
        return _judge_titled_in_lower_case(text, end)
    parts = _parts(match[1])
    if not parts or (parts[0] in _COMMON and parts[0] not in _FAMILY and parts[0] not in _GIVEN):
        return None
    last = match.end(1)
    if len(parts) > 1 and _is_common(parts[-1]):
        last = match.start(1) + match[1].rindex(" ")
    return _found(match.start(1), last, 0.9)


def _judge_titled_in_lower_case(text: str, end: int) -> Finding | None:
    match = _TITLED_LOWER.match(text, end)
    if match is None:
        return None
    first, second = match[1], match[2] or ""
    if second and _is_given(first) and (_is_family(second) or second in _FAMILY_WORDS):
        return _found(match.start(1), match.end(2), 0.8)
    if first in _FAMILY and first not in _COMMON:
        return _found(*match.span(1), 0.75)
    return None


_SIGNALS_ONE = frozenset({"patient", "pt"})


def _judge_led(text: str, start: int, end: int) -> Finding | None:
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-/."):
        return None
    lead = text[start:end].lower()
    for pattern in (_LED_REVERSED, _LED, _LED_CAPITALS):
        match = pattern.match(text, end)
        if match is None:
            continue
        parts = _parts(match[1])
        known = any(_is_given(part) or _is_family(part) for part in parts)
        likely = known or any(part in _GIVEN_WORDS or part in _FAMILY_WORDS for part in parts)
        if any(_is_common(part) for part in parts) or (pattern is _LED_CAPITALS and not known):
            continue
        if lead.endswith(("name", "patient", "pt")) or likely:
            return _found(*match.span(1), 0.88 if likely else 0.65)
    lower = _LED_LOWER.match(text, end)
    if lower is not None and _is_given(lower[1]) and (_is_family(lower[2]) or lower[2] in _FAMILY_WORDS):
        return _found(lower.start(1), lower.end(2), 0.8)
    if lead in _SIGNALS_ONE:
        one = _LED_ONE.match(text, end)
        if (
            one is not None
            and (one[1].lower() in _GIVEN or one[1].lower() in _FAMILY)
            and one[1].lower() not in _COMMON
        ):
            return _found(*one.span(1), 0.7)
    return None


_CAPITALS = re.compile(r"([A-Z]{2,20}),? (?:[A-Z]\.? )?([A-Z][A-Z'-]{1,20})(?![A-Za-z])(?: [A-Z]\b\.?)?")
_LOWER = re.compile(r"([a-z]{3,20}) ([a-z'-]{2,20})(?![a-z])")


def _judge_listed(text: str, start: int, end: int) -> Finding | None:
    """A known given name in lower case or capitals: counts with a plain family name behind it."""
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-_./@"):
        return None
    match = (_LOWER if text[start].islower() else _CAPITALS).match(text, start)
    if match is None or match[1].lower() not in _GIVEN or not _is_family(match[2].lower()):
        return None
    family = match[2].lower()
    if family in _COMMON or (text[start].islower() and (family in _GIVEN_WORDS or len(family) < 4)):
        return None
    return _found(*match.span(), 0.75)


def _judge_capitals_reversed(text: str, start: int, end: int) -> Finding | None:
    match = re.compile(r"([A-Z]{2,20}), ?([A-Z]{2,20})(?: [A-Z]\b\.?)?(?![A-Za-z])").match(text, start)
    if match is None or (start > 0 and text[start - 1].isalnum()):
        return None
    family, given = match[1].lower(), match[2].lower()
    if (_is_family(family) or family in _FAMILY_WORDS) and _is_given(given) and family not in _COMMON:
        return _found(*match.span(), 0.85)
    return None


_TITLES = (
    r"mr|mrs|ms|miss|dr|prof|professor|sir|doctor|herr|frau|monsieur|madame|mme|senor|senora|sra|dra|"
    r"dott|dottoressa|signor|signora|dona|nurse"
)
_LEADS = (
    r"patient|pt|name|names|client|member|resident|employee|spouse|mother|father|son|daughter|wife|husband|brother|"
    r"sister|next of kin|contact|attn|attention|signed|sincerely|regards|dear|caller|user|guardian|beneficiary|insured|"
    r"applicant|tenant|witness|plaintiff|defendant|physician|provider|counsel|attorney|manager|supervisor|candidate|"
    r"student|teacher|subject|customer|passenger|cardholder|subscriber|from|by|for|to|with|paciente|patientin|kunde|"
    r"kundin|nombre|nom|nome|cliente|bearer|author|requester|reporter|assignee|owner|colleague|nurse|victim|respondent|"
    r"petitioner|deponent|trustee|executor|landlord|borrower|payee|recipient|met|called|named|i am|my name is|this is"
)

DETECTORS = [
    Detector(r"\b[A-Z][a-z'-]{1,20} (?:[A-Z]\.? )?(?:[a-z]{2,3} ){0,2}[A-Z][a-z']", _judge_pair),
    Detector(r"\b[A-Z][a-z'-]{1,20}, [A-Z][a-z]{2}", _judge_reversed),
    Detector(r"\b[A-Z]{2,20}, ?[A-Z]{2,20}\b", _judge_capitals_reversed),
    Detector(rf"\b(?:{_TITLES})\b", _judge_titled, caseless=True),
    Detector(rf"\b(?:{_LEADS})\b", _judge_led, caseless=True),
    *[
        Detector(form + " ", _judge_listed, is_literal=True)
        for name in sorted(_GIVEN)
        if len(name) > 2
        for form in (name, name.upper())
    ],
]
