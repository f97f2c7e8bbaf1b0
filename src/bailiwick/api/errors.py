"""How errors look on the wire: one rendering for each family, in its own spelling of the generic codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from bailiwick.kernel.database import is_unavailable
from bailiwick.kernel.errors import BailiwickError, FieldProblem, InvalidInput, RateLimited, Unavailable

AnyRequest = Request[Any, Any, Any]
_log = structlog.get_logger(__name__)
# What the validation library says of a member of the body: the fault, then the member's place.
_PLACED = re.compile(r"(?P<fault>.*?)(?: - at `\$(?P<place>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_GENERIC = {400: "VALIDATION_ERROR", 401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND"}
_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
}


def allowed(methods: Iterable[str]) -> str:
    """The value of an `Allow` header: what an address takes that has handlers for these methods."""
    taken = {*methods, "OPTIONS"}
    return ", ".join(sorted(taken | {"HEAD"} if "GET" in taken else taken))


class HttpRefused(BailiwickError):
    """What the web framework refused before a use case was reached: unknown address, wrong method, too large a body."""

    def __init__(self, status: int, detail: str = "", *, allow: str = "") -> None:
        super().__init__(_SENTENCES.get(status, detail))
        self.status = status
        self.code = _GENERIC.get(status, f"HTTP_{status}")
        self.allow = allow
        """The methods that the address takes, when `status` is 405 (RFC 9110 §15.5.6)."""


class Dialect(msgspec.Struct, frozen=True):
    """A contract's spelling: its names for the generic codes, and whether it lists wrong fields under `details`."""

    codes: Mapping[str, str] = {}
    details: bool = False

    def code(self, generic: str) -> str:
        """The family's name for a generic code; a specific code is its own name."""
        return self.codes.get(generic, generic)

    def body(self, error: BailiwickError) -> dict[str, object]:
        """The envelope `{error, code, details?}` and what else the error shows."""
        content: dict[str, object] = {"error": error.message, "code": self.code(error.code)}
        if self.details and isinstance(error, InvalidInput) and error.problems:
            content["details"] = error.problems
        content.update(getattr(error, "extra", {}))
        return content

    def response(self, error: BailiwickError) -> Response[dict[str, object]]:
        """The whole answer to an error."""
        headers = {name.decode(): value.decode() for name, value in self.headers(error)}
        return Response(self.body(error), status_code=error.status, headers=headers)

    def headers(self, error: BailiwickError) -> list[tuple[bytes, bytes]]:
        """Header fields that an error carries."""
        if isinstance(error, RateLimited):
            return [(b"retry-after", str(error.retry_after_seconds).encode())]
        if isinstance(error, HttpRefused) and error.allow:
            return [(b"allow", error.allow.encode())]
        return [(b"www-authenticate", b"Bearer")] if error.status == 401 else []


HOSTED_AGENTS = Dialect()
GOVERNANCE = Dialect(
    codes={
        "VALIDATION_ERROR": "E_VALIDATION_FAILED",
        "UNAUTHENTICATED": "E_UNAUTHORIZED",
        "FORBIDDEN": "E_FORBIDDEN",
        "INSUFFICIENT_PERMISSIONS": "E_FORBIDDEN",
        "NO_ORG": "E_FORBIDDEN",
        "NOT_FOUND": "E_NOT_FOUND",
    },
    details=True,
)


def problem(fault: str, path: str = "") -> FieldProblem:
    """A wrong field, by its dotted path in the request, from what the validation library says of it."""
    match = _PLACED.fullmatch(fault)
    sentence, place = (match["fault"], match["place"] or "") if match else (fault, "")
    names = [path, *place.replace("[", ".[").split(".")]
    if missing := _MISSING.fullmatch(sentence):
        names.append(missing["name"])
        sentence = "is required"
    return {"path": ".".join(filter(None, names)) or "body", "message": sentence}


def problems_of(error: ValidationException) -> list[FieldProblem]:
    """The wrong fields that Litestar found; it calls the body `data`."""
    problems: list[FieldProblem] = []
    for entry in error.extra if isinstance(error.extra, list) else []:
        if isinstance(entry, dict):
            key, fault = str(entry.get("key", "data")), str(entry.get("message", "is wrong"))
            # Without a body Litestar says only the name of what it misses.
            fault = "is required" if fault == f"'{key}'" else fault
            problems.append(problem(fault, "" if key == "data" else key))
    return problems


def invalid_body(error: msgspec.ValidationError) -> InvalidInput:
    """A body whose JSON is well formed and is not what the operation takes."""
    wrong = problem(str(error))
    return InvalidInput.of(wrong["path"], wrong["message"])


def _refused(error: HTTPException) -> BailiwickError:
    """What the framework refused, as one of ours."""
    if isinstance(error, ValidationException):
        problems = problems_of(error)
        sentence = "; ".join(f"{p['path']}: {p['message']}" for p in problems) or "The request is not valid."
        return InvalidInput(sentence, problems=problems)
    if error.status_code == 400:
        return InvalidInput(error.detail or "The request is not valid.")
    methods = (error.headers or {}).get("allow", "").split(", ")
    return HttpRefused(error.status_code, error.detail, allow=allowed(methods) if error.status_code == 405 else "")


def as_domain_error(error: Exception) -> BailiwickError:
    """Any exception that a request ended with, as one of ours; what nobody foresaw is logged and told as INTERNAL."""
    if isinstance(error, BailiwickError):
        return error
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _refused(error)
    if isinstance(error, msgspec.ValidationError):
        return invalid_body(error)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | msgspec.DecodeError):
        return InvalidInput("The body is not valid JSON.")
    if is_unavailable(error):
        _log.warning("database_unavailable", error=type(error).__name__)
        return Unavailable("The database is not available; please try again.")
    _log.error("request_failed", exc_info=error)
    return BailiwickError("Something went wrong on our side; the error is in the server's log.")


def handler(dialect: Dialect) -> Callable[[AnyRequest, Exception], Response[dict[str, object]]]:
    """An exception handler for a Router of one contract."""

    def render(request: AnyRequest, error: Exception) -> Response[dict[str, object]]:
        domain = as_domain_error(error)
        if isinstance(domain, InvalidInput):
            # Some operations have a status or a code of their own for a request that is not valid.
            options = request.scope["route_handler"].opt if "route_handler" in request.scope else {}
            domain.status = options.get("validation_status", domain.status)
            if domain.code == InvalidInput.code:
                domain.code = options.get("validation_code", domain.code)
        return dialect.response(domain)

    return render
