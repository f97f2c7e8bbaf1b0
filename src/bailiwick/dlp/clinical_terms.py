"""PHI that tells a patient's health: diagnoses and medications."""

from __future__ import annotations

import re

from bailiwick.dlp.detectors import Detector, Judge, look_ahead, look_behind, stands_alone
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.word_lists import lines_of, words_of


def _found(kind: str, start: int, end: int, confidence: float) -> Finding:
    return Finding(kind, Category.PHI, start, end - start, confidence)


_CLINICAL_LEAD = re.compile(
    r"(?:diagnos\w+|history of|h/o|\bhx\b|\bdx\b|pmh|suffer\w*|treated for|treatment (?:of|for)|complain\w*|c/o|"
    r"present(?:s|ed|ing)? with|symptoms?|comorbid\w*|assessment|impression|admitted (?:for|with)|hospitali[sz]ed|"
    r"(?:patient|pt|he|she|mother|father|son|daughter|wife|husband|client) (?:has|had|with|developed|reports?|denies)|"
    r"positive for|risk of|chronic|acute|severe)[^.\n]{0,50}$"
)
_CLINICAL_WORD = re.compile(
    r"\b(?:patients?|diagnos\w+|prescri\w+|clinic\w*|hospital\w*|doctor|physician|nurse|medicat\w+|dosage|dose|mg|mcg|"
    r"tablets?|daily|bid|tid|therapy|symptoms?|treatment)\b"
)
_HAS = re.compile(r"\b(?:has|have|had|having) (?:\w{1,12} )?$")
_HAD_BY_PEOPLE = frozenset(
    {
        "depression", "anxiety", "seizure", "seizures", "tumor", "tumour", "cyst", "ulcer", "htn", "ckd", "chf", "uti",
        "ibs", "mdd", "t1dm", "t2dm", "ocd", "palpitations", "chest pain", "shortness of breath", "migraines", "als",
    }
)  # fmt: skip
"""Weak words that count after `has` too, as nothing but people has them."""
_IT_WORD = re.compile(
    r"\b(?:server|disk|hardware|network|software|router|cable|driver|firmware|database|memory|cpu|power supply|battery|"
    r"bug|fault|failure|outage|leak|config\w*|cache|dns|query|index|laptop|printer|port|timeout|latency|engine|switch)\b"
)


def _literal_judge(kind: str, weak: bool) -> Judge:
    def judge(text: str, start: int, end: int) -> Finding | None:
        if not stands_alone(text, start, end):
            return None
        if weak:
            telling = _CLINICAL_LEAD if kind == "DIAGNOSIS" else _CLINICAL_WORD
            nearby = look_behind(text, start, 70)
            if kind == "MEDICATION":
                nearby += " " + look_ahead(text, end, 40)
            if telling.search(nearby) is None and not (
                kind == "DIAGNOSIS" and text[start:end].lower() in _HAD_BY_PEOPLE and _HAS.search(nearby)
            ):
                return None
        return _found(kind, start, end, 0.75 if weak else 0.9)

    return judge


_DRUG_ENDING = (
    r"pril|sartan|olol|statin|prazole|mab|tinib|gliptin|gliflozin|glutide|oxetine|azepam|cillin|mycin|floxacin|cycline|"
    r"ciclovir|navir|tegravir|triptan|dipine|parin|xaban|codone|morphone|setron|thiazide|lukast|conazole|barbital|"
    r"dronate|terol|sonide|oxacin|azosin|afil|platin|rubicin|taxel|fibrate|bamate|perone|orexant|peridone|triptyline|"
    "gepant|vaptan|ciclib|parib|zomib|lisib|fungin|penem|bactam|trexate|racetam|gabalin|pidem|clone|glargine|"
    "isone|solone|oxetine|azine|tadine|astine|caine|setine|zepine|dopa|grel|lutide"
)
_ILLNESS_ENDING = (
    r"itis|aemia|emia|opathy|algia|ectomy|penia|plegia|blastoma|carcinoma|sarcoma|lymphoma|myeloma|sclerosis|fibrosis|"
    r"thrombosis|stenosis|cytosis|nephrosis|dystrophy|megaly|arrhythmia|kinesia|phagia|phasia|dynia|rrhea|oedema"
)
_NO_DRUG = frozenset({"april", "nostatin", "magazine", "cyclone", "standalone", "cocaine"})
_NO_ILLNESS = frozenset(
    {
        "academia", "nostalgia", "trophy", "bohemia", "homeopathy", "naturopathy", "osteopathy", "atrophy", "tomahawk",
        "epidemia", "pandemia", "catastrophy", "toxemias", "macademia",
    }
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z]{5,24}")


def _ending_judge(kind: str, excluded: frozenset[str]) -> Judge:
    def judge(text: str, start: int, end: int) -> Finding | None:
        first = end
        while first > 0 and end - first < 25 and text[first - 1].isascii() and text[first - 1].isalpha():
            first -= 1
        word = text[first:end].lower()
        if not 7 <= len(word) <= 24 or word in excluded or not stands_alone(text, first, end):
            return None
        return _found(kind, first, end, 0.7)

    return judge


