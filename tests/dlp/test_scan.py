"""What a scan finds, and what it leaves alone."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import zlib

import pytest

from bailiwick.dlp import DlpUnavailable, Finding, engine, is_blocking_phi, scan
from bailiwick.dlp.shadow import shadow_of
from bailiwick.dlp.validators import is_card_number, is_iban, is_nhs_number, is_ssn


def values(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in scan(text):
        found.setdefault(finding.type, []).append(text[finding.offset : finding.end])
    return found


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("My SSN is 123-45-6789.", "SSN", "123-45-6789"),
        ("call about 219-09-9999 today", "SSN", "219-09-9999"),
        ("social security number 219099999", "SSN", "219099999"),
        ("Patient MRN: 00482913 was seen", "MEDICAL_RECORD_NUMBER", "00482913"),
        ("medical record number A-123456", "MEDICAL_RECORD_NUMBER", "A-123456"),
        ("NHS number 943 476 5919", "MEDICAL_RECORD_NUMBER", "943 476 5919"),
        ("Health plan ID: HPN-123456789", "HEALTH_PLAN_ID", "HPN-123456789"),
        ("Medicare card 1EG4-TE5-MK73", "HEALTH_PLAN_ID", "1EG4-TE5-MK73"),
        ("subscriber id XYZ123456789 with BCBS", "HEALTH_PLAN_ID", "XYZ123456789"),
        ("DOB: 03/04/1979", "DATE_OF_BIRTH", "03/04/1979"),
        ("date of birth is March 4, 1979", "DATE_OF_BIRTH", "March 4, 1979"),
        ("admitted 01/02/1980 (DOB) yesterday", "DATE_OF_BIRTH", "01/02/1980"),
        ("geboren am 04.03.1979 in Ulm", "DATE_OF_BIRTH", "04.03.1979"),
        ("nacida el 4 de marzo de 1979", "DATE_OF_BIRTH", "4 de marzo de 1979"),
        ("Sarah Connor has anxiety", "DIAGNOSIS", "anxiety"),
        ("policy #: UHC-88123456, health plan", "HEALTH_PLAN_ID", "UHC-88123456"),
        ("suffers from type 2 diabetes", "DIAGNOSIS", "type 2 diabetes"),
        ("coded as ICD-10 E11.9 today", "DIAGNOSIS", "E11.9"),
        ("prescribed atorvastatin 40 mg", "MEDICATION", "atorvastatin"),
        ("started on zanubrutinib", "MEDICATION", "zanubrutinib"),
        ("call 415-555-0199 now", "PHONE_NUMBER", "415-555-0199"),
        ("reach me at (415) 555-0199", "PHONE_NUMBER", "(415) 555-0199"),
        ("mobile: +44 7700 900123", "PHONE_NUMBER", "+44 7700 900123"),
        ("Tel. 020 7946 0958", "PHONE_NUMBER", "020 7946 0958"),
        ("write to j.smith+x@mail.example.co.uk,", "EMAIL_ADDRESS", "j.smith+x@mail.example.co.uk"),
        ("lives at 12 Oak Street, Springfield, IL 62704", "STREET_ADDRESS", "12 Oak Street, Springfield, IL 62704"),
        ("wohnt in der Hauptstraße 12", "STREET_ADDRESS", "Hauptstraße 12"),
        ("habite 14 rue de la Paix", "STREET_ADDRESS", "14 rue de la Paix"),
        ("paid with 4111 1111 1111 1111", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("to DE89 3704 0044 0532 0130 00 please", "IBAN", "DE89 3704 0044 0532 0130 00"),
        ("passport no. C01234567", "PASSPORT_NUMBER", "C01234567"),
        ("from 203.0.113.9 at night", "IP_ADDRESS", "203.0.113.9"),
        ("from 2001:db8:12::9 at night", "IP_ADDRESS", "2001:db8:12::9"),
        ("signed by José García yesterday", "PERSON_NAME", "José García"),
        ("Dr. Okonkwo is on call", "PERSON_NAME", "Okonkwo"),
        ("Smith, John was here", "PERSON_NAME", "Smith, John"),
        ("patient john smith called", "PERSON_NAME", "john smith"),
    ],
)
def test_finds(text: str, kind: str, value: str) -> None:
    assert value in values(text).get(kind, [])


@pytest.mark.parametrize(
    "text",
    [
        "Router at floor 3 is offline since 09:00 — ticket ITSD-4421",
        "Please mark ticket 482913377 as done; Will Call is open, grace period ends in May.",
        "Order 123-45-6789 shipped on 04/05/2024.",
        "The company was born on April 1, 1976.",
        "Meeting on 12/05/2025, version 10.4.2.1, build 20240115, host 192.168.1.20",
        "git clone git@github.com:acme/widgets.git && git checkout 3f2a9c1d8e7b6a5f4c3d2e1f0a9b8c7d6e5f4a3b",
        "4111 1111 1111 1112 fails the checksum; 1700000000000 is a timestamp",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx and api_key: ${API_KEY} are placeholders",
        "Copy 500 GB to the network drive, then 3 Google Drive folders",
        "MRN field accepts 10 digits; DOB column must be ISO formatted",
        "",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert scan(text) == []


_TAIL = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6" * 3
_HEX = "0a1b2c3d4e5f6978" * 8
_UPPER = "A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6Q7R8S9T0U1V2W3X4Y5Z6" * 3

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA" + _UPPER[:16],
    "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY=" + _TAIL[:40],
    "GOOGLE_API_KEY": "AIza" + _TAIL[:35],
    "GOOGLE_OAUTH_CLIENT_SECRET": "GOCSPX-" + _TAIL[:28],
    "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29." + _TAIL[:60],
    "AZURE_STORAGE_KEY": "AccountKey=" + _TAIL[:86] + "==",
    "AZURE_SAS_TOKEN": "?sv=2022&sig=" + _TAIL[:44],
    "AZURE_CLIENT_SECRET": "abc8Q~" + _TAIL[:34],
    "ALIBABA_ACCESS_KEY_ID": "LTAI" + _TAIL[:20],
    "DIGITALOCEAN_TOKEN": "dop_v1_" + _HEX[:64],
    "HEROKU_API_KEY": "HRKU-" + _TAIL[:36],
    "NETLIFY_TOKEN": "nfp_" + _TAIL[:40],
    "GITHUB_TOKEN": "ghs_" + _TAIL[:36],
    "GITHUB_FINE_GRAINED_TOKEN": "github_pat_" + _TAIL[:82],
    "GITLAB_TOKEN": "glpat-" + _TAIL[:20],
    "ATLASSIAN_API_TOKEN": "ATATT3" + _TAIL[:100],
    "BITBUCKET_APP_PASSWORD": "ATBB" + _TAIL[:32],
    "NPM_TOKEN": "npm_" + _TAIL[:36],
    "PYPI_TOKEN": "pypi-" + _TAIL[:80],
    "RUBYGEMS_TOKEN": "rubygems_" + _HEX[:48],
    "CRATES_IO_TOKEN": "cio" + _TAIL[:32],
    "NUGET_API_KEY": "oy2" + _TAIL[:43].lower(),
    "DOCKER_HUB_TOKEN": "dckr_pat_" + _TAIL[:27],
    "ANTHROPIC_API_KEY": "sk-ant-api03-" + _TAIL[:90],
    "OPENAI_API_KEY": "sk-proj-" + _TAIL[:48],
    "OPENROUTER_API_KEY": "sk-or-v1-" + _HEX[:64],
    "HUGGING_FACE_TOKEN": "hf_" + _TAIL[:34],
    "REPLICATE_TOKEN": "r8_" + _TAIL[:37],
    "GROQ_API_KEY": "gsk_" + _TAIL[:52],
    "XAI_API_KEY": "xai-" + _TAIL[:80],
    "PERPLEXITY_API_KEY": "pplx-" + _TAIL[:48],
    "SLACK_BOT_TOKEN": "xoxb-" + "1234567890-0987654321-" + _TAIL[:24],
    "SLACK_USER_TOKEN": "xoxp-" + "1234567890-0987654321-" + _TAIL[:32],
    "SLACK_APP_TOKEN": "xapp-" + "1-A01-" + _TAIL[:40],
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/" + "services/T0A1/B0C2/" + _TAIL[:24],
    "DISCORD_WEBHOOK_URL": "https://discord.com/" + "api/webhooks/1234567890/" + _TAIL[:60],
    "DISCORD_BOT_TOKEN": "M" + _TAIL[:24] + "." + _TAIL[:6] + "." + _TAIL[:30],
    "TELEGRAM_BOT_TOKEN": "1234567890:AA" + _TAIL[:33],
    "TWILIO_API_KEY": "SK" + _HEX[:32],
    "SENDGRID_API_KEY": "SG." + _TAIL[:22] + "." + _TAIL[:43],
    "MAILGUN_API_KEY": "key-" + _HEX[:32],
    "MAILCHIMP_API_KEY": _HEX[:32] + "-us12",
    "BREVO_API_KEY": "xkeysib-" + _HEX[:64],
    "STRIPE_SECRET_KEY": "sk_live_" + _TAIL[:24],
    "STRIPE_WEBHOOK_SECRET": "whsec_" + _TAIL[:32],
    "SQUARE_TOKEN": "sq0atp-" + _TAIL[:22],
    "PAYPAL_BRAINTREE_TOKEN": "access_token$production$" + _HEX[:16] + "$" + _HEX[:32],
    "SHOPIFY_TOKEN": "shpat_" + _HEX[:32],
    "PLAID_ACCESS_TOKEN": "access-production-" + "12345678-90ab-cdef-1234-567890abcdef",
    "VAULT_TOKEN": "hvs." + _TAIL[:32],
    "TERRAFORM_CLOUD_TOKEN": _TAIL[:14] + ".atlasv1." + _TAIL[:64],
    "PULUMI_TOKEN": "pul-" + _HEX[:40],
    "DATABRICKS_TOKEN": "dapi" + _HEX[:32],
    "DOPPLER_TOKEN": "dp.pt." + _TAIL[:43],
    "PLANETSCALE_TOKEN": "pscale_tkn_" + _TAIL[:43],
    "SUPABASE_TOKEN": "sbp_" + _HEX[:40],
    "GRAFANA_TOKEN": "glsa_" + _TAIL[:32] + "_" + _HEX[:8],
    "GRAFANA_CLOUD_TOKEN": "glc_" + _TAIL[:60],
    "NEW_RELIC_KEY": "NRAK-" + _UPPER[:27],
    "DYNATRACE_TOKEN": "dt0c01." + _UPPER[:24] + "." + _UPPER[:64],
    "SENTRY_TOKEN": "sntrys_" + _TAIL[:60],
    "TAILSCALE_KEY": "tskey-auth-" + _TAIL[:30],
    "LINEAR_API_KEY": "lin_api_" + _TAIL[:40],
    "NOTION_TOKEN": "ntn_" + _TAIL[:46],
    "POSTMAN_API_KEY": "PMAK-" + _HEX[:24] + "-" + _HEX[:34],
    "AIRTABLE_TOKEN": "pat" + _TAIL[:14] + "." + _HEX[:64],
    "FIGMA_TOKEN": "figd_" + _TAIL[:40],
    "OKTA_API_TOKEN": "SSWS " + _TAIL[:42],
    "AGE_SECRET_KEY": "AGE-SECRET-KEY-1" + _UPPER[:58],
    "PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\n" + _TAIL + "\n-----END PRIVATE KEY-----",
    "BEARER_TOKEN": "Authorization: Bearer " + _TAIL[:40],
    "BASIC_AUTHORIZATION": "Authorization: Basic " + base64.b64encode(b"user:some pass").decode(),
    "URL_CREDENTIALS": "postgres://app:s3cretpw@db.example.net/x",
    "PASSWORD": "password: Tr0ub4dor&3",
    "API_KEY": "api_key=" + _TAIL[:32],
}


@pytest.mark.parametrize("kind", SECRETS)
def test_finds_secret(kind: str) -> None:
    text = f"on the runner {SECRETS[kind]} was printed"
    assert kind in values(text), values(text)


def test_web_token_is_found_whole() -> None:
    part = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).decode().rstrip("=")
    token = f"{part}.{part}.{_TAIL[:43]}"
    assert values(f"cookie={token};")["JSON_WEB_TOKEN"] == [token]


def test_checksum_of_a_github_token_raises_the_confidence() -> None:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    body, rest, checksum = _TAIL[:30], zlib.crc32(_TAIL[:30].encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        checksum = alphabet[digit] + checksum
    (sound,) = scan("ghp_" + body + checksum)
    (broken,) = scan("ghp_" + body + "000000")
    assert sound.type == broken.type == "GITHUB_TOKEN"
    assert sound.confidence > broken.confidence


def test_findings_are_sorted_and_do_not_overlap_and_never_hold_the_value() -> None:
    text = "Patient John Smith, DOB 03/04/1979, SSN 123-45-6789, on metformin; j.smith@example.com, 415-555-0199"
    findings = scan(text)
    assert [finding.type for finding in findings] == [
        "PERSON_NAME",
        "DATE_OF_BIRTH",
        "SSN",
        "MEDICATION",
        "EMAIL_ADDRESS",
        "PHONE_NUMBER",
    ]
    assert all(a.end <= b.offset for a, b in itertools.pairwise(findings))
    assert Finding.__struct_fields__ == ("type", "category", "offset", "length", "confidence")
    assert is_blocking_phi(findings)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("😀😀 ssn 123-45-6789", "123-45-6789"),
        ("SSN １２３－４５－６７８９", "１２３－４５－６７８９"),  # full-width digits
        ("SSN 123‑45‑6789", "123‑45‑6789"),  # non-breaking hyphens
        ("SSN 123\u200b-45-\u200b6789 x", "123\u200b-45-\u200b6789"),  # zero-width spaces
        ("\u202eSSN 123-45-6789\u202c", "123-45-6789"),  # direction marks
        ("مريض SSN 123-45-6789", "123-45-6789"),
        ("\ud800 SSN 123-45-6789", "123-45-6789"),  # a lone surrogate
        ("\x00\x00SSN\x00123-45-6789\x00", "123-45-6789"),
    ],
)
def test_offsets_count_code_points_of_the_text_as_sent(text: str, value: str) -> None:
    assert values(text)["SSN"] == [value]


def test_combining_accents_belong_to_the_name() -> None:
    text = "patient Jose\u0301 Garci\u0301a\u0301 came"
    assert values(text)["PERSON_NAME"] == ["Jose\u0301 Garci\u0301a\u0301"]


def test_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise MemoryError("no scratch space")

    monkeypatch.setattr(engine, "_ready_engine", broken)
    with pytest.raises(DlpUnavailable) as caught:
        scan("anything")
    assert caught.value.status == 503


def test_threads_scan_at_the_same_time() -> None:
    text = "Patient John Smith, DOB 03/04/1979, SSN 123-45-6789 " * 20
    expected = scan(text)
    outcomes: list[bool] = []

    def work() -> None:
        outcomes.extend(scan(text) == expected for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 80


@pytest.mark.parametrize(
    "unit",
    ["@", "a@b.", "1", "1 ", "12-", "1.2.3.", "a", "Aa ", "Mr ", "John ", "-----BEGIN RSA PRIVATE KEY-----", "dob ",
     "password=", "token=", "a://b:", "1 A St ", "4111 ", ":", "eyJaaaaaaaa.", "\x00", "e\u0301", "\u200b", "\ud800"],
)  # fmt: skip
def test_hostile_text_keeps_the_engine_to_few_matches(unit: str) -> None:
    """Work is bounded by the engine's matches, as each is judged on a bounded window: less than one a character."""
    text = (unit * 32_000)[:32_000]
    assert len(engine.matches_in(shadow_of(text)[0])) <= len(text)
    scan(text)


def test_validators_know_published_examples() -> None:
    assert is_card_number("4111111111111111")
    assert is_card_number("378282246310005")
    assert not is_card_number("4111111111111112")
    assert is_iban("GB29NWBK60161331926819")
    assert not is_iban("GB29NWBK60161331926818")
    assert is_nhs_number("9434765919")
    assert not is_nhs_number("9434765918")
    assert is_ssn("219099999")
    assert not any(is_ssn(number) for number in ("000121234", "666121234", "912121234", "123001234", "123120000"))
