"""Secrets: credentials that their issuers gave a recognisable form, and values assigned to telling names.

Forms are from the issuers' public documentation. Where a form carries a checksum, it raises the confidence; a token
whose checksum fails is still reported, as a truncated or mistyped secret is still somebody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bailiwick.dlp.detectors import Detector, Judge
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.validators import entropy_bits, has_base62_crc32

Check = Callable[[str], float]
"""Takes the value, answers the confidence; 0 for none."""

_PLACEHOLDER = re.compile(
    r"x{6}|\*{4}|\.{4}|0{12}|<|\$\{|\{\{|your[_-]?|placeholder|redacted|changeme|example_|dummy", re.I
)


def _found(kind: str, start: int, end: int, confidence: float) -> Finding:
    return Finding(kind, Category.SECRET, start, end - start, confidence)


def _prefixed(value: str) -> float:
    """A telling prefix is enough, unless the rest is a placeholder as documentation writes it."""
    if _PLACEHOLDER.search(value):
        return 0.0
    return 0.95 if entropy_bits(value) > 3.2 else 0.7


def _mixed(value: str) -> float:
    """For short prefixes that words share: the rest has to look drawn at random."""
    body = value[3:]
    if _PLACEHOLDER.search(value) or entropy_bits(body) < 3.2:
        return 0.0
    has_digit = any(character.isdigit() for character in body)
    return 0.9 if has_digit and any(character.isalpha() for character in body) else 0.0


def _with_crc32(value: str) -> float:
    return 0.99 if has_base62_crc32(value.partition("_")[2]) else _prefixed(value)


def _kind(
    kind: str,
    trigger: str,
    pattern: str = "",
    *,
    check: Check = _prefixed,
    caseless: bool = False,
    anywhere: bool = False,
) -> Detector:
    """A detector whose extent `pattern` (default: `trigger`) matches from where the engine's `trigger` begins."""
    exact = re.compile(pattern or trigger, re.I if caseless else 0)
    begins_a_word = not anywhere and trigger[0] not in "\\["

    def judge(text: str, start: int, end: int) -> Finding | None:
        if begins_a_word and start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
            return None
        match = exact.match(text, start)
        if match is None:
            return None
        first, last = match.span(match.lastindex or 0)
        confidence = check(text[first:last])
        return _found(kind, first, last, confidence) if confidence else None

    return Detector(trigger, judge, caseless)


def _token(
    kind: str, prefix: str, alphabet: str, minimum: int, maximum: int = 0, *, check: Check = _prefixed
) -> Detector:
    """A prefix and between `minimum` and `maximum` characters of one alphabet."""
    extent = f"{{{minimum},{maximum or minimum}}}(?![A-Za-z0-9])" if not maximum else f"{{{minimum},{maximum}}}"
    return _kind(kind, f"{prefix}{alphabet}{{{minimum}}}", f"{prefix}{alphabet}{extent}", check=check)


_B62, _B64U, _HEX, _LOWER = "[A-Za-z0-9]", "[A-Za-z0-9_-]", "[0-9a-f]", "[a-z0-9]"

