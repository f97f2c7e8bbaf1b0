"""Refuses text that PostgreSQL cannot store, and JSON too deep to read, before a handler sees the request.

U+0000 is a character of JSON (RFC 8259) and of percent-encoding, and not of PostgreSQL's `text`; found here, it is the
client's clear error instead of ours. Lone surrogates and raw control characters are refused by the JSON decoder.
"""

from __future__ import annotations

import re
from typing import Any

from litestar import Request

from bailiwick.kernel.errors import InvalidInput, NotFound

_DEEPEST = 200
# An escaped NUL whose backslash is not itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def _check_depth(body: bytes) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(body):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
            if depth > _DEEPEST:
                raise InvalidInput(f"The body is nested more than {_DEEPEST} levels deep.")
        elif token in (b"}", b"]"):
            depth -= 1


async def refuse_unstorable_text(request: Request[Any, Any, Any]) -> None:
    """Litestar before-request hook of every family's Router; see the module. Raises InvalidInput, NotFound."""
    if b"%00" in request.scope.get("raw_path", b"") or "\0" in request.scope["path"]:
        raise NotFound  # nothing has such a name
    if b"%00" in request.scope["query_string"]:
        raise InvalidInput.of("query", "holds the character U+0000")
    body = await request.body()
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidInput("The body holds the character U+0000, which no text here may hold.")
    if body.count(b"{") + body.count(b"[") > _DEEPEST:
        _check_depth(body)
