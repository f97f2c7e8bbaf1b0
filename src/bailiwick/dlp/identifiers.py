"""PII with a form of its own: e-mail, phone, card, SSN, IBAN, IP address, passport, street address."""

from __future__ import annotations

import ipaddress
import re

from bailiwick.dlp.detectors import Detector, look_ahead, look_behind, numbers_a_thing
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.validators import DATE, iban_length, is_card_number, is_iban, is_ssn


def _found(kind: str, start: int, end: int, confidence: float) -> Finding:
    return Finding(kind, Category.PII, start, end - start, confidence)


# E-mail

_LOCAL_PART = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&'*+-/=?^_`{|}~"
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}([A-Za-z]{2,24})(?![A-Za-z0-9-])")
_MACHINE_DOMAINS = frozenset({"local", "localhost", "internal", "lan", "svc", "cluster", "localdomain", "service"})


def _judge_email(text: str, start: int, end: int) -> Finding | None:
    at = start + 1
    window = text[max(0, at - 64) : at]
    local = window[len(window.rstrip(_LOCAL_PART)) :].lstrip(".'`*/={|&?!#-+")
    domain = _DOMAIN.match(text, at + 1, at + 255)
    if not local or domain is None or domain[1].lower() in _MACHINE_DOMAINS:
        return None
    if "=" in local or "://" in window[-len(local) - 3 :]:  # key=value pairs and addresses in URLs' query strings
        local = local.rpartition("=")[2]
        if not local:
            return None
    if local.lower() in {"git", "hg", "svn"} and text[domain.end() : domain.end() + 1] in {":", "/"}:
        return None  # a repository's address: git@github.com:owner/name
    return _found("EMAIL_ADDRESS", at - len(local), domain.end(), 0.95)


# Phone

_NANP = re.compile(r"(?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. /])\d{3}[-. ]\d{4}(?!\d|[-.]\d)")
_INTERNATIONAL = re.compile(r"\+[1-9]\d{0,2}(?:[ .\-/]{0,2}\(?\d{1,5}\)?){2,6}")
_PHONE_WORDS = (
    r"phones?|telephone|tel|mobile|cell|cellphone|fax|call(?:ed|ing)?|callback|call(?:ing)? back|text|whatsapp|pager|"
    r"reach(?:able|ed)?|dial|contact number|telefon|telefono|handy|mobil|movil|portable|telephone|rufnummer|"
    r"telefonnummer|celular|cellulare|ring|voicemail|ruckruf|anruf|anrufen|erreichbar unter|joindre|"
    r"appeler|llamar|fon|tlf|whats app"
)
_PHONE_CONTEXT = re.compile(rf"\b(?:{_PHONE_WORDS})\b[^\d\n]{{0,40}}$")
_SPOKEN_NUMBER = re.compile(r"[^\d\n+(]{0,40}(\+?\(?\d[\d ().\-/]{5,18}\d)(?![\d:@])(?!\.\d)")
_ONE_DATE = re.compile(DATE, re.I)


def _judge_nanp(text: str, start: int, end: int) -> Finding | None:
    first = start
    for prefix in ("+1 ", "+1-", "+1.", "+1", "1-", "1 ", "1."):
        if text.startswith(prefix, max(0, start - len(prefix)), start) and start >= len(prefix):
            first = start - len(prefix)
            break
    digits = [character for character in text[start:end] if character.isdigit()]
    # 555 is no area code: made-up numbers bear it, with any exchange behind.
    if digits[0] in "01" or (digits[3] in "01" and digits[:3] != ["5", "5", "5"]):
        return None
    before = text[first - 1 : first]
    if (
        before
        and (before.isalnum() or before in "-./#_")
        and not (before == "/" and text[first - 2 : first - 1] == " ")
    ):
        return None
    if text[end : end + 1] in {"-", "."} and text[end + 1 : end + 2].isdigit():
        return None
    spoken = _PHONE_CONTEXT.search(look_behind(text, first, 40)) is not None
    if not spoken and (numbers_a_thing(text, first) or (text[start:end].count(".") == 2 and "v" in before)):
        return None
    return _found("PHONE_NUMBER", first, end, 0.95 if spoken else 0.85)


