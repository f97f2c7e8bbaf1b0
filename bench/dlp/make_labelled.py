"""Fills the forms under `forms/` with made-up values and writes the labelled set that `bailiwick bench dlp` reads.

Run it from the repository: `python bench/dlp/make_labelled.py`. The outcome is the same each time. A form stands wholly
in one split, chosen by its hash, so that the held-out texts have sentence forms that tuning has not seen. Pools hold
names, illnesses and drugs beside those of the detectors' word lists, as real texts do.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import random
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path

from bailiwick.dlp.validators import is_iban, is_luhn

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "src/bailiwick/dlp/data/labelled.jsonl"
FILLINGS = 2

_SLOT = re.compile(r"\{([A-Z_]+)(?::([a-z0-9]+))?\}|\[\[([A-Z_]+)=([^\]]+)\]\]")
_DIGITS = re.compile(r"\{(\d+)\}")

NAMES = {
    "": "James Whitfield|Maria Gonzalez|Robert Chen|Linda Okafor|Susan Abernathy|Kevin O'Brien|Grace Holloway"
    "|Mark Jensen|Will Peterson|Angela Whitaker|Thomas McAllister|Deborah Kim|Carlos Mendoza|Fatima Rahman"
    "|Erik Lindqvist|Xochitl Arriaga|Tadhg Costigan|Saanvi Kulkarni|Dwayne Broussard|Hope Martinez"
    "|Rose Delacroix|Jack Thornton"
    "|April Winslow|Samuel J. Beauregard|Mary-Anne Fitzgerald|Nia Bankole|Zbigniew Nowak|Priya Raghunathan"
    "|Benjamin Osei|Charlotte Dubois|Amelia Stroud|Peter van den Berg|Jordan Reyes|Paige Sullivan|Leila Haddad",
    "de": "Klaus Zimmermann|Heike Schäfer|Jürgen Müller|Anke Vogelsang|Matthias Krause|Ursula Weiß",
    "es": "Lucía Fernández|José García Morales|Beatriz Salazar|Joaquín Ibarra|Ximena Villarreal",
    "fr": "François Lefebvre|Élodie Marchand|Benoît Girard|Aurélie Fontaine|Pascal Thibodeau",
    "it": "Giovanni Esposito|Lorenzo Ricci|Matteo Bellandi|Stefano Moretti",
    "pt": "Beatriz Carvalho|Luana Ferreira|Rafaela Quintela",
    "in": "Rajesh Iyer|Anjali Deshpande|Vikram Reddy|Sunita Agarwal",
    "cjk": "Takashi Yamamoto|Yuki Nakamura|Kenji Morimoto",
    "ng": "Chinedu Okonkwo|Ngozi Adeyemi|Adaeze Uzoma",
    "lower": "john smith|maria lopez|kevin nguyen|angela davis|priya patel|thomas wright",
    "upper": "JAMES WHITFIELD|MARIA GONZALEZ|ROBERT CHEN|SUSAN MILLER|WILLIAM HARGREAVES",
    "reversed": "Gonzalez, Maria|Whitaker, James T.|Okafor, Linda|Petrov, Ivan|Hargreaves, Susan",
    "family": "Whitfield|Gonzalez|Okafor|Nguyen|Castellano|Brown|Achterberg|O'Connor|Young|Sharma",
    "single": "Whitfield|Gonzalez|Nguyen",
}
DIAGNOSES = (
    "type 2 diabetes|hypertension|COPD|asthma|major depressive disorder|bipolar disorder|"
    "breast cancer|atrial fibrillation"
    "|chronic kidney disease|rheumatoid arthritis|Crohn's disease|hypothyroidism|epilepsy|PTSD|HIV|migraine|pneumonia"
    "|schizophrenia|multiple sclerosis|osteoporosis|sleep apnea|gout|hepatitis C|psoriasis|endometriosis|sepsis"
    "|Kawasaki disease|hidradenitis suppurativa|diverticulitis|Ehlers-Danlos syndrome|tardive dyskinesia|anemia"
)
MEDICATIONS = (
    "metformin|lisinopril|atorvastatin|sertraline|albuterol|insulin glargine|warfarin|gabapentin|Eliquis|Humira|Ozempic"
    "|prednisone|levothyroxine|quetiapine|lamotrigine|amoxicillin|hydroxychloroquine|Xarelto|methotrexate|buprenorphine"
    "|Suboxone|omeprazole|carvedilol|tirzepatide|upadacitinib|risankizumab|lumateperone|suvorexant|cenobamate|Lexapro"
)
STREETS = {
    "": "12 Oak Street|4471 Maple Avenue, Apt 3B|900 N. Lincoln Blvd|77 Harbor View Road"
    "|1600 Cedar Lane, Dayton, OH 45402|5 Elm Court|238 West 14th Street|19B Queensway Terrace"
    "|3025 Riverbend Dr|P.O. Box 4410",
    "de": "Hauptstraße 12|Goethestraße 4a, 80336 München|Lindenweg 7|Rosenplatz 21",
    "fr": "14 rue de la République|3 avenue Victor Hugo|27 bis rue des Lilas, 69003 Lyon",
    "es": "Calle Mayor 5|Avenida de la Constitución 18|Calle del Olmo, 22",
    "lower": "12 oak street|88 cedar avenue|1407 sunset blvd|310 pine lane",
}
EMAILS = (
    "j.whitfield@example.com|maria.gonzalez@mail.example.org|rchen88@example.net|linda_okafor@clinic.example.com"
    "|kevin.obrien+work@example.co.uk|s-abernathy@example.de|a.w@example.io|deb.kim@example.edu"
)
PASSWORDS = "Summer2024!|hunter2spring|tr0ub4dor&3|P@ssw0rd-77|kX9$mmT2q|blue.Horse.42"


def _digits(random_source: random.Random, count: int) -> str:
    return str(random_source.randint(1, 9)) + "".join(random_source.choice(string.digits) for _ in range(count - 1))


def _from(alphabet: str, random_source: random.Random, count: int) -> str:
    return "".join(random_source.choice(alphabet) for _ in range(count))


_ALNUM = string.ascii_letters + string.digits
_HEX = string.digits + "abcdef"


def _ssn(source: random.Random, variant: str) -> str:
    parts = f"{source.randint(100, 660):03}", f"{source.randint(1, 99):02}", f"{source.randint(1, 9999):04}"
    return ("" if variant == "plain" else "-").join(parts)


_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MESES = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
]


def _birth_date(source: random.Random, variant: str) -> str:
    day = datetime.date(1930, 1, 1) + datetime.timedelta(days=source.randint(0, 30_000))
    if variant == "long":
        return source.choice(
            [f"{_MONTHS[day.month - 1]} {day.day}, {day.year}", f"{day.day} {_MONTHS[day.month - 1]} {day.year}"]
        )
    if variant == "es":
        return f"{day.day} de {_MESES[day.month - 1]} de {day.year}"
    forms = {"iso": "%Y-%m-%d", "de": "%d.%m.%Y", "eu": "%d/%m/%Y"}
    return day.strftime(forms.get(variant) or source.choice(["%m/%d/%Y", "%m/%d/%y", "%m-%d-%Y"]))


def _record_number(source: random.Random, variant: str) -> str:
    if variant == "nhs":
        while True:
            nine = _digits(source, 9)
            rest = 11 - sum(int(digit) * weight for digit, weight in zip(nine, range(10, 1, -1), strict=True)) % 11
            if rest != 10:
                return f"{nine[:3]} {nine[3:6]} {nine[6:]}{rest % 11}"
    return source.choice(
        [_digits(source, 7), "00" + _digits(source, 6), f"MR{_digits(source, 7)}", f"A-{_digits(source, 6)}"]
    )


def _plan_id(source: random.Random, variant: str) -> str:
    if variant == "mbi":
        letters = "ACDEFGHJKMNPQRTUVWXY"
        pick = source.choice
        return (
            f"{source.randint(1, 9)}{pick(letters)}{pick(letters)}{source.randint(0, 9)}-{pick(letters)}{pick(letters)}"
            f"{source.randint(0, 9)}-{pick(letters)}{pick(letters)}{source.randint(10, 99)}"
        )
    return source.choice(
        [_from(string.ascii_uppercase, source, 3) + _digits(source, 9), "W" + _digits(source, 9), _digits(source, 10)]
    )


def _phone(source: random.Random, variant: str) -> str:
    last = f"{source.randint(100, 199):04}"
    if variant == "uk":
        return f"020 7946 {source.randint(100, 999):04}"
    if variant == "de":
        return f"0{source.choice(['30', '89', '171'])}/{_digits(source, 7)}"
    if variant == "intl":
        return source.choice(
            [
                f"+44 7700 900{source.randint(100, 999)}",
                f"+91 98{_digits(source, 3)} {_digits(source, 5)}",
                f"+33 6 {' '.join(_digits(source, 2) for _ in range(4))}",
            ]
        )
    area = source.choice(["212", "415", "312", "617", "503"])
    return source.choice([f"({area}) 555-{last}", f"{area}-555-{last}", f"{area}.555.{last}", f"+1 {area} 555 {last}"])


def _card(source: random.Random, variant: str) -> str:
    body = source.choice(["4", "51", "55"])
    body += _from(string.digits, source, 15 - len(body))
    number = next(body + digit for digit in string.digits if is_luhn(body + digit))
    return source.choice([number, " ".join(number[i : i + 4] for i in range(0, 16, 4))])


def _iban(source: random.Random, variant: str) -> str:
    account = _digits(source, 18)
    compact = next(f"DE{check:02}{account}" for check in range(2, 99) if is_iban(f"DE{check:02}{account}"))
    return source.choice([compact, " ".join(compact[i : i + 4] for i in range(0, 22, 4))])


def _address(source: random.Random, variant: str) -> str:
    if variant == "v6":
        return f"2001:db8:{source.randint(4096, 65535):x}::{source.randint(1, 65535):x}"
    return source.choice(
        [
            f"203.0.113.{source.randint(1, 254)}",
            f"198.51.100.{source.randint(1, 254)}",
            f"81.2.69.{source.randint(1, 254)}",
        ]
    )


def _web_token(source: random.Random, variant: str) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': _digits(source, 9)})}.{_from(_ALNUM, source, 43)}"


def _icd(source: random.Random) -> str:
    return source.choice(["E11.9", "I10.0", "J45.909", "F32.9", "M54.5", "C50.911"])


def _chosen(pool: str) -> Callable[[random.Random, str], str]:
    return lambda source, variant: source.choice(pool.split("|"))


def _after(prefix: str, alphabet: str, count: int) -> Callable[[random.Random, str], str]:
    return lambda source, variant: prefix + _from(alphabet, source, count)


MAKERS: dict[str, Callable[[random.Random, str], str]] = {
    "PERSON_NAME": lambda source, variant: source.choice(NAMES[variant].split("|")),
    "DIAGNOSIS": lambda source, variant: _icd(source) if variant else source.choice(DIAGNOSES.split("|")),
    "MEDICATION": _chosen(MEDICATIONS),
    "STREET_ADDRESS": lambda source, variant: source.choice(STREETS[variant].split("|")),
    "EMAIL_ADDRESS": _chosen(EMAILS),
    "SSN": _ssn,
    "DATE_OF_BIRTH": _birth_date,
    "MEDICAL_RECORD_NUMBER": _record_number,
    "HEALTH_PLAN_ID": _plan_id,
    "PHONE_NUMBER": _phone,
    "CREDIT_CARD": _card,
    "IBAN": _iban,
    "IP_ADDRESS": _address,
    "PASSPORT_NUMBER": lambda source, variant: source.choice([_digits(source, 9), "C" + _digits(source, 8)]),
    "PASSWORD": _chosen(PASSWORDS),
    "URL_CREDENTIALS": _after("", _ALNUM, 14),
    "API_KEY": _after("k1", _ALNUM, 30),
    "JSON_WEB_TOKEN": _web_token,
    "PRIVATE_KEY": lambda source, variant: (
        "-----BEGIN RSA PRIVATE KEY-----\n"
        + "\n".join(_from(_ALNUM + "+/", source, 64) for _ in range(6))
        + "\n-----END RSA PRIVATE KEY-----"
    ),
    "GITHUB_TOKEN": _after("ghp_", _ALNUM, 36),
    "GITLAB_TOKEN": _after("glpat-", _ALNUM, 20),
    "AWS_ACCESS_KEY_ID": _after("AKIA", string.ascii_uppercase + "234567", 16),
    "AWS_SECRET_ACCESS_KEY": _after("", _ALNUM + "+/", 40),
    "SLACK_BOT_TOKEN": lambda source, variant: (
        f"xoxb-{_digits(source, 12)}-{_digits(source, 12)}-{_from(_ALNUM, source, 24)}"
    ),
    "ANTHROPIC_API_KEY": _after("sk-ant-api03-", _ALNUM + "-_", 90),
    "OPENAI_API_KEY": _after("sk-", _ALNUM, 48),
    "STRIPE_SECRET_KEY": _after("sk_live_", _ALNUM, 24),
    "GOOGLE_API_KEY": _after("AIza", _ALNUM + "-_", 35),
    "NPM_TOKEN": _after("npm_", _ALNUM, 36),
    "SENDGRID_API_KEY": lambda source, variant: f"SG.{_from(_ALNUM, source, 22)}.{_from(_ALNUM, source, 43)}",
    "VAULT_TOKEN": _after("hvs.", _ALNUM, 32),
    "HUGGING_FACE_TOKEN": _after("hf_", string.ascii_letters, 34),
    "PYPI_TOKEN": _after("pypi-AgEIcHlwaS5vcmc", _ALNUM, 60),
    "DATABRICKS_TOKEN": _after("dapi", _HEX, 32),
    "DIGITALOCEAN_TOKEN": _after("dop_v1_", _HEX, 64),
    "TELEGRAM_BOT_TOKEN": lambda source, variant: f"{_digits(source, 10)}:AA{_from(_ALNUM, source, 33)}",
}
SECRET_KINDS = frozenset(list(MAKERS)[list(MAKERS).index("PASSWORD") :])


def split_of(form: str) -> str:
    """`tune` or `held_out`, by the form's hash: half and half."""
    plain = re.sub(r"\[\[[A-Z_]+=([^\]]+)\]\]", r"\1", form)  # a label put right does not move the text
    return "tune" if hashlib.sha256(plain.encode()).digest()[0] % 2 else "held_out"


