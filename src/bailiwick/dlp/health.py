"""PHI: record numbers, plan ids, dates of birth, diagnoses and medications."""

from __future__ import annotations

import datetime
import re

from bailiwick.dlp.detectors import Detector, Judge, look_ahead, look_behind, stands_alone
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.names import is_known_name
from bailiwick.dlp.validators import DATE, MONTH, is_birth_date, is_nhs_number
from bailiwick.dlp.word_lists import lines_of, words_of


def _found(kind: str, start: int, end: int, confidence: float, category: Category = Category.PHI) -> Finding:
    return Finding(kind, category, start, end - start, confidence)


# Record numbers and plan ids: a word says what they are, as they have no form of their own

_LINK = (
    r"[^\w\n]{0,4}(?:(?:number|num|nummer|no|nr|id|ids|identifier|is|was|record|of|for|the|card|"
    r"reads|shows|as|to|beneficiary|member|mbi|subscriber|policy|plan|insurance)\b[^\w\n]{0,4}){0,4}"
)
_RECORD_NUMBER = re.compile(_LINK + r"((?:[A-Z]{1,4}-?)?\d[\d-]{2,16}\d[A-Z]{0,2})(?![\w/]|[.:]\d)", re.I)
_NHS_NUMBER = re.compile(_LINK + r"(\d{3}[ -]?\d{3}[ -]?\d{4})(?!\d)", re.I)
_MEMBER_NUMBER = re.compile(_LINK + r"((?:[A-Z]{1,5}-?)?\d[A-Z\d-]{3,18}[A-Z\d])(?![\w/]|[.:]\d)", re.I)
_ISO_DATE = re.compile(r"(?:19|20)\d\d-\d\d-\d\d$")
_NO_PLAN = re.compile(
    r"\b(?:gym|club|library|loyalty|rewards?|airline|miles|frequent|slack|forum|cluster|etcd|raft|kafka|consumer|channel|"
    r"github|gitlab|org|team|car|auto|vehicle|motor|home|homeowners?|travel|firewall|security group|travel|pet|backup|"
    r"retention|password|coworking|union|museum)\b"
)
_HEALTH_WORD = re.compile(
    r"\b(?:health|medical|patients?|dental|clinic|hospital|claims?|copay|deductible|coverage|insur\w+|payer|hmo|ppo|"
    r"blue cross|blue shield|bcbs|aetna|cigna|humana|kaiser|united ?health\w*|anthem|medicare|medicaid|tricare|"
    r"molina|centene|oscar|plan|provider|prior auth\w*|eligibility|prescri\w+|pharmacy|rx|diagnos\w+|enrollee)\b"
)


def _digits(value: str) -> int:
    return sum(character.isdigit() for character in value)


def _judge_record_number(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start].isalnum():
        return None
    match = _NHS_NUMBER.match(text, end) if "nhs" in text[start:end].lower() else None
    if match is not None and is_nhs_number(re.sub(r"\D", "", match[1])):
        return _found("MEDICAL_RECORD_NUMBER", *match.span(1), 0.99)
    match = _RECORD_NUMBER.match(text, end)
    if match is None or not 4 <= _digits(match[1]) <= 14 or _ISO_DATE.match(match[1]):
        return None
    return _found("MEDICAL_RECORD_NUMBER", *match.span(1), 0.95)


def _judge_plan_id(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start].isalnum():
        return None
    match = _MEMBER_NUMBER.match(text, end)
    if match is None or _digits(match[1]) < 5 or _ISO_DATE.match(match[1]):
        return None
    keyword = text[start:end].lower()
    around = look_behind(text, start, 100) + " " + look_ahead(text, match.end(1), 60)
    telling = _HEALTH_WORD.search(around) is not None
    if keyword.startswith(("policy", "group", "plan", "claim")) and not telling:
        return None
    if keyword.startswith(("policy", "group", "member", "plan", "insurance")) and _NO_PLAN.search(around):
        return None
    return _found("HEALTH_PLAN_ID", *match.span(1), 0.93 if telling else 0.8)