def _judge_international(text: str, start: int, end: int) -> Finding | None:
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] in "+)"):
        return None
    match = _INTERNATIONAL.match(text, start)
    if match is None or not 8 <= sum(character.isdigit() for character in match[0]) <= 15:
        return None
    if text[match.end() : match.end() + 1] == ":" or look_ahead(text, match.end(), 1).isalnum():
        return None
    return _found("PHONE_NUMBER", start, match.end(), 0.9)


def _judge_spoken_phone(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start].isalnum() or text[end : end + 1].isalnum():
        return None
    match = _SPOKEN_NUMBER.match(text, end)
    if match is None:
        return None
    value = match[1]
    digits = sum(character.isdigit() for character in value)
    if not 7 <= digits <= 15 or _ONE_DATE.match(value) or numbers_a_thing(text, match.start(1)):
        return None
    if value.count(".") >= 3 and max(map(len, value.split("."))) <= 3:  # an IPv4 address or a version
        return None
    if digits == 7 and not re.search(r"\d{3}[-. ]\d{4}$", value):
        return None
    return _found("PHONE_NUMBER", *match.span(1), 0.8)


# Social security number

_SSN_WORDS = r"ssn|s\.s\.n|ss#|social security|social sec|soc\.? sec|\bsocial\b"
_SSN_CONTEXT = re.compile(rf"(?:{_SSN_WORDS})[^\d\n]{{0,30}}$")
_SPOKEN_SSN = re.compile(r"[^\d\n]{0,30}(\d{3}([-. ]?)\d{2}\2\d{4})(?!\d|-\d)")


def _judge_ssn(text: str, start: int, end: int) -> Finding | None:
    if (
        text[start - 1 : start] in {"-", ".", "/", "_"}
        or text[end : end + 1] == "-"
        or text[start + 3] != text[start + 6]
    ):
        return None
    digits = text[start : start + 3] + text[start + 4 : start + 6] + text[start + 7 : end]
    if not is_ssn(digits):
        return None  # _judge_spoken_ssn takes the ones that are called so
    if text[start + 3] == " " or numbers_a_thing(text, start):
        return None
    return _found("SSN", start, end, 0.85)


def _judge_spoken_ssn(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start].isalnum():
        return None
    match = _SPOKEN_SSN.match(text, end)
    if match is None or numbers_a_thing(text, match.start(1)):
        return None
    digits = "".join(character for character in match[1] if character.isdigit())
    # Called an SSN, it is treated as one even if mistyped; nine equal digits are a form's placeholder.
    if len(set(digits)) == 1:
        return None
    return _found("SSN", *match.span(1), 0.98 if is_ssn(digits) else 0.75)


# Money

_CARD = re.compile(r"(?<![\d-])(?:(?:\d{4}[ -]){3}\d{1,7}|3\d{3}[ -]\d{6}[ -]\d{4,5}|\d{13,19})(?![\d])")


def _judge_card(text: str, start: int, end: int) -> Finding | None:
    match = _CARD.match(text, start)
    if match is None:
        return None
    digits = match[0].replace(" ", "").replace("-", "")
    if not 13 <= len(digits) <= 19 or not is_card_number(digits):
        return None
    return _found("CREDIT_CARD", *match.span(), 0.95)


def _judge_iban(text: str, start: int, end: int) -> Finding | None:
    length = iban_length(text[start : start + 2])
    if not length:
        return None
    compact, position = "", start
    while position < len(text) and len(compact) < length:
        character = text[position]
        if character.isalnum():
            compact += character
        elif character != " ":
            break
        position += 1
    if text[position : position + 1].isalnum() or not is_iban(compact.upper()):
        return None
    return _found("IBAN", start, position, 0.99)


# IP address: one that leads to a subscriber. A private, loopback or link-local address says nothing about a person.

