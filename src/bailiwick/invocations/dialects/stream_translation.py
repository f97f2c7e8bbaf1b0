"""Streams in another dialect, event by event: what a provider sends in, what the client's dialect says out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from bailiwick.invocations.dialects.answers import finish_reason
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.provider_errors import translate_error
from bailiwick.invocations.dialects.reading import Json, arguments_text, index_of, object_in
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.usage import usage_from, usage_object


class StreamTranslator(ABC):
    """Translates one stream. `feed` takes each upstream event in turn."""

    @abstractmethod
    def feed(self, event: ServerEvent) -> list[ServerEvent]:
        """The client's events for one of the provider's; often none, sometimes several. Raises StreamUnreadable when
        the provider's events make no sense together."""


class UntranslatedStream(StreamTranslator):
    """Client and provider speak the same dialect."""

    def feed(self, event: ServerEvent) -> list[ServerEvent]:
        """The event itself."""
        return [event]


class ChainedStream(StreamTranslator):
    """Two translations, one after the other."""

    def __init__(self, first: StreamTranslator, second: StreamTranslator) -> None:
        self._first = first
        self._second = second

    def feed(self, event: ServerEvent) -> list[ServerEvent]:
        """See StreamTranslator."""
        return [out for between in self._first.feed(event) for out in self._second.feed(between)]


class MessagesToChatStream(StreamTranslator):
    """Anthropic's events as chat chunks; the last one before `[DONE]` tells the usage."""

    def __init__(self, *, created: int) -> None:
        self._head: Json = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._calls: dict[int, int] = {}
        self._without_input: set[int] = set()
        self._is_finished = False
        self._usage: Json = {}

    def feed(self, event: ServerEvent) -> list[ServerEvent]:
        """See StreamTranslator."""
        _, data = event
        if data is None:
            return []
        match data.get("type"):
            case "content_block_delta":
                return self._delta(index_of(data), object_in(data, "delta"))
            case "content_block_start":
                return self._start(index_of(data), object_in(data, "content_block"))
            case "message_start":
                return self._begin(object_in(data, "message"))
            case "content_block_stop" | "message_delta" | "message_stop" | "error":
                return self._end(data)
        return []

    def _end(self, data: Json) -> list[ServerEvent]:
        """What ends a block, the message, or the stream."""
        out: list[ServerEvent] = []
        if data["type"] == "content_block_stop" and index_of(data) in self._without_input:
            self._without_input.discard(index_of(data))
            out.append(self._arguments(index_of(data), "{}"))
        elif data["type"] == "message_delta":
            self._count(data)
            reason = object_in(data, "delta").get("stop_reason")
            if reason is not None:  # there may be others before, which only count
                self._is_finished = True
                out.append(self._chunk({}, finish_reason(reason)))
        elif data["type"] == "message_stop":
            if not self._is_finished:
                out.append(self._chunk({}, finish_reason(None)))
            usage = usage_object(Dialect.CHAT, usage_from(Dialect.MESSAGES, self._usage))
            out += [(None, {**self._head, "choices": [], "usage": usage}), (None, None)]
        elif data["type"] == "error":
            out.append((None, translate_error(Dialect.MESSAGES, Dialect.CHAT, 502, data)))
        return out

    def _begin(self, message: Json) -> list[ServerEvent]:
        self._head |= {"id": message.get("id") or "chatcmpl-0", "model": message.get("model") or ""}
        self._count(message)
        return [self._chunk({"role": "assistant", "content": ""})]

    def _start(self, index: int, block: Json) -> list[ServerEvent]:
        if block.get("type") == "tool_use":
            number = self._calls[index] = len(self._calls)
            given = block.get("input")
            if not given:  # as a rule it comes in pieces
                self._without_input.add(index)
            call = {"index": number, "id": block.get("id"), "type": "function"}
            function = {"name": block.get("name"), "arguments": arguments_text(given) if given else ""}
            return [self._chunk({"tool_calls": [{**call, "function": function}]})]
        return self._delta(index, block)

    def _delta(self, index: int, delta: Json) -> list[ServerEvent]:
        match delta:
            case {"text": str(text)} if text:
                return [self._chunk({"content": text})]
            case {"thinking": str(text)} if text:
                return [self._chunk({"reasoning_content": text})]
            case {"partial_json": str(text)} if text and index in self._calls:
                self._without_input.discard(index)
                return [self._arguments(index, text)]
        return []

    def _arguments(self, index: int, text: str) -> ServerEvent:
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]})

    def _chunk(self, delta: Json, finish: str | None = None) -> ServerEvent:
        return None, {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    def _count(self, holder: Json) -> None:
        self._usage |= {key: value for key, value in object_in(holder, "usage").items() if value is not None}
