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
_PAIR = re.compile(rf"({_NAME}) (?:[A-Z]\.? )?{_PARTICLE}?({_NAME})(?![A-Za-z])(?: ({_NAME})(?![A-Za-z]))?")
_TITLED = re.compile(rf"\.? {{1,2}}((?:{_NAME}|[A-Z]\.)(?: (?:[A-Z]\. )?{_PARTICLE}?{_NAME}){{0,2}})(?![A-Za-z])")
_TITLED_LOWER = re.compile(r"\.? ([a-z]{2,20})(?: ([a-z]{2,20}))?\b")
_LEAD_GAP = (
    r"(?: (?:is|was|named|called|id|name|initials|aged?|mr|mrs|ms|dr)\b\.?)?[ \t]{0,2}[:=,\-\"'(]{0,3}[ \t]{0,3}\"?"
)
_LED = re.compile(rf"{_LEAD_GAP}({_NAME}(?: [A-Z]\.)?(?: {_PARTICLE}?{_NAME}){{1,2}})(?![A-Za-z])")
_LED_REVERSED = re.compile(rf"{_LEAD_GAP}({_NAME}(?:[ -]{_NAME})?, ?{_NAME}(?: [A-Z]\b\.?)?)(?![A-Za-z])")
_LED_ONE = re.compile(rf"(?: is)?[:,=]? ?\"?({_NAME})(?![A-Za-z])")
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
    if first in _MODAL_NAMES:
        return 0.7 if last in _FAMILY and last not in _COMMON else 0.0
    if (first in _COMMON and first not in _GIVEN) or (last in _COMMON and last not in _FAMILY):
        return 0.0
    if _is_given(first):
        if _is_family(last):
            return 0.93
        if last in _GIVEN or last in _GIVEN_WORDS or last in _FAMILY_WORDS:
            return 0.75
        return 0.0 if before.endswith(("in ", "at ")) else 0.7  # "in Jordan Valley", "at Alexandria Landing"
    return 0.8 if first in _GIVEN_WORDS and _is_family(last) else 0.0


_NAMED_AFTER = _common["places"]
"""A street or a house that bears a name is no person."""
_NAMESAKES = _common["namesakes"]
"""Firms, brands and things that are called as a person would be; both words joined by a hyphen."""
_MODAL_NAMES = frozenset({"will", "may", "mark", "april", "june", "august"})


def is_known_name(first: str, last: str) -> bool:
    """Whether two words are, by the lists, a given and a family name, one of them at least unmistakable."""
    return _pair_confidence(first.lower(), last.lower(), "") >= 0.7


_MODAL = re.compile(
    r" (?:be|come|have|get|need|make|do|join|take|work|attend|send|approve|sign|also|please|still|"
    r"ever|not|pick|fix|help|"
    r"run|go|you|we|as|for review|that|this|all|it)\b"
)
_PERSON_BEHAVES = re.compile(
    r"(?:,? \(?(?:mrn|dob|ssn|d\.o\.b|born|aged?)\b|,? an? \d{1,2}[- ]year|,? \d{1,3}[ -]?(?:y/?o|yo|years? old)|"
    r" (?:takes|reports|denies|complains|refused|presents|presented|lives|resides|called|was (?:born|"
    r"admitted|diagnosed|"
    r"seen|discharged|prescribed|referred|transferred)|has been (?:admitted|diagnosed|prescribed)|"
    r"is (?:allergic|pregnant|"
    r"a patient|on)|suffers|underwent|states that|says|wants|wishes|asked|prefers|signed)\b)",
    re.I,
)


def _judge_pair(text: str, start: int, end: int) -> Finding | None:
    word = text[start : text.find(" ", start, end)].lower()
    if word in _COMMON and word not in _GIVEN and word not in _MODAL_NAMES:  # most capitalised pairs end here
        return None
    before = text[start - 1 : start]
    if before and (before.isalnum() or before in "-_./@#" or (before == "'" and text[start - 2 : start - 1].isalnum())):
        return None
    match = _PAIR.match(text, start)
    if match is None:
        return None
    first, last, further = match[1].lower(), match[2].lower(), (match[3] or "").lower()
    if further in _NAMED_AFTER or f"{first}-{last}" in _NAMESAKES:
        return None
    confidence, last_end = _pair_confidence(first, last, look_behind(text, start, 12)), match.end(2)
    if first in _MODAL_NAMES and _MODAL.match(text, last_end):
        return None
    if further and (_is_family(further) or further in _FAMILY_WORDS) and further not in _COMMON:
        if not confidence and _is_given(first) and last not in _COMMON:
            confidence = 0.8
        last_end = match.end(3)
    if not confidence and not _is_common(first) and not _is_common(last):
        inside_sentence = start > 2 and text[start - 1] == " " and text[start - 2] not in ".!?:\n"
        if _PERSON_BEHAVES.match(text, last_end) or (
            inside_sentence and last in _FAMILY and last not in _GIVEN and last not in _COMMON and first not in _FAMILY
        ):
            confidence = 0.65
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


_ONE_NAME_IS_ENOUGH = frozenset({"patient", "pt", "last name", "surname", "family name", "first name", "given name"})
_LED_PATTERNS = (_LED, _LED_REVERSED, _LED_CAPITALS)


def _judge_led_by_person(text: str, start: int, end: int) -> Finding | None:
    """After a word that a person stands behind (patient, employee, son): even a name that is on no list."""
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-/."):
        return None
    return _judge_led(text, end, text[start:end].lower(), needs_known=False)