def _judge_medicare_id(text: str, start: int, end: int) -> Finding | None:
    """CMS's Medicare Beneficiary Identifier, in the spelling with hyphens that is on the card."""
    return _found("HEALTH_PLAN_ID", start, end, 0.9)


# Date of birth

_UNTIL_DIGIT = re.compile(r"[^\d\n]{0,34}(?=\d)")
_MONTH_BEFORE_DAY = re.compile(rf"\b{MONTH} {{1,2}}$", re.I)
_DATE_HERE = re.compile(DATE, re.I)
_DATE_BEFORE = re.compile(r"(?<!\d)\d{1,4}\D\w{1,10}\W{1,2}\d{1,4}[\s,(\[]{1,3}$")


def _date_near(text: str, start: int, end: int) -> re.Match[str] | None:
    """The date that follows within some words, or stands just before, as in `01/02/1980 (DOB)`."""
    gap = _UNTIL_DIGIT.match(text, end)
    if gap is not None:
        month = _MONTH_BEFORE_DAY.search(text, max(end, gap.end() - 14), gap.end())
        match = _DATE_HERE.match(text, month.start() if month else gap.end())
        if match is not None:
            return match
    before = (
        _DATE_BEFORE.search(text, max(0, start - 24), start) if text[max(0, start - 1) : start] in {" ", "("} else None
    )
    return _DATE_HERE.match(text, before.start()) if before is not None else None


_BIRTH_OF_A_THING = re.compile(
    r"\b(?:company|project|startup|start-up|idea|product|framework|language|app|firm|business|concept|protocol|"
    r"movement|brand|website|initiative|feature|nation|country|band|genre|organi[sz]ation|agency|event|party)\b"
)


def _judge_birth_date(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start].isalnum() or text[end : end + 1].isalnum():
        return None
    keyword = text[start:end].lower()
    match = _date_near(text, start, end)
    if match is None or not is_birth_date(match[0], today=datetime.datetime.now(datetime.UTC).date()):
        return None
    if keyword in {"born", "birthday"}:
        around = look_behind(text, start, 40) + text[end : match.start()].lower()
        if _BIRTH_OF_A_THING.search(around):
            return None
    return _found("DATE_OF_BIRTH", *match.span(), 0.95, Category.PII)


_NAME_THEN = re.compile(r"\b([A-Z][a-z'-]+) (?:[A-Z]\.? )?([A-Z][A-Za-z'-]+)\s?[,;|/\t]\s?$")


def _judge_date_after_name(text: str, start: int, end: int) -> Finding | None:
    """A row of a roster: a known name, a separator and a day long enough ago to be an adult's birth."""
    first = end
    while first > start and (text[first - 1].isdigit() or text[first - 1] in "-/."):
        first -= 1
    match = _DATE_HERE.match(text, first)
    name = _NAME_THEN.search(text, max(0, first - 60), first)
    if match is None or match.end() != end or name is None or not is_known_name(name[1], name[2]):
        return None
    today = datetime.datetime.now(datetime.UTC).date()
    if not is_birth_date(match[0], today=today.replace(year=today.year - 18, day=1)):
        return None
    return _found("DATE_OF_BIRTH", *match.span(), 0.7, Category.PII)


# Diagnoses and medications

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
    [
        "about",
        "around",
        "only",
        "least",
        "most",
        "than",
        "take",
        "takes",
        "taking",
        "took",
        "limit",
        "exceed",
        "contains",
        "containing",
        "dose",
        "doses",
        "dosage",
        "weighs",
        "of",
        "at",
        "to",
        "the",
        "from",
        "by",
        "or",
        "and",
        "is",
        "was",
        "over",
        "under",
        "up",
        "mass",
        "weight",
        "sodium",
        "protein",
        "sugar",
        "fiber",
        "caffeine",
        "salt",
        "tablet",
        "tablets",
        "pill",
        "pills",
        "capsule",
        "capsules",
        "approximately",
        "roughly",
        "maximum",
        "minimum",
        "level",
        "levels",
        "concentration",
        "in",
        "for",
        "another",
        "extra",
        "per",
        "every",
        "with",
        "plus",
        "each",
        "use",
        "using",
        "daily",
        "total",
        "some",
        "total",
        "value",
        "result",
        "reading",
    ]
)
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


