"""PHI that tells which patient: record numbers, plan ids, dates of birth."""

from __future__ import annotations

import datetime
import re

from bailiwick.dlp.detectors import Detector, look_ahead, look_behind
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.names import is_known_name
from bailiwick.dlp.validators import DATE, MONTH, is_birth_date, is_nhs_number


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
    r"github|gitlab|org|team|car|auto|vehicle|motor|home|homeowners?|travel|firewall|security group|pet|backup|"
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
]