_VERSION_WORD = re.compile(
    r"(?:version|ver\.?|\bv|release|build|firmware|\bfw|driver|patch|\boid|section|chapter)[\s:=-]{0,3}$"
)
_OWN_V6 = [ipaddress.IPv6Network(network) for network in ("::/8", "fc00::/7", "fe80::/10", "ff00::/8")]


def _is_subscriber_v4(value: str) -> bool:
    """Outside the ranges of RFC 1918, RFC 6598, loopback, link-local, multicast and reserved."""
    a, b, c, d = (int(part) for part in value.split("."))
    if max(a, b, c, d) > 255 or a in {0, 10, 127} or a >= 224:
        return False
    shared = (a == 100 and 64 <= b <= 127) or (a == 172 and 16 <= b <= 31)
    return not (shared or (a, b) in {(192, 168), (169, 254)})


def _is_subscriber_v6(value: str) -> bool:
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return not any(address in network for network in _OWN_V6)


def _judge_ipv4(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start] in {".", "-", "/"} or (
        text[end : end + 1] in {".", "-"} and text[end + 1 : end + 2].isdigit()
    ):
        return None
    if text[max(0, start - 2) : start] in {"==", ">=", "<=", "~=", "!="}:  # the version of a requirement
        return None
    if not _is_subscriber_v4(text[start:end]) or _VERSION_WORD.search(look_behind(text, start, 16)):
        return None
    return _found("IP_ADDRESS", start, end, 0.85)


_IPV6 = re.compile(r"[0-9A-Fa-f:]{6,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?")


def _judge_ipv6(text: str, start: int, end: int) -> Finding | None:
    if text[start - 1 : start] == ":" or text[start - 1 : start].isalnum():
        return None
    match = _IPV6.match(text, start)
    if match is None or look_ahead(text, match.end(), 1).isalnum():
        return None
    value = match[0].rstrip(":")
    if value.count(":") != 7 and "::" not in value:
        return None
    return _found("IP_ADDRESS", start, start + len(value), 0.85) if _is_subscriber_v6(value) else None


# Passport

_PASSPORT = re.compile(
    r"[\s:#.,()]{0,4}(?:(?:number|num|nummer|numero|no|nr|id|is|it|was|book|card|us|uk)\b[\s:#.=,]{0,4}){0,5}"
    r"([A-Z]{0,2}\d{6,9}[A-Z]?|[CFGHJKLMNPRTVWXYZ0-9]{9}|\d{2}[A-Z]{2}\d{5})(?![\w-])",
    re.I,
)


def _judge_passport(text: str, start: int, end: int) -> Finding | None:
    match = _PASSPORT.match(text, end)
    if match is None or sum(character.isdigit() for character in match[1]) < 4:
        return None
    return _found("PASSPORT_NUMBER", *match.span(1), 0.9)


# Street address

