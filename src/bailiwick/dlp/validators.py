"""Checks behind the patterns: does what looks like a number of some kind hold as one?"""

from __future__ import annotations

import datetime
import math
import re
import zlib
from collections import Counter

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE62_VALUE = {character: value for value, character in enumerate(_BASE62)}

_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26,
    "UA": 29, "VG": 24, "XK": 20,
}  # fmt: skip

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar enero janvier gennaio janeiro",
            "feb february februar febrero fevrier febbraio fevereiro",
            "mar march marz maerz marzo mars marco", "apr april abril avril aprile", "may mai mayo maggio maio",
            "jun june juni junio juin giugno junho", "jul july juli julio juillet luglio julho",
            "aug august agosto aout", "sep sept september septiembre septembre settembre setembro",
            "oct october okt oktober octubre octobre ottobre outubro", "nov november noviembre novembre novembro",
            "dec december dez dezember diciembre decembre dicembre dezembro",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip

MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
DATE = (
    r"(?:(?:19|20)\d\d[-/.](?:1[0-2]|0?[1-9])[-/.](?:3[01]|[12]\d|0?[1-9])(?!\d)"
    r"|(?:3[01]|[12]\d|0?[1-9])[-/. ](?:3[01]|[12]\d|0?[1-9])[-/. ](?:(?:19|20)\d\d|\d\d)(?!\d)"
    rf"|{MONTH} {{1,2}}\d{{1,2}}(?:st|nd|rd|th)?,? {{1,2}}(?:19|20)\d\d(?!\d)"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?[ -](?:of |de )?{MONTH},?[ -](?:de |del )?(?:(?:19|20)\d\d|\d\d)(?!\d)"
    r"|(?:19|20)\d\d(?:1[0-2]|0[1-9])(?:3[01]|[12]\d|0[1-9])(?!\d))"
)
"""A calendar date in the spellings of several countries, for use in a case-insensitive expression on a shadow."""

_DATE_PARTS = re.compile(r"\d+|[a-z]+")


def is_birth_date(value: str, *, today: datetime.date) -> bool:
    """Whether a `DATE` match is a real day from 1900 until today, read day first or month first."""
    parts = [part for part in _DATE_PARTS.findall(value.lower()) if part.isdigit() or part in _MONTHS]
    if len(parts) == 1:  # 19800131
        parts = [parts[0][:4], parts[0][4:6], parts[0][6:]]
    if len(parts) != 3:
        return False
    named = [part for part in parts if part in _MONTHS]
    if named:
        numbers = [int(part) for part in parts if part not in _MONTHS]
        orders = [(numbers[1], _MONTHS[named[0]], numbers[0])]
    else:
        a, b, c = (int(part) for part in parts)
        orders = [(a, b, c)] if a > 31 else [(c, a, b), (c, b, a)]
    for year, month, day in orders:
        full_year = year if year > 99 else (1900 + year if year > today.year % 100 else 2000 + year)
        try:
            date = datetime.date(full_year, month, day)
        except ValueError:
            continue
        if datetime.date(1900, 1, 1) <= date <= today:
            return True
    return False


def is_luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit)
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """A number of a known issuer's range and length whose Luhn digit holds."""
    length, first2, first4 = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        fits = length in {13, 16, 19}
    elif 51 <= first2 <= 55 or 2221 <= first4 <= 2720:
        fits = length == 16
    elif first2 in {34, 37}:
        fits = length == 15
    elif first2 in {36, 38, 39} or 3000 <= first4 <= 3059:
        fits = length == 14
    elif first2 in {35, 60, 62, 64, 65}:
        fits = 16 <= length <= 19
    else:
        fits = False
    return fits and len(set(digits)) > 1 and is_luhn(digits)


def is_ssn(digits: str) -> bool:
    """Nine digits the Social Security Administration could have issued (area, group and serial rules)."""
    return digits[:3] not in {"000", "666"} and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def iban_length(country: str) -> int:
    """Characters of an IBAN of this country, 0 if it has none (ISO 13616 registry)."""
    return _IBAN_LENGTHS.get(country, 0)


def is_iban(compact: str) -> bool:
    """Length by country and remainder 1 modulo 97 (ISO 13616)."""
    if len(compact) != iban_length(compact[:2]):
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1


def is_nhs_number(digits: str) -> bool:
    """Ten digits whose modulus-11 check digit holds (NHS data dictionary)."""
    rest = 11 - sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    return len(digits) == 10 and rest != 10 and rest % 11 == int(digits[9])


def has_base62_crc32(body: str) -> bool:
    """Whether the last six characters are the CRC32 of those before in base 62, as in GitHub's and npm's tokens."""
    value = 0
    for character in body[-6:]:
        value = value * 62 + _BASE62_VALUE.get(character, 0)
    return value == zlib.crc32(body[:-6].encode("ascii", "replace"))


def entropy_bits(value: str) -> float:
    """Shannon entropy for one character, in bits."""
    length = len(value)
    return -sum(count / length * math.log2(count / length) for count in Counter(value).values())
