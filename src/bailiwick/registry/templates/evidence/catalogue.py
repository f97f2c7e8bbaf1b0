"""The catalogue of frameworks, controls and signals, read once from the YAML files beside this module."""

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec
import yaml


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a settings fact counts: it is true, known, within bounds, or a time not older than `within_days`."""

    is_true: bool = False
    known: bool = False
    at_least: float | None = None
    at_most: float | None = None
    within_days: int | None = None


Pattern = tuple[tuple[tuple[str, ...], frozenset[str]], ...]
"""Groups of (word beginnings, whole words); each group must be met by some word."""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that counts as evidence. `any_kind`: one of the kinds (audit, policies, settings) is enough."""

    key: str
    title: str
    audit: tuple[Pattern, ...]
    policies: tuple[Pattern, ...]
    settings: Mapping[str, Condition]
    tiered_policies: bool
    any_kind: bool
    missing: str
    how: str


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """One control and the signals that together evidence it."""

    id: str
    title: str
    group: str
    evidence: tuple[str, ...]


class Framework(msgspec.Struct, frozen=True, kw_only=True):
    """A framework; `groups` maps the beginning of control ids to the group's name."""

    key: str
    name: str
    groups: Mapping[str, str]
    controls: tuple[Control, ...]


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _read(name: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.load(text, Loader=_LOADER)  # noqa: S506 (a safe loader either way)
    return data


def _signals() -> dict[str, Signal]:
    return {
        key: Signal(
            key=key,
            title=body["title"],
            audit=tuple(_pattern(text) for text in body.get("audit", ())),
            policies=tuple(_pattern(text) for text in body.get("policies", ())),
            settings={name: _condition(value) for name, value in body.get("settings", {}).items()},
            tiered_policies=body.get("tiered_policies", False),
            any_kind=body.get("any", False),
            missing=body["missing"],
            how=body["how"],
        )
        for key, body in _read("signals.yaml").items()
    }


def _pattern(text: str) -> Pattern:
    groups = [group.split("|") for group in text.split("+")]
    return tuple(
        (tuple(word for word in group if word[-1] != "$"), frozenset(word[:-1] for word in group if word[-1] == "$"))
        for group in groups
    )


def _condition(value: object) -> Condition:
    return Condition(is_true=True) if value is True else msgspec.convert(value, Condition)


def _framework(file: str) -> Framework:
    data = _read(file)
    controls = tuple(
        Control(id=row["id"], title=row["title"], group=group, evidence=tuple(row["evidence"]))
        for group, body in data["groups"].items()
        for row in body["controls"]
    )
    unknown = {key for control in controls for key in control.evidence} - SIGNALS.keys()
    if unknown:
        raise ValueError(f"{file} names signals that signals.yaml does not have: {sorted(unknown)}")
    groups = {group: body["name"] for group, body in data["groups"].items()}
    return Framework(key=data["key"], name=data["name"], groups=groups, controls=controls)


SIGNALS: Mapping[str, Signal] = _signals()
FRAMEWORKS: Mapping[str, Framework] = {
    framework.key: framework for framework in map(_framework, ("soc2.yaml", "hipaa.yaml", "iso27001.yaml"))
}
SETTING_NAMES: frozenset[str] = frozenset(name for signal in SIGNALS.values() for name in signal.settings)
"""Every settings fact that the catalogue knows; the caller supplies as many as it can tell."""

_WORD = re.compile(r"[a-z]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def meets(patterns: tuple[Pattern, ...], text: str) -> bool:
    """Tell whether the words of `text` (an action name or a title) meet one of `patterns`."""
    words = _WORD.findall(_CAMEL.sub(" ", text[:200]).lower())
    return any(
        all(any(word.startswith(beginnings) or word in whole for word in words) for beginnings, whole in pattern)
        for pattern in patterns
    )


@functools.lru_cache(maxsize=4096)
def signals_of_action(action: str) -> frozenset[str]:
    """The signals that an audit entry with this action speaks for. Pure, so a bounded cache of the few actions is
    safe."""
    return frozenset(key for key, signal in SIGNALS.items() if meets(signal.audit, action))
