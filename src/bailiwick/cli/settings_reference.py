"""The settings as a reference: made from `settings.py`, so that it cannot differ from it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from pydantic.fields import FieldInfo

from bailiwick.settings import GROUPS


class SettingRow(msgspec.Struct, frozen=True):
    """One setting, for people."""

    variable: str
    type: str
    default: str
    meaning: str


def _type_of(field: FieldInfo) -> str:
    annotation = str(field.annotation)
    annotation = re.sub(r"Optional\[(.*)\]", r"\1", annotation)
    annotation = re.sub(r"Annotated\[([\w.]+), .*\]", r"\1", annotation)
    text = re.sub(r"(\w+\.)+", "", annotation).replace("<class '", "").replace("'>", "")
    return text.replace(" | None", "").replace("SecretStr", "secret")


def _default_of(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value is None else str(value)


def reference() -> Iterator[tuple[str, list[SettingRow]]]:
    """Each group's sentence and its settings."""
    for group in GROUPS:
        rows = [
            SettingRow(f"BAILIWICK_{name.upper()}", _type_of(field), _default_of(field), field.description or "")
            for name, field in group.model_fields.items()
        ]
        yield (group.__doc__ or "").strip(), rows


def reference_markdown() -> str:
    """The page `docs/reference/settings.md`."""
    lines = [
        "# Settings",
        "",
        "Made by `bailiwick settings --markdown`. Each is an environment variable or a line of `.env`.",
        "",
    ]
    for title, rows in reference():
        lines += [f"## {title.rstrip('.')}", "", "| variable | type | default | meaning |", "|---|---|---|---|"]
        for row in rows:
            cells = (f"`{row.variable}`", row.type, f"`{row.default}`" if row.default else "", row.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