_KINDS = [
    # Cloud providers
    _token("AWS_ACCESS_KEY_ID", "(?:AKIA|ASIA|ABIA|ACCA)", "[A-Z0-9]", 16),
    _kind(
        "AWS_SECRET_ACCESS_KEY",
        r"secret[_ ]?access[_ ]?key",
        r"secret[_ ]?access[_ ]?key[\"']?\s{0,3}(?:[:=]|is)\s{0,3}[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])",
        caseless=True,
        anywhere=True,
    ),
    _token("GOOGLE_API_KEY", "AIza", _B64U, 35, 39),
    _token("GOOGLE_OAUTH_CLIENT_SECRET", "GOCSPX-", _B64U, 24, 40),
    _token("GOOGLE_OAUTH_ACCESS_TOKEN", r"ya29\.", _B64U, 20, 400),
    _kind("AZURE_STORAGE_KEY", r"AccountKey=[A-Za-z0-9+/]{40}", r"AccountKey=([A-Za-z0-9+/]{40,88}={0,2})"),
    _kind("AZURE_SAS_TOKEN", r"[?&]sig=[A-Za-z0-9%+/]{30}", r"[?&]sig=([A-Za-z0-9%+/]{30,120}={0,2})"),
    _kind(
        "AZURE_CLIENT_SECRET",
        r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31}",
        r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
    ),
    _token("ALIBABA_ACCESS_KEY_ID", "LTAI", _B62, 16, 26, check=_mixed),
    _token("DIGITALOCEAN_TOKEN", "do[opr]_v1_", _HEX, 64),
    _token("FLY_TOKEN", "fo1_", _B64U, 40, 60),
    _token("HEROKU_API_KEY", "HRKU-", _B64U, 36, 80),
    _token("NETLIFY_TOKEN", "nfp_", _B62, 36, 44),
    # Source hosting, packages, containers
    _token("GITHUB_TOKEN", "gh[pousr]_", _B62, 36, 255, check=_with_crc32),
    _token("GITHUB_FINE_GRAINED_TOKEN", "github_pat_", "[A-Za-z0-9_]", 36, 255),
    _token("GITLAB_TOKEN", "gl(?:pat|rt|dt|ptt|ft|soat|cbt)-", _B64U, 20, 64),
    _token("BITBUCKET_APP_PASSWORD", "ATBB", _B62, 28, 40, check=_mixed),
    _token("ATLASSIAN_API_TOKEN", "ATATT3", "[A-Za-z0-9_=-]", 40, 220),
    _token("NPM_TOKEN", "npm_", _B62, 36, check=_with_crc32),
    _token("PYPI_TOKEN", "pypi-", _B64U, 50, 250),
    _token("RUBYGEMS_TOKEN", "rubygems_", _HEX, 48),
    _token("CRATES_IO_TOKEN", "cio", _B62, 32, check=_mixed),
    _token("NUGET_API_KEY", "oy2", _LOWER, 43),
    _token("DOCKER_HUB_TOKEN", "dckr_(?:pat|oat)_", _B64U, 27, 40),
    # Models
    _token("ANTHROPIC_API_KEY", "sk-ant-", _B64U, 16, 200),
    _token("OPENAI_API_KEY", "sk-(?:proj|svcacct|admin)-", _B64U, 20, 220),
    _token("OPENAI_API_KEY", "sk-", _B62, 20, 64, check=_mixed),
    _token("OPENROUTER_API_KEY", "sk-or-v1-", _HEX, 32, 64),
    _token("HUGGING_FACE_TOKEN", "hf_", _B62, 30, 40),
    _token("REPLICATE_TOKEN", "r8_", _B62, 37, 40),
    _token("GROQ_API_KEY", "gsk_", _B62, 48, 56),
    _token("XAI_API_KEY", "xai-", _B62, 70, 90),
    _token("PERPLEXITY_API_KEY", "pplx-", _B62, 40, 56),
    # Messaging
    _token("SLACK_BOT_TOKEN", "xoxb-", "[A-Za-z0-9-]", 16, 120),
    _token("SLACK_USER_TOKEN", "xox[parse]-", "[A-Za-z0-9-]", 16, 200),
    _token("SLACK_APP_TOKEN", "xapp-", "[A-Za-z0-9-]", 24, 160),
    _kind(
        "SLACK_WEBHOOK_URL",
        r"https://hooks\.slack\.com/",
        r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_]{20,90}",
    ),
    _kind(
        "DISCORD_WEBHOOK_URL",
        r"https://discord(?:app)?\.com/api/webhooks/",
        r"https://discord(?:app)?\.com/api/webhooks/\d{5,30}/[\w-]{20,120}",
    ),
    _kind("TEAMS_WEBHOOK_URL", r"\.webhook\.office\.com/", r"\.webhook\.office\.com/webhookb2/[\w@/-]{30,200}"),
    _kind(
        "DISCORD_BOT_TOKEN",
        r"[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}",
        r"[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,38}",
    ),
    _kind("TELEGRAM_BOT_TOKEN", r"\d{8,10}:AA[A-Za-z0-9_-]{33}"),
    _kind("TWILIO_API_KEY", r"SK[0-9a-f]{32}"),
    _kind("SENDGRID_API_KEY", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _kind("MAILGUN_API_KEY", r"key-[0-9a-f]{32}", check=_mixed),
    _kind("MAILCHIMP_API_KEY", r"[0-9a-f]{32}-us\d{1,2}"),
    _token("BREVO_API_KEY", "xkeysib-", "[0-9a-f]", 64, 64),
    # Money
    _token("STRIPE_SECRET_KEY", "(?:sk|rk)_(?:live|test)_", _B62, 16, 250),
    _token("STRIPE_WEBHOOK_SECRET", "whsec_", "[A-Za-z0-9+/]", 24, 70),
    _token("SQUARE_TOKEN", "sq0(?:atp|csp|idp)-", _B64U, 22, 50),
    _kind("PAYPAL_BRAINTREE_TOKEN", r"access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    _token("SHOPIFY_TOKEN", "shp(?:at|ss|ca|pa)_", "[0-9a-fA-F]", 32),
    _token("PLAID_ACCESS_TOKEN", "access-(?:sandbox|development|production)-", "[0-9a-f-]", 36),
    # Infrastructure and observability
    _token("VAULT_TOKEN", r"hv[sbr]\.", _B64U, 24, 200),
    _kind("TERRAFORM_CLOUD_TOKEN", r"\.atlasv1\.[A-Za-z0-9_=-]{60}", r"\.atlasv1\.[A-Za-z0-9_=-]{60,80}"),
    _token("PULUMI_TOKEN", "pul-", _HEX, 40),
    _token("DATABRICKS_TOKEN", "dapi", _HEX, 32),
    _token("DOPPLER_TOKEN", r"dp\.(?:pt|st|ct|sa|scim|audit)\.", "[A-Za-z0-9._-]", 40, 64),
    _token("PLANETSCALE_TOKEN", "pscale_(?:tkn|pw|oauth)_", "[A-Za-z0-9_.-]", 32, 64),
    _token("SUPABASE_TOKEN", "sbp_", _HEX, 40),
    _kind("GRAFANA_TOKEN", r"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}"),
    _token("GRAFANA_CLOUD_TOKEN", "glc_", "[A-Za-z0-9+/]", 32, 400),
    _token("NEW_RELIC_KEY", "NRAK-", "[A-Z0-9]", 27),
    _kind("DYNATRACE_TOKEN", r"dt0[a-z]\d{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _token("SENTRY_TOKEN", "sntry[su]_", "[A-Za-z0-9_+/=]", 40, 300),
    _token("TAILSCALE_KEY", "tskey-(?:auth|api|client)-", "[A-Za-z0-9-]", 20, 80),
    # Work tools
    _token("LINEAR_API_KEY", "lin_(?:api|oauth)_", _B62, 32, 64),
    _token("NOTION_TOKEN", "(?:ntn_|secret_)", _B62, 43, 50),
    _kind("POSTMAN_API_KEY", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    _kind("AIRTABLE_TOKEN", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    _token("FIGMA_TOKEN", "fig[duo]_", _B64U, 36, 60),
    _kind("MAPBOX_SECRET_TOKEN", r"sk\.eyJ[A-Za-z0-9_-]{20}", r"sk\.eyJ[\w-]{20,200}\.[\w-]{16,60}"),
    _token("OKTA_API_TOKEN", "SSWS ", _B64U, 30, 60),
    _token("AGE_SECRET_KEY", "AGE-SECRET-KEY-1", "[A-Z0-9]", 58),
    # Forms of no single issuer
    _kind("JSON_WEB_TOKEN", r"eyJ[A-Za-z0-9_-]{8}", r"eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}(?:\.[\w-]{0,2000})?"),
    _kind(
        "BEARER_TOKEN",
        r"bearer +[A-Za-z0-9._~+/-]{16}",
        r"bearer +([A-Za-z0-9._~+/-]{16,2000}=*)",
        check=lambda value: _mixed("   " + value),
        caseless=True,
    ),
    _kind(
        "BASIC_AUTHORIZATION",
        r"authorization\W{1,4}basic +[A-Za-z0-9+/]{8}",
        r"authorization\W{1,4}basic +([A-Za-z0-9+/]{8,400}={0,2})",
        caseless=True,
    ),
]


_URL_CREDENTIALS = re.compile(r"[a-z]://[^\s/@:\"'<>]{0,48}:([^\s/@\"'<>]{2,100})@[\w.\[-]", re.I)


def _judge_url_credentials(text: str, start: int, end: int) -> Finding | None:
    match = _URL_CREDENTIALS.match(text, start)
    if match is None or _PLACEHOLDER.search(match[1]) or match[1][0] in "${%":
        return None
    return _found("URL_CREDENTIALS", *match.span(1), 0.9)


PRIVATE_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
PRIVATE_KEY_MAX = 16_000
"""Characters after its head line that a private key without an end line is taken to have."""


def _judge_private_key(text: str, start: int, end: int) -> Finding:
    closing = PRIVATE_KEY_END.search(text, end, end + PRIVATE_KEY_MAX)
    return _found("PRIVATE_KEY", start, closing.end() if closing else min(len(text), end + PRIVATE_KEY_MAX), 0.99)


_IS = r"\s{0,3}(?:\bis\b|[:=]{1,2}>?)\s{0,3}([\"'`]?)"
_ASSIGNED_PASSWORD = re.compile(_IS + r"([^\s\"'`<>]{6,64})")
_ASSIGNED_SECRET = re.compile(_IS + r"([^\s\"'`<>=&]{16,200}={0,2})")
_NO_VALUE = re.compile(
    r"^(?:[$%{<(\[*]|null|none|true|false|required|optional|expired|reset|incorrect|invalid|wrong|unknown|missing|"
    r"os\.|env\.|process\.|getenv|config\.|settings\.|self\.|var\.|secrets?\.|vault:|https?:|/|\./|~/|\.\.)|\($|\(\)",
    re.I,
)


def _judge_password(text: str, start: int, end: int) -> Finding | None:
    match = _ASSIGNED_PASSWORD.match(text, end - 1 if text[end - 1] in ":=" else end - 2)
    if match is None:
        return None
    value = match[2].rstrip(".,;:)]}?") or match[2]  # an exclamation mark often belongs to a password
    if len(value) < 6 or _NO_VALUE.search(value) or _PLACEHOLDER.search(value):
        return None
    has_digit = any(character.isdigit() for character in value)
    has_symbol = any(not character.isalnum() and character not in "-_./" for character in value)
    has_letter = any(character.isalpha() for character in value)
    if not ((has_digit and has_letter) or has_symbol or (match[1] and has_letter and "=" in text[end - 1])):
        return None
    return _found("PASSWORD", match.start(2), match.start(2) + len(value), 0.85)


def _judge_assigned_secret(text: str, start: int, end: int) -> Finding | None:
    match = _ASSIGNED_SECRET.match(text, end - 1 if text[end - 1] in ":=" else end - 2)
    if match is None:
        return None
    value = match[2].rstrip(".,;:)]}!?")
    if len(value) < 16 or _NO_VALUE.search(value) or _PLACEHOLDER.search(value) or entropy_bits(value) < 3.2:
        return None
    if not any(character.isdigit() for character in value) or not any(character.isalpha() for character in value):
        return None
    return _found("API_KEY", match.start(2), match.start(2) + len(value), 0.8)


def _assignment(names: str, judge: Judge) -> Detector:
    return Detector(rf"(?:{names})[\"']?\s{{0,3}}(?:[:=]|\bis\b)", judge, caseless=True)


DETECTORS = [
    *_KINDS,
    Detector(r"[a-z]://[^\s/@:]{0,48}:", _judge_url_credentials, caseless=True),
    Detector(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", _judge_private_key),
    Detector(r"PuTTY-User-Key-File-\d", _judge_private_key),
    _assignment(r"passw(?:or)?d|passphrase|passwort|contrase.a|mot de passe|\bpwd|\bpin code", _judge_password),
    _assignment(
        r"secret|api[_ -]?key|access[_ -]?key|auth[_ -]?token|access[_ -]?token|refresh[_ -]?token|client[_ -]?secret|"
        r"signing[_ -]?key|encryption[_ -]?key|private[_ -]?key|\btoken|license[_ -]?key",
        _judge_assigned_secret,
    ),
]
