"""Reading plain JSON: of a request, where what has another form than expected is refused, and of an answer, where it
counts as nothing. What is absent or null counts as not given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bailiwick.invocations.dialects.errors import InvalidBody, Untranslatable

Json = dict[str, Any]


def objects(value: object, field: str) -> list[Json]:
    """A list of objects; none when it is not given."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidBody(field, "must be a list")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise InvalidBody(f"{field}[{index}]", "must be an object")
    return value


def an_object(value: object, field: str) -> Json:
    """An object; an empty one when it is not given."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidBody(field, "must be an object")
    return value


def objects_in(value: object) -> list[Json]:
    """Of an answer's list, what is an object; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def object_in(data: Json, key: str) -> Json:
    """An answer's object; an empty one where it is none."""
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def index_of(data: Json) -> int:
    """Which of several something in a stream concerns; the first where it tells none."""
    index = data.get("index")
    return index if isinstance(index, int) else 0


def a_string(value: object, field: str) -> str:
    """A string that must be given."""
    if not isinstance(value, str):
        raise InvalidBody(field, "must be a string")
    return value


def refuse(body: Mapping[str, Any], fields: Iterable[str], where: str = "") -> None:
    """Raises Untranslatable for the first of the fields that asks for something."""
    for field in fields:
        if body.get(field) not in (None, False, 0, "", [], {}):
            raise Untranslatable(where + field)


def arguments_object(raw: object, field: str) -> Json:
    """A tool call's arguments, from their JSON text."""
    text = a_string(raw, field)
    try:
        value = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise InvalidBody(field, "must be a JSON object in a string") from None
    if not isinstance(value, dict):
        raise InvalidBody(field, "must be a JSON object in a string")
    return value


def arguments_text(value: object) -> str:
    """A tool call's arguments as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def rest(body: Mapping[str, Any], known: Iterable[str]) -> Json:
    """Fields that the dialect does not know: they go on untouched, for the provider to take or to refuse."""
    known = frozenset(known)
    return {key: value for key, value in body.items() if key not in known}


def data_url(address: str) -> tuple[str, str] | None:
    """Media type and base64 data of a `data:` URL (RFC 2397); None for another address."""
    head, comma, data = address.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").removesuffix(";base64").partition(";")[0] or "text/plain", data
