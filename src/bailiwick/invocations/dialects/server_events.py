"""Server-sent events as bytes: read in whatever pieces they come, and written.

WHATWG HTML §9.2.6. Model providers use `event` and `data` alone; comments, `id` and `retry` are left out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bailiwick.kernel.errors import UpstreamFailed

ServerEvent = tuple[str | None, dict[str, Any] | None]
"""An event's name and its decoded data; None for `[DONE]`, which ends a chat stream."""

_DONE: Final = b"[DONE]"
_MOST_EVENT_BYTES: Final = 16 * 1024 * 1024
_json = msgspec.json.Encoder()


class StreamUnreadable(UpstreamFailed):
    """The model's answer could not be read."""


class EventParser:
    """Reads events out of a stream. A final event without its blank line is not one (the stream broke off)."""

    def __init__(self) -> None:
        self._rest = b""
        self._name: str | None = None
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._is_begun = False
        self._is_unreadable = False

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Takes the next bytes; answers the events that are now complete.

        Raises StreamUnreadable for data that is neither a JSON object nor `[DONE]`, and for an event without bounds:
        at the next piece, when events stand before it in this one.
        """
        if self._is_unreadable:
            raise StreamUnreadable
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        elif piece:
            self._after_cr = False
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events: list[ServerEvent] = []
        try:
            for line in lines:
                self._line(line, events)
            if self._size + len(self._rest) > _MOST_EVENT_BYTES:
                raise StreamUnreadable
        except StreamUnreadable:
            if not events:
                raise
            self._is_unreadable = True
        return events

    def _line(self, line: bytes, events: list[ServerEvent]) -> None:
        if not self._is_begun:
            self._is_begun, line = True, line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append((self._name, _decoded(b"\n".join(self._data))))
            self._name, self._data, self._size = None, [], 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value)
            if self._size > _MOST_EVENT_BYTES:
                raise StreamUnreadable
        elif field == b"event":
            self._name = value.decode(errors="replace") or None


def _decoded(data: bytes) -> dict[str, Any] | None:
    if data.strip() == _DONE:
        return None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise StreamUnreadable from None
    if not isinstance(value, dict):
        raise StreamUnreadable
    return value


def encode_event(event: ServerEvent) -> bytes:
    """The event as it goes over the wire."""
    name, data = event
    encoded = _DONE if data is None else _json.encode(data)
    return b"data: %b\n\n" % encoded if name is None else b"event: %b\ndata: %b\n\n" % (name.encode(), encoded)
