"""An answer on its way to its reader as it comes: every text in it inspected, its stream cut where it must end."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from bailiwick.invocations.calls import EventStream
from bailiwick.invocations.dialects import (
    CutReason,
    Dialect,
    Position,
    ServerEvent,
    StreamRelay,
    TokenUsage,
    encode_event,
    error_event,
    stream_reader,
)
from bailiwick.invocations.errors import AllowanceExhausted, KilledBySwitch, OutputBlocked, TargetUnavailable
from bailiwick.invocations.inspection import StreamInspection
from bailiwick.invocations.requests import InspectedText
from bailiwick.invocations.running import Running

# Keys under which a text says nothing of itself.
_TELL_NOTHING = frozenset({"text", "content", "input", "arguments", "value", "system", "instructions", "output"})


def inspected(position: Position) -> InspectedText:
    """A position of a body as inspection takes it."""
    label = position.label
    return InspectedText(position.text, position.field, "" if label in _TELL_NOTHING else label, position.is_read_only)


def stream_of_nothing(dialect: Dialect) -> bytes:
    """A whole stream of a model that says nothing because policy stopped it."""
    return b"".join(map(encode_event, stream_reader(dialect).cut(CutReason.POLICY)))


def stream_error(
    dialect: Dialect, status: int, code: str, message: str, *, provider_body: Mapping[str, Any] | None = None
) -> bytes:
    """The event that ends a stream which has begun with an error: `provider_body` where it is the provider's own, in
    the form that the client's dialect has for errors."""
    if provider_body is None or dialect is Dialect.RESPONSES:
        theirs = provider_body.get("error") if provider_body is not None else None
        if isinstance(theirs, dict):
            message = str(theirs.get("message") or message)
        return encode_event(error_event(dialect, status, message=message, code=code))
    return encode_event(("error" if dialect is Dialect.MESSAGES else None, dict(provider_body)))


class RelayedEvents:
    """The events of one stream, as bytes for its reader."""

    def __init__(self, running: Running, dialect: Dialect, stream: EventStream) -> None:
        self._running = running
        self._reads: AsyncIterator[list[ServerEvent]] = aiter(stream)
        self._inspection = StreamInspection(running.policy)
        self._relay = StreamRelay(
            stream_reader(dialect, hides_usage=stream.hides_usage),
            self._inspection.masker,
            lambda position: self._inspection.whole(inspected(position)),
        )
        self._digest = hashlib.sha256()
        self._ready: list[ServerEvent] = []
        """Events that may go out and have not yet."""

    @property
    def is_finished(self) -> bool:
        """Whether the model's answer is complete."""
        return self._relay.reader.is_finished

    @property
    def sha256_hex(self) -> str:
        """The hash of all that was handed out."""
        return self._digest.hexdigest()

    async def next(self) -> bytes | None:
        """What the next read lets go out, perhaps nothing; None at the end.

        Raises KilledBySwitch, OutputBlocked, AllowanceExhausted, and what the stream raises.
        """
        with self._running.cuts.section():
            read = await anext(self._reads, None)
        if read is None:
            return None
        for event in read:
            self._relay.feed(event, self._ready)
        if not self.is_finished:
            self._running.check_used()
        return self._handed_out()

    def end(self) -> bytes:
        """What was held back to the end. Raises OutputBlocked."""
        self._ready += self._relay.end()
        return self._handed_out()

    def cut(self, error: BaseException) -> bytes | None:
        """The events that end the stream because of `error`; None when it is no cut. Of a stream that its target has
        broken off, which ends with an error, what was held back: it is charged too."""
        match error:
            case TargetUnavailable():
                with suppress(OutputBlocked):
                    return self.end() or None
                return None
            case AllowanceExhausted():
                reason = CutReason.LIMIT
            case OutputBlocked() | KilledBySwitch():
                reason = CutReason.POLICY
            case _:
                return None
        used = self._running.usage
        usage = TokenUsage(
            input=used.input_tokens,
            cached_input=used.cached_tokens or 0,
            output=used.output_tokens,
            reasoning=used.reasoning_tokens or 0,
        )
        try:
            self._ready += self._relay.cut(reason, usage)
        except OutputBlocked:  # in what a limit lets out at last
            self._ready += self._relay.reader.cut(CutReason.POLICY, usage)
        return self._handed_out()

    def _handed_out(self) -> bytes:
        self._running.decide(self._inspection.decision)
        content = b"".join(map(encode_event, self._ready))
        self._ready = []
        self._digest.update(content)
        return content
