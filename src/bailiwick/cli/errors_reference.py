"""The error codes as a reference: made from the exception classes, so that it cannot differ from them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import msgspec

import bailiwick
from bailiwick.kernel.errors import BailiwickError

# Programs of their own, which no request reaches.
_APART = ("bailiwick.bench", "bailiwick.cli")


class ErrorRow(msgspec.Struct, frozen=True):
    """One code with one HTTP status, and what it can mean: a sentence for each exception class."""

    status: int
    code: str
    governance_code: str
    """How operations of the governance contract spell it."""
    meanings: tuple[str, ...]


def _import_everything() -> None:
    """A subclass exists only once its module was imported."""
    for module in pkgutil.walk_packages(bailiwick.__path__, "bailiwick."):
        if not module.name.startswith(_APART):
            importlib.import_module(module.name)


def _classes(base: type[BailiwickError]) -> Iterator[type[BailiwickError]]:
    yield base
    for derived in base.__subclasses__():
        yield from _classes(derived)


def _meaning(kind: type[BailiwickError]) -> str:
    """The first paragraph of the docstring, which is the default message."""
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return text if text.endswith(".") else f"{text}."


def reference() -> list[ErrorRow]:
    """Every code that a request can be answered with or that is recorded with an invocation, by status and code."""
    _import_everything()
    from bailiwick.api.errors import GOVERNANCE, HttpRefused

    meanings: dict[tuple[int, str], list[str]] = {}
    # General before special, then by name: the order in which modules were imported must not show.
    for kind in sorted(
        set(_classes(BailiwickError)), key=lambda kind: (len(kind.__mro__), kind.__name__, kind.__module__)
    ):
        if not kind.__module__.startswith("bailiwick."):
            continue
        # Bases that stand only for their subclasses, and the one whose code is made from its status.
        if kind is HttpRefused or (kind.code == BailiwickError.code and kind is not BailiwickError):
            continue
        meaning = "The server's own fault; its log has the error." if kind is BailiwickError else _meaning(kind)
        found = meanings.setdefault((kind.status, kind.code), [])
        if meaning not in found:
            found.append(meaning)
    return [
        ErrorRow(status, code, GOVERNANCE.code(code), tuple(found))
        for (status, code), found in sorted(meanings.items())
    ]


def reference_markdown() -> str:
    """The page `docs/reference/errors.md`."""
    lines = [
        "# Errors",
        "",
        "Made by `bailiwick errors --markdown`.",
        "",
        "Every refusal is JSON: `error` is a sentence for people, `code` is stable and for programs, and some carry",
        "more members (`policy_flags` of a blocked run). Operations of the governance contract spell some codes in its",
        "way (third column) and list wrong fields under `details` as `{path, message}`.",
        "",
        "A 401 carries `WWW-Authenticate: Bearer`, a 429 of a rate limit `Retry-After` in seconds. What the web server",
        "refuses before an operation is reached and this table does not list has the code `HTTP_<status>`: `HTTP_405`",
        "(method), `HTTP_413` (body too large).",
        "",
        "| status | code | in governance operations | meaning |",
        "|---|---|---|---|",
    ]
    for row in reference():
        spelled = "" if row.governance_code == row.code else f"`{row.governance_code}`"
        meanings = "<br>".join(row.meanings).replace("|", "\\|")
        lines.append(f"| {row.status} | `{row.code}` | {spelled} | {meanings} |")
    lines += [
        "",
        "`CANCELLED` (the caller has gone) is answered to nobody: it stands in the audit entry of the invocation. An",
        "invocation whose process died is recorded as `lost`, with the code `LEASE_EXPIRED`.",
        "",
    ]
    return "\n".join(lines)
