"""Streams in another dialect, event by event: what a provider sends in, what the client's dialect says out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from bailiwick.invocations.dialects.answers import finish_reason, stop_reason
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.provider_errors import translate_error
from bailiwick.invocations.dialects.reading import Json
from bailiwick.invocations.dialects.server_events import ServerEvent, StreamUnreadable
from bailiwick.invocations.dialects.usage import TokenUsage, usage_from, usage_object, usage_of


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
                return self._delta(_index(data), _object(data, "delta"))
            case "content_block_start":
                return self._start(_index(data), _object(data, "content_block"))
            case "message_start":
                return self._begin(_object(data, "message"))
            case "content_block_stop" | "message_delta" | "message_stop" | "error":
                return self._end(data)
        return []

    def _end(self, data: Json) -> list[ServerEvent]:
        """What ends a block, the message, or the stream."""
        out: list[ServerEvent] = []
        if data["type"] == "content_block_stop" and _index(data) in self._without_input:
            self._without_input.discard(_index(data))
            out.append(self._arguments(_index(data), "{}"))
        elif data["type"] == "message_delta":
            self._count(data)
            reason = _object(data, "delta").get("stop_reason")
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
            self._without_input.add(index)
            call = {"index": number, "id": block.get("id"), "type": "function"}
            begun = self._chunk({"tool_calls": [{**call, "function": {"name": block.get("name"), "arguments": ""}}]})
            return [begun]
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
        self._usage |= {key: value for key, value in _object(holder, "usage").items() if value is not None}


class ChatToMessagesStream(StreamTranslator):
    """Chat chunks as Anthropic's events. Its blocks come one after the other, so a block ends where another begins.

    A chat tells its usage last: the first event says 0 and the last one all.
    """

    def __init__(self) -> None:
        self._is_started = False
        self._block: str | None = None
        """The text or tool call whose block is open."""
        self._ended: set[str] = set()
        self._count = 0
        self._finish: object = None
        self._is_refused = False
        self._usage = TokenUsage()

    def feed(self, event: ServerEvent) -> list[ServerEvent]:
        """See StreamTranslator."""
        _, data = event
        if data is None:
            return self._end() if self._is_started else []
        if "error" in data:
            error = translate_error(Dialect.CHAT, Dialect.MESSAGES, 502, data)
            return [("error", error)]
        self._usage = usage_of(Dialect.CHAT, data) or self._usage
        out: list[ServerEvent] = []
        if not self._is_started:
            self._is_started = True
            out.append(self._begin(data))
        for choice in _objects(data.get("choices")):
            if _index(choice) == 0:
                self._delta(_object(choice, "delta"), out)
                self._finish = choice.get("finish_reason") or self._finish
        return out

    def _begin(self, data: Json) -> ServerEvent:
        message: Json = {"id": data.get("id") or "msg_0", "type": "message", "role": "assistant", "content": []}
        message |= {"model": data.get("model") or "", "stop_reason": None, "stop_sequence": None}
        return _named({"type": "message_start", "message": {**message, "usage": _usage(TokenUsage())}})

    def _delta(self, delta: Json, out: list[ServerEvent]) -> None:
        for key in ("content", "refusal"):
            if isinstance(text := delta.get(key), str) and text:
                self._is_refused = self._is_refused or key == "refusal"
                self._open(key, {"type": "text", "text": ""}, out)
                out.append(self._block_delta({"type": "text_delta", "text": text}))
        for at, call in enumerate(_objects(delta.get("tool_calls"))):
            name, function = f"call {call.get('index', at)}", _object(call, "function")
            if self._block != name:
                used = {"id": call.get("id"), "name": function.get("name"), "input": {}}
                self._open(name, {"type": "tool_use", **used}, out)
            if isinstance(text := function.get("arguments"), str) and text:
                out.append(self._block_delta({"type": "input_json_delta", "partial_json": text}))

    def _block_delta(self, delta: Json) -> ServerEvent:
        return _named({"type": "content_block_delta", "index": self._count - 1, "delta": delta})

    def _open(self, name: str, block: Json, out: list[ServerEvent]) -> None:
        if self._block == name:
            return
        if name in self._ended and block["type"] == "tool_use":
            raise StreamUnreadable  # calls whose pieces alternate cannot be told one after the other
        self._close(out)
        self._block = name
        out.append(_named({"type": "content_block_start", "index": self._count, "content_block": block}))
        self._count += 1

    def _close(self, out: list[ServerEvent]) -> None:
        if self._block is not None:
            self._ended.add(self._block)
            self._block = None
            out.append(_named({"type": "content_block_stop", "index": self._count - 1}))

    def _end(self) -> list[ServerEvent]:
        out: list[ServerEvent] = []
        self._close(out)
        reason = "refusal" if self._is_refused else stop_reason(self._finish)
        delta = {"stop_reason": reason, "stop_sequence": None}
        out.append(_named({"type": "message_delta", "delta": delta, "usage": _usage(self._usage)}))
        out.append(_named({"type": "message_stop"}))
        return out


def _usage(usage: TokenUsage) -> Json:
    return usage_object(Dialect.MESSAGES, usage)


def _named(data: Json) -> ServerEvent:
    return data["type"], data


def _index(data: Json) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else 0


def _object(data: Json, key: str) -> Json:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Any]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