def fill(form: str, source: random.Random) -> tuple[str, list[dict[str, object]]]:
    """The form with its slots filled, and a label for each."""
    text, labels, position = "", [], 0
    for slot in _SLOT.finditer(form):
        text += form[position : slot.start()]
        kind = slot[1] or slot[3]
        value = slot[4] or MAKERS[kind](source, slot[2] or "")
        labels.append({"type": kind, "offset": len(text), "length": len(value)})
        text += value
        position = slot.end()
    return text + form[position:], labels


def line_of(text: str, labels: list[dict[str, object]], split: str) -> str:
    """One line of JSON. A secret's first character is escaped, so that scanners of repositories see no credential."""
    line = json.dumps({"text": text, "labels": labels, "split": split, "clean": not labels}, ensure_ascii=False)
    for label in labels:
        if label["type"] in SECRET_KINDS:
            offset, length = int(str(label["offset"])), int(str(label["length"]))
            value = json.dumps(text[offset : offset + length], ensure_ascii=False)[1:-1]
            line = line.replace(value, f"\\u{ord(value[0]):04x}" + value[1:], 1)
    return line


def main() -> None:
    """Writes the set."""
    source = random.Random(20260101)
    lines = []
    for form in _forms("sensitive.txt"):
        lines += [line_of(*fill(form, source), split_of(form)) for _ in range(FILLINGS)]
    for form in _forms("clean.txt"):
        text = _DIGITS.sub(lambda slot: _digits(source, int(slot[1])), form)
        lines.append(line_of(text, [], split_of(form)))
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(lines)} texts in {TARGET}\n")


def _forms(name: str) -> list[str]:
    lines = (HERE / "forms" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    main()
