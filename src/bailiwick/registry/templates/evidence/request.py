"""What the message asks the evidence collector for: frameworks, controls and a period."""

import re
from datetime import datetime

import msgspec

from bailiwick.registry.templates.periods import Period, read_period

from .catalogue import FRAMEWORKS, Control

_FRAMEWORK_WORDS = {
    "soc2": re.compile(r"\bsoc[ -]?(?:2|ii)\b|\btrust services\b|\bcommon criteria\b", re.IGNORECASE),
    "hipaa": re.compile(r"\bhipaa\b|\bsecurity rule\b|\b45 ?cfr\b", re.IGNORECASE),
    "iso27001": re.compile(r"\biso(?:/iec)?[ -]?27001\b|\biso\b|\bannex a\b", re.IGNORECASE),
}
_CONTROL = re.compile(
    r"\b(CC[1-9](?:\.\d)?|A1(?:\.[1-3])?|C1(?:\.[12])?)(?![\w.]?\d)"
    r"|\b(164\.3(?:08|10|12|16)(?:\([A-Za-z0-9]{1,4}\)){0,4})"
    r"|(?:\bA\.?|\bcontrol |\bannex a )?([5-8]\.\d{1,2})(?![\d.])",
    re.IGNORECASE,
)
_PERIOD_DAYS = 90


class EvidenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The controls asked for by framework key, in catalogue order. `everything` when the message named none;
    `unknown` are control ids that no framework has."""

    controls: dict[str, tuple[Control, ...]]
    period: Period
    everything: bool
    unknown: tuple[str, ...]


def read_request(message: str, now: datetime) -> EvidenceRequest:
    """Read `message`. A control id selects itself and what lies under it ("CC6" is CC6.1 to CC6.8); a framework without
    control ids is taken whole; with nothing named, all frameworks are."""
    ids: dict[str, list[str]] = {}
    unknown: list[str] = []
    for match in _CONTROL.finditer(message):
        framework, prefix = _meant(match, message)
        if any(_is_under(control.id, prefix) for control in FRAMEWORKS[framework].controls):
            ids.setdefault(framework, []).append(prefix)
        elif prefix not in unknown and len(unknown) < 10:
            unknown.append(prefix)
    named = [key for key, words in _FRAMEWORK_WORDS.items() if words.search(message)]
    selected = [key for key in FRAMEWORKS if key in ids or key in named] or list(FRAMEWORKS)
    controls = {
        key: tuple(
            control
            for control in FRAMEWORKS[key].controls
            if key not in ids or any(_is_under(control.id, prefix) for prefix in ids[key])
        )
        for key in selected
    }
    return EvidenceRequest(
        controls=controls,
        period=read_period(message, now, default_days=_PERIOD_DAYS),
        everything=not ids and not named,
        unknown=tuple(unknown),
    )


def _meant(match: re.Match[str], message: str) -> tuple[str, str]:
    if match[1]:
        return "soc2", match[1].upper()
    if match[2]:
        return "hipaa", match[2]
    return "iso27001", f"A.{match[3]}"


def _is_under(control: str, prefix: str) -> bool:
    if not control.lower().startswith(prefix.lower()):
        return False
    rest = control[len(prefix) :]
    return not rest or rest[0] in ".("
