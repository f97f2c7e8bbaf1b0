"""A stream on its way from a provider to a client, every text in it masked, across the borders of its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bailiwick.invocations.dialects.argument_text import ArgumentText
from bailiwick.invocations.dialects.frames import CutReason, Frame, Kind, StreamReader
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.usage import TokenUsage
from bailiwick.invocations.dialects.walk import Position, json_text_positions, with_texts


class Masker(Protocol):
    """Masks one text that comes in pieces (`dlp.StreamMasker`)."""

    def feed(self, chunk: str, /) -> str:
        """Takes the next piece; answers what may go out now."""

    def flush(self) -> str:
        """The rest."""


class StreamRelay:
    """Events in, masked events out, in one dialect (a translated stream is relayed in the client's).

    `new_masker` makes the masker of one text; its argument is the text's field, as findings name it. `mask_whole`
    masks a text that comes whole. What either raises comes out of `feed`; then `cut` ends the stream. Arguments of
    tool calls go out when they are complete: only then can they be read as JSON, and stay JSON when they are masked.
    """

    def __init__(
        self, reader: StreamReader, new_masker: Callable[[str], Masker], mask_whole: Callable[[Position], str]
    ) -> None:
        self.reader = reader
        self._new_masker = new_masker
        self._mask_whole = mask_whole
        self._maskers: dict[str, Masker] = {}
        self._signed: set[str] = set()
        self._arguments: dict[str, ArgumentText] = {}

    def feed(self, event: ServerEvent, into: list[ServerEvent] | None = None) -> list[ServerEvent]:
        """Takes one upstream event; answers what may go to the client now. With `into` that is added there, one by one,
        so that it is there although what follows it raises."""
        out: list[ServerEvent] = [] if into is None else into
        for frame in self.reader.read(event):
            for channel in frame.ends:
                self._flush(channel, out)
            for channel in frame.overtakes:
                if (arguments := self._arguments.get(channel)) is not None and arguments.is_whole:
                    self._flush(channel, out)
            if frame.whole:
                frame.with_wholes([self._whole(position) for position in frame.whole])
            if frame.channel is None:
                out.append(self.reader.emit(frame))
                continue
            text = self._feed(frame, frame.channel)
            if text or not frame.is_only_text:
                out.append(self.reader.emit(frame, text))
        return out

    def end(self) -> list[ServerEvent]:
        """What is still held back when the provider's stream is over without having said so."""
        out: list[ServerEvent] = []
        for channel in list(self.reader.open):
            self._flush(channel, out)
        return out

    def cut(self, reason: CutReason, usage: TokenUsage | None = None) -> list[ServerEvent]:
        """Ends the stream here. What was held back goes out when a limit is the reason, and never when policy is."""
        held = self.end() if reason is CutReason.LIMIT else []
        return [*held, *self.reader.cut(reason, usage)]

    def _whole(self, position: Position) -> str:
        text = self._mask_whole(position)
        return position.text if position.is_read_only else text

    def _feed(self, frame: Frame, channel: str) -> str:
        if frame.kind is Kind.JSON:
            self._arguments.setdefault(channel, ArgumentText()).add(frame.text)
            return ""
        masker = self._maskers.get(channel)
        if masker is None:
            masker = self._maskers[channel] = self._new_masker(channel)
            if frame.kind is Kind.SIGNED:
                self._signed.add(channel)
        masked = masker.feed(frame.text)
        return frame.text if frame.kind is Kind.SIGNED else masked

    def _flush(self, channel: str, out: list[ServerEvent]) -> None:
        if (arguments := self._arguments.pop(channel, None)) is not None:
            raw: Any = str(arguments)
            positions = json_text_positions(raw, channel)
            text = with_texts(raw, positions, [self._mask_whole(position) for position in positions])
        elif (masker := self._maskers.pop(channel, None)) is not None:
            text = masker.flush()
            if channel in self._signed:
                return  # it went out as it came
        else:
            return
        if text:
            out.append(self.reader.flush(channel, text))
