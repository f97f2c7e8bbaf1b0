"""Errors as the clients of each provider read them (contract: ProviderError)."""

from __future__ import annotations

from typing import Any, Final

from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.reading import Json, object_in
from bailiwick.invocations.dialects.server_events import ServerEvent

# https://docs.anthropic.com/en/api/errors
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES: Final = {
    **{word: status for status, word in _ANTHROPIC_TYPES.items()},
    **{"rate_limit_exceeded": 429, "insufficient_quota": 429, "context_length_exceeded": 400},
}
_OF_REQUESTS: Final = ("invalid_", "image_", "unsupported_")
"""What codes begin with that say what is wrong with a request."""
_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_body(
    dialect: Dialect,
    status: int,
    *,
    message: str,
    type: str | None = None,
    code: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """The body of an error answer. Without a type the one that the provider itself uses for the status."""
    if dialect is Dialect.MESSAGES:
        error: dict[str, Any] = {"type": type or _anthropic_type(status), "message": message}
        if code is not None:
            error["code"] = code
        return {"type": "error", "error": error}
    return {"error": {"message": message, "type": type or _openai_type(status), "param": param, "code": code}}


def error_event(dialect: Dialect, status: int, *, message: str, code: str | None = None) -> ServerEvent:
    """An error in the middle of a stream, after which nothing follows."""
    if dialect is Dialect.RESPONSES:
        return "error", {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 0}
    name = "error" if dialect is Dialect.MESSAGES else None
    return name, error_body(dialect, status, message=message, code=code)


def error_status(body: Json) -> int:
    """The status that an error stands for which came without one, in a stream or with that of a success; 502 where it
    does not tell."""
    error = object_in(body, "error")
    for word in (error.get("code"), error.get("type")):
        if isinstance(word, int | str) and str(word).isdecimal() and 400 <= int(word) <= 599:
            return int(word)
        if isinstance(word, str) and word in _STATUSES:
            return _STATUSES[word]
        if isinstance(word, str) and word.startswith(_OF_REQUESTS):
            return 400
    return 502


def translate_error(upstream: Dialect, client: Dialect, status: int, body: object) -> dict[str, Any]:
    """A provider's error in the client's dialect. What is no error in the provider's form (a proxy's HTML page)
    becomes one that names the status alone."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):  # Ollama and others
        error = {"message": error}
    if not isinstance(error, dict):
        return error_body(client, status, message=f"The provider answered with status {status}.")
    if isinstance(body, dict) and _is_anthropic(upstream) == _is_anthropic(client) and isinstance(body["error"], dict):
        return {"type": "error", **body} if _is_anthropic(client) else body
    code = error.get("code")
    return error_body(
        client,
        status,
        message=str(error.get("message") or f"The provider answered with status {status}."),
        code=str(code) if code is not None and not _is_anthropic(client) else None,
        param=error["param"] if isinstance(error.get("param"), str) else None,
    )


def _is_anthropic(dialect: Dialect) -> bool:
    return dialect is Dialect.MESSAGES


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def _openai_type(status: int) -> str:
    return _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