_SUFFIXES = (
    r"street|avenue|road|boulevard|drive|lane|court|terrace|parkway|highway|circle|crescent|place|close|square|trail|"
    r"st|ave|av|rd|blvd|dr|ln|ct|ter|pkwy|hwy|cir|cres|pl|way|row|mews"
)
_STREET = re.compile(
    r"(?<![\w.#$-])\d{1,5}[A-Za-z]?(?:-\d{1,4})?,? (?:[NSEW]{1,2}\.? |North |South |East |West )?"
    rf"((?:[A-Z0-9][A-Za-z0-9.'-]{{0,20}} ){{1,3}})((?i:{_SUFFIXES}))\b\.?"
    r"(?:,? (?i:apt|apartment|suite|ste|unit|flat|floor|fl|#)\.? ?#?[A-Za-z0-9-]{1,6}\b)?"
    r"(?:,? [A-Z][A-Za-z.' -]{2,24}, ?[A-Z]{2}(?: \d{5}(?:-\d{4})?)?)?"
)
_LOWER_STREET = re.compile(
    rf"(?<![\w.#$-])\d{{1,5}}[a-z]? (?:[nsew]\.? )?((?:[a-z0-9.'-]{{2,20}} ){{1,3}}?)((?:{_SUFFIXES}))\b\.?"
    r"(?:,? (?:apt|apartment|suite|unit|flat|#)\.? ?#?[a-z0-9-]{1,6}\b)?",
    re.I,
)
_LIVING = re.compile(
    r"\b(?:lives? (?:at|on)|living (?:at|on)|address|resid(?:es|ing)|home|moved to|mail(?:ed)? to|"
    r"ship(?:ped)? to|deliver(?:ed)? to|located at)\b"
)
_NO_STREET = re.compile(
    r"\b(?:google|shared|hard|flash|usb|ssd|gb|tb|mb|zip|thumb|network|one|nvme|disk|tape|test|data|supreme|district|"
    r"circuit|appeals|high|food|tennis|hour|hours|day|days|two|one|three|four|either|half|first|second|third|min|"
    r"minutes|people|users|the|a|percent|times|steps|of|in|for|and|or|is|are|was|to|from|with|per|each|by|on|at)\b",
    re.I,
)
_EUROPEAN = re.compile(
    r"(?:[A-Z][a-z]{2,24}(?:[- ][A-Z][a-z]{2,20})?(?:str(?:as{1,2}e|\.)|weg|platz|allee|gasse|damm|"
    r"ring|ufer|straat|laan|plein|gatan|vagen|gade|vej)"
    r"|(?:[A-Z][a-z]{2,20}[- ]){1,2}(?:Strasse|Strase|Str\.|Weg|Platz|Allee|Ring))"
    r" \d{1,4} ?[a-zA-Z]?\b(?:, \d{4,5} [A-Z][a-z]{2,24})?"
)
_ROMANCE = re.compile(
    r"(?:\d{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allee|quai|cours|route)"
    r" (?:(?:de|du|des|la|le|les|l'|d') ?){0,3}[A-Z][A-Za-z'-]{2,24}(?: [A-Z][A-Za-z'-]{2,24}){0,2}"
    r"|(?:Calle|Avenida|Avda\.?|Paseo|Plaza|Carrera|Via|Viale|Piazza|Corso|Rua|Travessa|C/) "
    r"(?:(?:de|del|della|la|el|los|las|da|do|dos|di) ){0,2}[A-Z][A-Za-z'-]{2,24}(?: (?:(?:de|del|di|"
    r"da) )?[A-Z][A-Za-z'-]{2,24}){0,2}"
    r",? (?:n\.? ?)?\d{1,4}(?:[A-Z]\b)?)(?:,? \d{4,5}(?:-\d{3})? [A-Z][a-z]{2,24})?"
)
_POST_BOX = re.compile(r"p\.? ?o\.? ?box \d{1,6}\b", re.I)


def _judge_street(text: str, start: int, end: int) -> Finding | None:
    window = max(start, end - 100)
    for number in _HOUSE_NUMBER.finditer(text, window, end):
        match = _STREET.match(text, number.start())
        if match is not None and match.end(2) >= end and not _NO_STREET.search(match[1]):
            if match[2] in _EVERYDAY_SUFFIXES and not _LIVING.search(look_behind(text, match.start(), 60)):
                continue
            return _street(match)
    if not _LIVING.search(look_behind(text, end, 90)):
        return None
    for number in _HOUSE_NUMBER.finditer(text, window, end):
        match = _LOWER_STREET.match(text, number.start())
        if match is not None and match.end(2) >= end and not _NO_STREET.search(match[1]):
            return _street(match, 0.7)
    return None


_HOUSE_NUMBER = re.compile(r"(?<![\w.#$-])\d")
_EVERYDAY_SUFFIXES = frozenset(
    {"drive", "court", "place", "close", "way", "row", "st", "dr", "ct", "square", "trail", "circle"}
)
"""In lower case these end a street's name only where something says that somebody lives there."""
_SPELLED_OUT = frozenset(
    {
        "street", "avenue", "road", "boulevard", "drive", "lane", "court", "terrace", "parkway", "highway", "circle",
        "crescent", "place", "close", "square", "trail", "way", "row", "mews",
    }
)  # fmt: skip