def _judge_led_by_any(text: str, start: int, end: int) -> Finding | None:
    """After a word that something else may follow as well (from, by, contact): a part of the name has to be known."""
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-/."):
        return None
    lead = _LEADING_WORD.match(text, start)
    if lead is None:
        return None
    is_field = text[lead.end()] == ":"  # of a form, where a name is expected
    return _judge_led(text, lead.end(), "", needs_known=not is_field)


_LEADING_WORD = re.compile(r"[A-Za-z]+")


def _judge_led(text: str, end: int, lead: str, *, needs_known: bool) -> Finding | None:
    for pattern in _LED_PATTERNS:
        match = pattern.match(text, end)
        if match is None:
            continue
        value = match[1]
        parts = _parts(value)
        while len(parts) > 2 and pattern is _LED and _is_common(parts[-1]):
            value = value[: value.rindex(" ")]
            parts.pop()
        if len(parts) < 2 or any(_is_common(part) for part in parts) or "-".join(parts[:2]) in _NAMESAKES:
            continue
        known = any(_is_given(part) or _is_family(part) for part in parts)
        likely = known or any(part in _GIVEN_WORDS or part in _FAMILY_WORDS for part in parts)
        if (pattern is _LED_CAPITALS and not known) or (needs_known and not likely):
            continue
        return _found(match.start(1), match.start(1) + len(value), 0.88 if likely else 0.65)
    lower = _LED_LOWER.match(text, end)
    if lower is not None and _is_given(lower[1]) and (_is_family(lower[2]) or lower[2] in _FAMILY_WORDS):
        return _found(lower.start(1), lower.end(2), 0.8)
    return _judge_led_one(text, end, lead) if lead in _ONE_NAME_IS_ENOUGH else None


def _judge_led_one(text: str, end: int, lead: str) -> Finding | None:
    match = _LED_ONE.match(text, end)
    if match is None or match[1].lower() in _COMMON:
        return None
    word = match[1].lower()
    return _found(*match.span(1), 0.7) if lead.endswith("name") or word in _GIVEN or word in _FAMILY else None


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
_PERSONS = (
    r"patient|pt|name|client|resident|employee|new hire|spouse|mother|father|son|daughter|wife|husband|brother|sister|"
    r"next of kin|attn|sincerely|regards|caller|guardian|insured|applicant|tenant|witness|plaintiff|"
    r"defendant|candidate|"
    r"passenger|cardholder|paciente|patientin|nombre|nom|nome|bearer|colleague|victim|respondent|petitioner|deponent|"
    r"trustee|executor|landlord|borrower|payee|account holder|i am|my name is|last name|surname|family name|first name|"
    r"given name|account of|dependent|proband|pupil|minor|infant|inmate|detainee|veteran|donor|"
    r"enrollee|claimant|decedent|"
    r"autopsy of|biopsy of|referral for|results? for|refill for|appointment for|appointment with|"
    r"letter to|on behalf of|"
    r"care of|birth of|death of|marriage of|my hand|name of|aunt|uncle|cousin|grandmother|"
    r"grandfather|nephew|niece|roommate|neighbor"
)
_ANYTHING = (
    r"names|member|contact|attention|signed|dear|user|beneficiary|physician|provider|counsel|attorney|manager|supervisor|"
    r"student|teacher|subject|customer|subscriber|from|by|for|to|with|kunde|kundin|cliente|author|requester|reporter|"
    r"assignee|owner|nurse|recipient|reach|met|called|named|this is|and|ask|asked|told|tell|remind|thank|thanks"
)

_KEYED = re.compile(rf"[\"']?\s{{0,2}}[:=]\s{{0,2}}[\"']({_NAME}(?:[ -](?:[A-Z]\.? )?{_PARTICLE}?{_NAME}){{0,3}})[\"']")


def _judge_keyed(text: str, start: int, end: int) -> Finding | None:
    """The value of a field of JSON or code that is named as a person's."""
    match = _KEYED.match(text, end)
    if match is None or all(_is_common(part) for part in _parts(match[1])):
        return None
    return _found(*match.span(1), 0.8)


DETECTORS = [
    Detector(
        r"(?:first|last|full|given|family|middle|patient|customer|employee|member|maiden)_?name",
        _judge_keyed,
        caseless=True,
    ),
    Detector(r"\b[A-Z][A-Za-z'-]{1,20} (?:[A-Z]\.? )?(?:[a-z]{2,3} ){0,2}[A-Z][a-z']", _judge_pair),
    Detector(r"\b[A-Z][a-z'-]{1,20}, [A-Z][a-z]{2}", _judge_reversed),
    Detector(r"\b[A-Z]{2,20}, ?[A-Z]{2,20}\b", _judge_capitals_reversed),
    Detector(rf"\b(?:{_TITLES})\b", _judge_titled, caseless=True),
    Detector(rf"\b(?:{_PERSONS})\b", _judge_led_by_person, caseless=True),
    Detector(rf"\b(?i:{_ANYTHING})(?: |: ?)[A-Z][A-Za-z'-]+,? [A-Z]", _judge_led_by_any),
    *[
        Detector(form + " ", _judge_listed, is_literal=True)
        for name in sorted(_GIVEN)
        if len(name) > 2
        for form in (name, name.upper())
    ],
]