_NO_DRUG_BEFORE_DOSE = frozenset(
    {
        "about", "around", "only", "least", "most", "than", "take", "takes", "taking", "took", "limit", "exceed",
        "contains", "containing", "dose", "doses", "dosage", "weighs", "of", "at", "to", "the", "from", "by", "or",
        "and", "is", "was", "over", "under", "up", "mass", "weight", "sodium", "protein", "sugar", "fiber", "caffeine",
        "salt", "tablet", "tablets", "pill", "pills", "capsule", "capsules", "approximately", "roughly", "maximum",
        "minimum", "level", "levels", "concentration", "in", "for", "another", "extra", "per", "every", "with", "plus",
        "each", "use", "using", "daily", "total", "some", "value", "result", "reading",
    }
)  # fmt: skip
_DOSED = re.compile(r"([A-Za-z][A-Za-z-]{3,22}) \d{1,4}(?:\.\d{1,2})? ?(?:mg|mcg|units|iu)\b", re.I)


def _judge_dosed(text: str, start: int, end: int) -> Finding | None:
    for match in _DOSED.finditer(text, max(0, end - 45), end):
        if match.end() == end and match[1].lower() not in _NO_DRUG_BEFORE_DOSE:
            return _found("MEDICATION", *match.span(1), 0.7)
    return None


_NAMED_ILLNESS = re.compile(
    r"((?:[A-Z][A-Za-z]+(?:-[A-Z][A-Za-z]+)?(?:'s)? ){1,2}|[a-z]{5,20} )(?:[Ss]yndrome|[Dd]isease)$"
)
_NO_ILLNESS_NAME = re.compile(
    r"\b(?:the|this|that|impostor|imposter|stockholm|second|system|infectious|any|another|chronic|no|common|rare|whose|"
    r"dutch|plant|crop|which|their|about|china|alert|spread|against|under|human|fight)\b",
    re.I,
)


def _judge_named_illness(text: str, start: int, end: int) -> Finding | None:
    match = _NAMED_ILLNESS.search(text, max(0, end - 60), end)
    if match is None or _NO_ILLNESS_NAME.search(match[1]):
        return None
    return _found("DIAGNOSIS", match.start(), end, 0.7)


_DIAGNOSED_WITH = re.compile(
    r" (?:an? |the )?((?:[A-Za-z][\w'-]{1,24})(?: (?!and\b|in\b|on\b|by\b|since\b|last\b|at\b|"
    r"after\b|this\b|when\b|but\b|or\b|for\b|who\b|with\b)[A-Za-z0-9][\w'-]{0,24}){0,4})"
)


def _judge_diagnosed_with(text: str, start: int, end: int) -> Finding | None:
    match = _DIAGNOSED_WITH.match(text, end)
    if match is None or _IT_WORD.search(match[1].lower()) or _IT_WORD.search(look_behind(text, start, 40)):
        return None
    return _found("DIAGNOSIS", *match.span(1), 0.7)


_CODE_CONTEXT = re.compile(
    r"\b(?:icd|dx|diagnos\w*|assessment|problem list|hx|pmh|claim|billing|patient|pt|encounter|code[ds]?)\b"
)


def _judge_icd_code(text: str, start: int, end: int) -> Finding | None:
    """ICD-10-CM: a letter, two characters, a point and up to four more; in a clinical line."""
    after = text[end : end + 1]
    if (
        after.isalnum()
        or (after == "." and text[end + 1 : end + 2].isalnum())
        or text[start - 1 : start] in {".", "-", "/"}
    ):
        return None
    if _CODE_CONTEXT.search(look_behind(text, start, 60)) is None:
        return None
    return _found("DIAGNOSIS", start, end, 0.8)


def _literals() -> list[Detector]:
    detectors = []
    for kind, sections in (("DIAGNOSIS", lines_of("diagnoses.txt")), ("MEDICATION", words_of("medications.txt"))):
        weak = sections["weak"]
        detectors += [
            Detector(term, _literal_judge(kind, term in weak), caseless=True, is_literal=True)
            for term in sorted(sections["plain"] | weak)
        ]
    return detectors


DETECTORS = [
    Detector(rf"[a-z]{{3}}(?:{_DRUG_ENDING})\b", _ending_judge("MEDICATION", _NO_DRUG), caseless=True),
    Detector(rf"[a-z]{{2}}(?:{_ILLNESS_ENDING})\b", _ending_judge("DIAGNOSIS", _NO_ILLNESS), caseless=True),
    Detector(r"[a-z]{3} \d{1,4}(?:\.\d{1,2})? ?(?:mg|mcg|units|iu)\b", _judge_dosed, caseless=True),
    Detector(r"[a-z] (?:syndrome|disease)\b", _judge_named_illness, caseless=True),
    Detector(r"\bdiagnosed with\b", _judge_diagnosed_with, caseless=True),
    Detector(r"\b[A-TV-Z]\d[0-9AB]\.\d[0-9A-Z]{0,3}\b", _judge_icd_code),
    *_literals(),
]