def _street(match: re.Match[str], confidence: float = 0.85) -> Finding:
    """Without the full stop of the sentence that a spelled-out suffix ends."""
    is_sentence_end = match[0].endswith(".") and match[2].lower() in _SPELLED_OUT
    return _found("STREET_ADDRESS", match.start(), match.end() - is_sentence_end, confidence)


def _judge_european_street(text: str, start: int, end: int) -> Finding | None:
    head = _STREET_WORDS.search(text, max(0, start - 48), start)
    match = _EUROPEAN.match(text, head.start()) if head is not None else None
    if match is None or match.end() < end:
        return None
    return _found("STREET_ADDRESS", *match.span(), 0.8)


_STREET_WORDS = re.compile(r"(?<![A-Za-z])(?:[A-Z][a-z]{1,24}[- ]){0,2}(?:[A-Z][a-z]{1,24})?$")


def _judge_romance_street(text: str, start: int, end: int) -> Finding | None:
    while start > 0 and text[start - 1].isdigit() and end - start < 40:
        start -= 1
    match = _ROMANCE.match(text, start)
    return _found("STREET_ADDRESS", *match.span(), 0.8) if match is not None else None


def _judge_post_box(text: str, start: int, end: int) -> Finding | None:
    match = _POST_BOX.match(text, start)
    return _found("STREET_ADDRESS", *match.span(), 0.8) if match else None


DETECTORS = [
    Detector(r"[A-Za-z0-9_+-]@[A-Za-z0-9]", _judge_email),
    Detector(r"(?:\(\d{3}\) ?|\b\d{3}[-. /])\d{3}[-. ]\d{4}\b", _judge_nanp),
    Detector(r"\+[1-9][\d ().-]{2}\d", _judge_international),
    Detector(rf"\b(?:{_PHONE_WORDS})\b", _judge_spoken_phone, caseless=True),
    Detector(r"\b\d{3}[- ]\d{2}[- ]\d{4}\b", _judge_ssn),
    Detector(rf"(?:{_SSN_WORDS})", _judge_spoken_ssn, caseless=True),
    Detector(r"\b\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}\b", _judge_card),
    Detector(r"\b3\d{3}[ -]\d{6}[ -]\d{4,5}\b", _judge_card),
    Detector(r"\b\d{13,19}\b", _judge_card),
    Detector(r"\b[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{3}", _judge_iban),
    Detector(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", _judge_ipv4),
    Detector(r"\b[0-9a-f]{1,4}:[0-9a-f]{0,4}:[0-9a-f]", _judge_ipv6, caseless=True),
    Detector(r"\b(?:passport|reisepass|passeport|pasaporte|passaporto|passaporte)\b", _judge_passport, caseless=True),
    Detector(
        rf"\d[a-z0-9]{{0,5}},? (?:[a-z0-9.'-]{{1,20}} ){{1,4}}(?:{_SUFFIXES})\b",
        _judge_street,
        caseless=True,
        by_end=True,
    ),
    Detector(
        r"(?:stras{1,2}e|str\.|weg|platz|allee|gasse|damm|ring|ufer|straat|laan|plein|gatan|vagen|gade|vej) \d",
        _judge_european_street,
        caseless=True,
    ),
    Detector(
        r"\d,? (?:bis |ter )?(?:rue|avenue|boulevard|place|chemin|impasse|allee|quai|cours|route) (?:de|"
        r"du|des|la|le|l'|d'|[A-Z])",
        _judge_romance_street,
    ),
    Detector(
        r"\b(?:Calle|Avenida|Avda|Paseo|Plaza|Carrera|Via|Viale|Piazza|Corso|Rua|Travessa|C/)\.? [A-Zdl]",
        _judge_romance_street,
    ),
    Detector(r"\bp\.? ?o\.? ?box \d", _judge_post_box, caseless=True),
]
