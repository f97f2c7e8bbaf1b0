"""How errors look on the wire: one rendering for each family, in its own spelling of the generic codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from bailiwick.kernel.errors import BailiwickError, FieldProblem, InvalidInput, RateLimited

AnyRequest = Request[Any, Any, Any]
_log = structlog.get_logger(__name__)
_GENERIC = {400: "VALIDATION_ERROR", 401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND"}
_SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take that method."}


class HttpRefused(BailiwickError):
    """What the web framework refused before a use case was reached: unknown address, wrong method, too large a body."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(_SENTENCES.get(status, detail))
        self.status = status
        self.code = _GENERIC.get(status, f"HTTP_{status}")


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

    def response(self, error: BailiwickError, status: int | None = None) -> Response[dict[str, object]]:
        """The whole answer to an error."""
        headers = {name.decode(): value.decode() for name, value in self.headers(error)}
        return Response(self.body(error), status_code=status or error.status, headers=headers)

    def headers(self, error: BailiwickError) -> list[tuple[bytes, bytes]]:
        """Header fields that an error carries."""
        if isinstance(error, RateLimited):
            return [(b"retry-after", str(error.retry_after_seconds).encode())]
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


def problems_of(error: ValidationException) -> list[FieldProblem]:
    """The wrong fields that Litestar found, by dotted path."""
    problems: list[FieldProblem] = []
    for entry in error.extra if isinstance(error.extra, list) else []:
        if isinstance(entry, dict):
            problems.append({"path": str(entry.get("key", "body")), "message": str(entry.get("message", "is wrong"))})
    return problems


def as_domain_error(error: Exception) -> BailiwickError:
    """Any exception that a request ended with, as one of ours; what nobody foresaw is logged and told as INTERNAL."""
    if isinstance(error, BailiwickError):
        return error
    if isinstance(error, ValidationException):
        problems = problems_of(error)
        sentence = "; ".join(f"{p['path']}: {p['message']}" for p in problems) or "The request is not valid."
        return InvalidInput(sentence, problems=problems)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | msgspec.DecodeError):
        return InvalidInput("The body is not valid JSON.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        if error.status_code == 400:
            return InvalidInput(error.detail or "The request is not valid.")
        return HttpRefused(error.status_code, error.detail)
    _log.error("request_failed", exc_info=error)
    return BailiwickError("Something went wrong on our side; the error is in the server's log.")


def handler(dialect: Dialect) -> Callable[[AnyRequest, Exception], Response[dict[str, object]]]:
    """An exception handler for a Router of one contract."""

    def render(request: AnyRequest, error: Exception) -> Response[dict[str, object]]:
        domain = as_domain_error(error)
        status = request.route_handler.opt.get("validation_status") if isinstance(domain, InvalidInput) else None
        return dialect.response(domain, status)

    return render
