"""Refuses text that PostgreSQL cannot store, JSON too deep to read, and a body that does not arrive, before a handler
sees the request.

U+0000 is a character of JSON (RFC 8259) and of percent-encoding, and not of PostgreSQL's `text`; found here, it is the
client's clear error instead of ours. Lone surrogates and raw control characters are refused by the JSON decoder.
"""

from __future__ import annotations

import re
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.params import ParameterKwarg

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


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """The whole body; what asks for it later gets the same. Raises HttpRefused (413), InvalidInput."""
    try:
        return await request.body()
    except InternalServerException:  # the connection, or its chunks, ended
        raise InvalidInput("The body ended before it was whole.") from None


def _check_query(request: Request[Any, Any, Any]) -> None:
    fields = request.route_handler.parsed_fn_signature.parameters
    for name, field in fields.items():
        kwarg = field.kwarg_definition
        alias = (kwarg.query or kwarg.name or name) if isinstance(kwarg, ParameterKwarg) else name
        if any("\0" in value for value in request.query_params.getall(alias, [])):
            raise InvalidInput.of(alias, "holds the character U+0000")


async def refuse_unstorable_text(request: Request[Any, Any, Any]) -> None:
    """Litestar before-request hook of every family's Router; see the module. Raises InvalidInput, NotFound."""
    if b"%00" in request.scope.get("raw_path", b"") or "\0" in request.scope["path"]:
        raise NotFound  # nothing has such a name
    if b"%00" in request.scope["query_string"]:
        _check_query(request)
    if not {"data", "request"} & request.route_handler.parsed_fn_signature.parameters.keys():
        return  # takes no body
    body = await read_body(request)
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidInput("The body holds the character U+0000, which no text here may hold.")
    if body.count(b"{") + body.count(b"[") > _DEEPEST:
        _check_depth(body)
