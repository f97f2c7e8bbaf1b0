"""What is an answer, and what is none though it came with a status of success: an error of the provider, a page."""

from __future__ import annotations

from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.reading import Json, objects_in
from bailiwick.invocations.dialects.server_events import ServerEvent


def is_answer(dialect: Dialect, body: Json) -> bool:
    """Whether a body has what every whole answer of its dialect has."""
    if dialect is Dialect.CHAT:
        choices = objects_in(body.get("choices"))
        return bool(choices) and isinstance(choices[0].get("message"), dict)
    if dialect is Dialect.MESSAGES:
        return isinstance(body.get("content"), list)
    output = body.get("output")
    return isinstance(output, list) and (bool(output) or body.get("status") != "failed")


def is_embedding_answer(body: Json) -> bool:
    """Whether a body is a list of embeddings."""
    return isinstance(body.get("data"), list)


def begins_answer(dialect: Dialect, event: ServerEvent) -> bool:
    """Whether an event is one of an answer, and not only a sign of life."""
    _, data = event
    if data is None:
        return False
    if dialect is Dialect.CHAT:
        return isinstance(data.get("choices"), list)
    kind = data.get("type")
    return isinstance(kind, str) and kind not in ("ping", "error")


def error_told(name: str | None, data: Json) -> Json | None:
    """The error that an event, or a body that is no answer, tells: as the body of an error answer of its dialect."""
    error = data.get("error")
    if isinstance(error, dict | str) and error:
        return data
    is_error = name == "error" or "error" in (data.get("type"), data.get("object"))  # the latter by vLLM
    return {"error": data} if is_error else None
