"""Streams of Anthropic Messages: named events, from `message_start` to `message_stop`."""

from __future__ import annotations

from typing import Any, Final

from bailiwick.invocations.dialects.frames import CutReason, Frame, Kind, StreamReader
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.positions import response_positions
from bailiwick.invocations.dialects.reading import index_of
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.usage import TokenUsage, usage_from, usage_object
from bailiwick.invocations.dialects.walk import Path, rewrite

_STOP: Final = {CutReason.LIMIT: "max_tokens", CutReason.POLICY: "refusal"}
_KINDS: Final = {"partial_json": Kind.JSON, "thinking": Kind.SIGNED}
_DELTA_TYPES: Final = {"partial_json": "input_json_delta"}
_NO_TEXT: Final = frozenset(
    {"type", "signature", "id", "name", "data", "tool_use_id", "stop_reason", "encrypted_content"}
)


class MessagesStreamReader(StreamReader):
    """Reads the events of one message."""

    def __init__(self) -> None:
        super().__init__()
        self._is_started = False
        self._blocks: dict[int, None] = {}
        self._usage: dict[str, Any] = {}

    def read(self, event: ServerEvent) -> list[Frame]:
        """See StreamReader."""
        name, data = event
        if data is None:  # what only OpenAI's streams end with
            return []
        kind = data.get("type")
        if kind == "content_block_delta":
            return [self._piece(name, data, "delta")]
        if kind == "content_block_start":
            self._blocks[index_of(data)] = None
            return [self._piece(name, data, "content_block")]
        if kind == "message_start":
            self._is_started = True
            self._count(data.get("message"))
        elif kind == "content_block_stop":
            prefix = f"content[{index_of(data)}]."
            return [Frame(name, data, ends=self._over([c for c in self.open if c.startswith(prefix)]))]
        elif kind in ("message_delta", "message_stop"):
            self._count(data)
            self.is_finished = self.is_finished or kind == "message_stop"
            whole = response_positions(Dialect.MESSAGES, data)
            return [Frame(name, data, ends=self._over(list(self.open)), whole=whole)]
        return [Frame(name, data, whole=response_positions(Dialect.MESSAGES, data))]

    def _count(self, holder: object) -> None:
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):  # the last event repeats some counts and leaves others to the first
            self._usage |= {key: value for key, value in usage.items() if value is not None}
            self.usage = usage_from(Dialect.MESSAGES, self._usage)

    def _piece(self, name: str | None, data: dict[str, Any], holder: str) -> Frame:
        """A block's start or a delta: the one string in it is the next piece of its text."""
        inner = data.get(holder)
        texts = [key for key, value in inner.items() if _is_text(key, value)] if isinstance(inner, dict) else []
        if len(texts) != 1 or (holder == "content_block" and texts[0] not in ("text", "thinking")):
            return Frame(name, data, whole=response_positions(Dialect.MESSAGES, data))
        assert isinstance(inner, dict)  # noqa: S101  texts were found in it
        key = texts[0]
        channel, path = f"content[{index_of(data)}].{key}", (holder, key)
        kind = _KINDS.get(key, Kind.TEXT)
        self.open[channel] = kind
        return Frame(
            name,
            data,
            channel,
            inner[key],
            kind,
            path,
            is_only_text=holder == "delta",
            whole=() if inner.keys() <= {"type", key} else response_positions(Dialect.MESSAGES, _blank(data, path)),
        )

    def emit(self, frame: Frame, text: str | None = None) -> ServerEvent:
        """See StreamReader."""
        if frame.data is not None and frame.data.get("type") == "content_block_stop":
            self._blocks.pop(index_of(frame.data), None)
        return super().emit(frame, text)

    def flush(self, channel: str, text: str) -> ServerEvent:
        """See StreamReader."""
        index, _, key = channel.removeprefix("content[").partition("].")
        delta = {"type": _DELTA_TYPES.get(key, f"{key}_delta"), key: text}
        return "content_block_delta", {"type": "content_block_delta", "index": int(index), "delta": delta}

    def cut(self, reason: CutReason, usage: TokenUsage | None = None) -> list[ServerEvent]:
        """See StreamReader."""
        events: list[dict[str, Any]] = []
        counts = usage_object(Dialect.MESSAGES, usage or self.usage or TokenUsage())
        if not self._is_started:
            message: dict[str, Any] = {
                "id": "msg_0",
                "type": "message",
                "role": "assistant",
                "model": "",
                "content": [],
            }
            message |= {"stop_reason": None, "stop_sequence": None, "usage": counts}
            events.append({"type": "message_start", "message": message})
        events += ({"type": "content_block_stop", "index": index} for index in self._blocks)
        delta = {"stop_reason": _STOP[reason], "stop_sequence": None}
        events += ({"type": "message_delta", "delta": delta, "usage": counts}, {"type": "message_stop"})
        return [(event["type"], event) for event in events]


def _is_text(key: str, value: object) -> bool:
    return isinstance(value, str) and bool(value) and key not in _NO_TEXT


def _blank(data: dict[str, Any], path: Path) -> dict[str, Any]:
    blank: dict[str, Any] = rewrite(data, [(path, "")])
    return blank
