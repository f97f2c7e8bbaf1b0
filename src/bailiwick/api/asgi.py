"""What plain ASGI applications need that stand in front of the web framework: bodies, answers, leaving callers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from litestar.types import Receive, Scope, Send

from bailiwick.api.errors import HttpRefused
from bailiwick.kernel.disconnect import EXTENSION, Disconnect
from bailiwick.kernel.errors import InvalidInput, Unavailable

Headers = Sequence[tuple[bytes, bytes]]
Result = TypeVar("Result")


async def read_body(scope: Scope, receive: Receive, *, most_bytes: int) -> bytes:
    """The whole body. Raises HttpRefused (413) and InvalidInput for one that breaks off, or is given up by the server
    for coming too slowly."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most_bytes:
            raise HttpRefused(413)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidInput("The body ended before it was whole.")
        pieces.append(message["body"])
        size += len(message["body"])
        if size > most_bytes:
            raise HttpRefused(413)
        if not message["more_body"]:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def until_disconnect(work: Coroutine[Any, Any, Result], scope: Scope) -> Result:
    """Awaits work that may take long; cancels it when the caller goes, so that it is settled and its target stopped.

    Raises CancelledError when the caller has gone, of which only our own web server tells.
    """
    task = asyncio.current_task()
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    if task is None or extension is None:
        return await work
    connection = cast("Disconnect", extension["connection"])
    connection.watch(task.cancel)
    try:
        return await work
    finally:
        if connection.unwatch():
            task.uncancel()


def is_being_cancelled() -> bool:
    """Whether somebody cancels the present task, as against work in it that was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def stopping() -> Unavailable:
    """What a caller is told whose call the server has waited for long enough, and cancels because it stops."""
    return Unavailable("The server is stopping; please try again.")


async def send_whole(send: Send, status: int, headers: Headers, content: bytes = b"") -> None:
    """An answer in one piece."""
    length = (b"content-length", str(len(content)).encode())
    await send_start(send, status, [*headers, length] if status != 204 else headers)
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def send_start(send: Send, status: int, headers: Headers) -> None:
    """The head of an answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_piece(send: Send, content: bytes, *, more: bool = True) -> None:
    """A piece of an answer's body; the last with `more` False."""
    await send({"type": "http.response.body", "body": content, "more_body": more})
