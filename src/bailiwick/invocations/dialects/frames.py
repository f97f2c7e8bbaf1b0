"""What a stream's events are taken apart into, whatever their dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.usage import TokenUsage
from bailiwick.invocations.dialects.walk import Path, Position, changes_of, rewrite


class Kind(StrEnum):
    """What a channel's text is."""

    TEXT = "text"
    JSON = "json"
    """Arguments: pieces of one JSON value, worth nothing before the last."""
    SIGNED = "signed"
    """Thinking that the provider signs: it can be read, but not altered."""


class CutReason(StrEnum):
    """Why a stream ends before the model has ended it."""

    LIMIT = "limit"
    """A bound on tokens or money."""
    POLICY = "policy"
    """A finding, a rule, or a kill switch."""


class Repeat(msgspec.Struct, frozen=True):
    """A place where an event tells a whole text once more that went out in pieces."""

    path: Path
    channel: str
    logprobs: Path | None = None
    """Token probabilities beside it, if there are any."""


class Frame(msgspec.Struct):
    """One event, or a part of one: at most one piece of streamed text."""

    event: str | None
    data: dict[str, Any] | None
    channel: str | None = None
    """The streamed text that `text` is the next piece of. It is named as the field of a whole answer would be."""
    text: str = ""
    kind: Kind = Kind.TEXT
    path: Path = ()
    """Where the text stands in the data."""
    is_only_text: bool = False
    """Without its text the event tells nothing, and need not be sent."""
    logprobs: tuple[Path, Any] | None = None
    """Where token probabilities stand, and what takes their place when the text goes out altered."""
    ends: Sequence[str] = ()
    """Channels that are over; what was held back of them goes out before this frame."""
    overtakes: Sequence[str] = ()
    """Channels of arguments that are over if they are complete JSON by now: a client takes them for that here."""
    whole: Sequence[Position] = ()
    """Texts that come whole in this event."""
    repeats: Sequence[Repeat] = ()

    def with_text(self, text: str) -> ServerEvent:
        """The event with another text in the place of its own."""
        if text == self.text:
            return self.event, self.data
        changes: list[tuple[Path, Any]] = [(self.path, text)]
        if self.logprobs is not None:
            changes.append(self.logprobs)
        return self.event, rewrite(self.data, changes)

    def with_wholes(self, texts: Iterable[str]) -> None:
        """Replaces the texts that come whole; as many as `whole`."""
        if self.whole:
            self.data = rewrite(self.data, changes_of(self.whole, texts))


class StreamReader(ABC):
    """Takes a provider's stream apart, and puts together what the client gets.

    Use: `read` an event; for every frame first `flush` what was held back of the channels that it `ends`, then `emit`
    it. The reader remembers what went out, because some events repeat it.
    """

    def __init__(self) -> None:
        self.usage: TokenUsage | None = None
        """What the provider has told so far."""
        self.is_finished = False
        """Whether the model's answer is complete."""
        self.open: dict[str, Kind] = {}
        """Channels that have begun and are not over."""

    @abstractmethod
    def read(self, event: ServerEvent) -> list[Frame]:
        """The frames of one upstream event, in the order in which they are to go out."""

    @abstractmethod
    def flush(self, channel: str, text: str) -> ServerEvent:
        """An event with more text of a channel that is still open."""

    def emit(self, frame: Frame, text: str | None = None) -> ServerEvent:
        """The event for the client; with `text` in the place of the frame's own."""
        return frame.with_text(frame.text if text is None else text)

    @abstractmethod
    def cut(self, reason: CutReason, usage: TokenUsage | None = None) -> list[ServerEvent]:
        """The events that end the stream here, so that every client takes it for ended."""

    def _over(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Marks channels as over; answers those that were open."""
        ended = tuple(channel for channel in channels if channel in self.open)
        for channel in ended:
            del self.open[channel]
        return ended