_MBI = "[AC-HJKMNP-RT-Y]"

DETECTORS = [
    Detector(
        r"\b(?:mrn|m\.r\.n\.?|emrn|medical record|med\.? ?rec|medical rec|health record|hospital (?:number|no|id)|"
        r"chart (?:number|no|id|#)|chart #|patient[ _-]?(?:id|number|no|identifier|#)|patient #|"
        r"patient record|nhs(?: number| no)?|"
        r"unit (?:record )?number|historia clinica|expediente|patientennummer|fallnummer|dossier (?:patient|medical)|"
        r"cartella clinica|numero do prontuario|prontuario|medical chart|record locator mrn)",
        _judge_record_number,
        caseless=True,
    ),
    Detector(
        r"\b(?:(?:member|policy|subscriber|group) ?#|(?:member(?:ship)?[ _-]?(?:id|number|no|#)|"
        r"policy (?:id|number|no|#)|subscriber[ _-]?(?:id|number|no|#)?|"
        r"insurance (?:id|number|no|policy|member|card)|health ?(?:care)? ?plan|health ?plan ?id|"
        r"plan (?:id|number|member)|"
        r"beneficiary(?: id| number)?|medicare|medicaid|\bmbi\b|\bhicn\b|group (?:number|no|id)|"
        r"insured(?:'s)? id|enrollee id|"
        r"blue cross(?: blue shield)?|bcbs|aetna|cigna|humana|kaiser|united ?healthcare|tricare|anthem|"
        r"health insurance|"
        r"versichertennummer|krankenkasse|krankenversicherung|carte vitale|securite sociale|tarjeta sanitaria|"
        r"numero de afiliado|afiliado|tessera sanitaria|hpid)\b)",
        _judge_plan_id,
        caseless=True,
    ),
    Detector(
        rf"\b[1-9]{_MBI}[0-9AC-HJKMNP-RT-Y]\d-{_MBI}[0-9AC-HJKMNP-RT-Y]\d-{_MBI}{{2}}\d{{2}}\b", _judge_medicare_id
    ),
    Detector(
        r"(?:dob|d\.o\.b\.?|date[ _-]?of[ _-]?birth|birth[ _-]?date|\bborn\b|birthday|\bgeboren\b|\bgeb\.|geburtsdatum|"
        r"fecha[ _]de[ _]nacimiento|date de naissance|\bnee? le\b|nacid[oa] el|nat[oa] il|data di nascita|"
        r"data de nascimento|nascid[oa] em|f\. ?nac\.?|geboortedatum|fodelsedatum|data urodzenia)",
        _judge_birth_date,
        caseless=True,
    ),
    Detector(
        r"[A-Za-z] ?[,;|/\t] ?(?:(?:19|20)\d\d-\d{1,2}-\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d)\b",
        _judge_date_after_name,
    ),
    Detector(rf"[a-z]{{3}}(?:{_DRUG_ENDING})\b", _ending_judge("MEDICATION", _NO_DRUG), caseless=True),
    Detector(rf"[a-z]{{2}}(?:{_ILLNESS_ENDING})\b", _ending_judge("DIAGNOSIS", _NO_ILLNESS), caseless=True),
    Detector(r"[a-z]{3} \d{1,4}(?:\.\d{1,2})? ?(?:mg|mcg|units|iu)\b", _judge_dosed, caseless=True),
    Detector(r"[a-z] (?:syndrome|disease)\b", _judge_named_illness, caseless=True),
    Detector(r"\bdiagnosed with\b", _judge_diagnosed_with, caseless=True),
    Detector(r"\b[A-TV-Z]\d[0-9AB]\.\d[0-9A-Z]{0,3}\b", _judge_icd_code),
    *_literals(),
]
