"""Streams of OpenAI Chat Completions: `chat.completion.chunk` objects, then `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from bailiwick.invocations.dialects.frames import CutReason, Frame, Kind, StreamReader
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.positions import response_positions
from bailiwick.invocations.dialects.reading import index_of
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.usage import TokenUsage, usage_object, usage_of
from bailiwick.invocations.dialects.walk import Path, rewrite

_FINISH: Final = {CutReason.LIMIT: "length", CutReason.POLICY: "content_filter"}
_PLAIN_CHUNK: Final = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
)
_PLAIN_CHOICE: Final = frozenset({"index", "delta", "finish_reason", "logprobs"})
_PLAIN_TEXTS: Final = ("content", "refusal", "reasoning_content")
_PLAIN_DELTA: Final = frozenset({"role", "tool_calls", "function_call", *_PLAIN_TEXTS})
_CALLS: Final = {"function": ("arguments", Kind.JSON), "custom": ("input", Kind.TEXT)}
_NESTED: Final = {"function_call": ("arguments", Kind.JSON), "audio": ("transcript", Kind.TEXT)}
_PARTS: Final = ("text", "thinking")
_HEAD: Final = ("id", "object", "created", "model")
_PLAIN_CALL: Final = frozenset({"index", "id", "type", "function"})


class _Piece(msgspec.Struct, frozen=True):
    """One piece of text in a chunk: its choice, its tool call if it is one's, and the keys below the delta, `[text]`
    for a part of that type in a list."""

    path: Path
    text: str
    kind: Kind
    choice: int
    keys: tuple[str, ...]
    call: int | None = None

    @property
    def channel(self) -> str:
        call = "" if self.call is None else f"tool_calls[{self.call}]."
        return f"choices[{self.choice}].message.{call}{'.'.join(self.keys)}".replace(".[", "[")

    def delta(self, text: str) -> dict[str, Any]:
        """A delta with another text and nothing else."""
        value: Any = text
        for key in reversed(self.keys):
            value = [{"type": key[1:-1], **value}] if key.startswith("[") else {key: value}
        made: dict[str, Any] = value if self.call is None else {"tool_calls": [{"index": self.call, **value}]}
        return made

    @property
    def delta_path(self) -> Path:
        """Where the text stands in such a delta's chunk."""
        call = () if self.call is None else ("tool_calls", 0)
        return ("choices", 0, "delta", *call, *(0 if key.startswith("[") else key for key in self.keys))


class ChatStreamReader(StreamReader):
    """Reads chunks. With `hides_usage` the usage that the gateway asked for itself is kept from the client."""

    def __init__(self, *, hides_usage: bool = False) -> None:
        super().__init__()
        self._hides_usage = hides_usage
        self._head: dict[str, Any] = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": ""}
        self._unfinished: dict[int, None] = {}
        self._finished: set[int] = set()
        self._begun: dict[str, _Piece] = {}

    def read(self, event: ServerEvent) -> list[Frame]:
        """See StreamReader."""
        name, data = event
        return [frame for part in _apart(data) for frame in self._read(name, part)]

    def _read(self, name: str | None, data: dict[str, Any] | None) -> list[Frame]:
        if data is None:
            self.is_finished = True
            return [Frame(name, None, ends=self._over(list(self.open)))]
        self.usage = usage_of(Dialect.CHAT, data) or self.usage
        if self._hides_usage and "usage" in data:
            data = {key: value for key, value in data.items() if key != "usage"}
            if data.get("choices") == []:
                return []
        choices = data.get("choices")
        if not isinstance(choices, list):
            return [Frame(name, data, whole=response_positions(Dialect.CHAT, data))]
        for key in self._head:
            self._head[key] = data.get(key, self._head[key])
        pieces = list(_pieces(choices))
        finishing = [choice for choice in choices if isinstance(choice, dict) and choice.get("finish_reason")]
        for choice in choices:
            if isinstance(choice, dict) and index_of(choice) not in self._finished:
                self._unfinished[index_of(choice)] = None
        overtaken = self._overtaken(choices)
        for piece in pieces:
            self.open[piece.channel] = piece.kind
            self._begun[piece.channel] = piece
        frames = self._frames(name, data, pieces, finishing)
        frames[0].overtakes = overtaken
        return frames

    def _overtaken(self, choices: list[Any]) -> list[str]:
        """The arguments of calls beside which another call goes on."""
        overtaken = []
        for channel, kind in self.open.items():
            begun = self._begun[channel]
            if kind is Kind.JSON and begun.call is not None:
                going = next(
                    (_call_indexes(c) for c in choices if isinstance(c, dict) and index_of(c) == begun.choice), []
                )
                if going and begun.call not in going:
                    overtaken.append(channel)
        return overtaken

    def _frames(
        self, name: str | None, data: dict[str, Any], pieces: list[_Piece], finishing: list[dict[str, Any]]
    ) -> list[Frame]:
        first = data
        if len(pieces) > 1:
            first = rewrite(first, [(piece.path, "") for piece in pieces[1:]])
        last: Frame | None = None
        if finishing and pieces:  # the end must not overtake what is held back
            last = Frame(name, self._chunk([_end(index_of(c), c["finish_reason"]) for c in finishing]))
            last.ends = self._ended(finishing)
            if last.data is not None and "usage" in data:
                last.data["usage"] = data["usage"]
            later = [("choices", at, "finish_reason") for at, c in enumerate(data["choices"]) if c in finishing]
            first = rewrite(first, [(path, None) for path in later])
            first = {key: value for key, value in first.items() if key != "usage"}
        whole = () if _is_plain(data) else response_positions(Dialect.CHAT, _without(first, pieces[:1]))
        if not pieces:
            return [Frame(name, _without_logprobs(first), whole=whole, ends=self._ended(finishing))]
        lead = pieces[0]
        frame = Frame(name, first, lead.channel, lead.text, lead.kind, lead.path, whole=whole)
        frame.is_only_text = len(pieces) == 1 and "usage" not in first and _tells_only(lead, data)
        at = lead.path[:2]
        if first["choices"][at[1]].get("logprobs") is not None:
            frame.logprobs = ((*at, "logprobs"), None)
        frames = [frame]
        for piece in pieces[1:]:
            _, chunk = self.flush(piece.channel, piece.text)
            frames.append(
                Frame(name, chunk, piece.channel, piece.text, piece.kind, piece.delta_path, is_only_text=True)
            )
        return [*frames, last] if last is not None else frames

    def _ended(self, finishing: list[dict[str, Any]]) -> tuple[str, ...]:
        prefixes = tuple(f"choices[{index_of(choice)}]." for choice in finishing)
        return self._over([channel for channel in self.open if channel.startswith(prefixes)]) if prefixes else ()

    def emit(self, frame: Frame, text: str | None = None) -> ServerEvent:
        """See StreamReader."""
        if frame.data is not None:  # a choice is finished when its client is told so, not before
            choices = frame.data.get("choices")
            for choice in choices if isinstance(choices, list) else ():
                if isinstance(choice, dict) and choice.get("finish_reason"):
                    self._unfinished.pop(index_of(choice), None)
                    self._finished.add(index_of(choice))
        return super().emit(frame, text)

    def flush(self, channel: str, text: str) -> ServerEvent:
        """See StreamReader."""
        piece = self._begun[channel]
        return None, self._chunk([{"index": piece.choice, "delta": piece.delta(text), "finish_reason": None}])

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "choices": choices}

    def cut(self, reason: CutReason, usage: TokenUsage | None = None) -> list[ServerEvent]:
        """See StreamReader."""
        indexes = list(self._unfinished) or ([] if self._finished else [0])
        events: list[ServerEvent] = [(None, self._chunk([_end(index, _FINISH[reason])])) for index in indexes]
        if usage is not None and not self._hides_usage:
            events.append((None, {**self._chunk([]), "usage": usage_object(Dialect.CHAT, usage)}))
        return [*events, (None, None)]


def _call_indexes(choice: dict[str, Any]) -> list[int]:
    """The tool calls that a choice's delta says something of."""
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    return [_call_index(call, at) for at, call in enumerate(calls or ()) if isinstance(call, dict)]


def _call_index(call: dict[str, Any], at: int) -> int:
    index = call.get("index")
    return index if isinstance(index, int) else at


def _apart(data: dict[str, Any] | None) -> list[dict[str, Any] | None]:
    """A chunk that tells several tool calls (as servers do that know them whole) as a chunk for each, so that the
    arguments of one go out before the next begins."""
    choices = data.get("choices") if data is not None else None
    choice: Any = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    delta: Any = choice.get("delta") if isinstance(choice, dict) else None
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    if data is None or choice is None or delta is None or not isinstance(calls, list) or len(calls) < 2:
        return [data]
    if not all(isinstance(call, dict) for call in calls):
        return [data]
    ones = [[{**call, "index": _call_index(call, at)}] for at, call in enumerate(calls)]
    first = {**data, "choices": [{**choice, "delta": {**delta, "tool_calls": ones[0]}, "finish_reason": None}]}
    head: dict[str, Any] = {key: data[key] for key in _HEAD if key in data}
    later: list[dict[str, Any] | None] = [
        {**head, "choices": [{"index": index_of(choice), "delta": {"tool_calls": one}, "finish_reason": None}]}
        for one in ones[1:]
    ]
    last = later[-1]
    if last is not None:
        last["choices"][0]["finish_reason"] = choice.get("finish_reason")
        if "usage" in first:
            last["usage"] = first.pop("usage")
    return [first, *later]


def _end(index: int, finish_reason: str) -> dict[str, Any]:
    return {"index": index, "delta": {}, "finish_reason": finish_reason}


def _pieces(choices: list[Any]) -> Iterator[_Piece]:
    """Every piece of streamed text of a chunk, known or not: any string in a delta is one, but the role."""
    for at, choice in enumerate(choices):
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            continue
        index, path = index_of(choice), ("choices", at, "delta")
        for key, value in delta.items():
            if isinstance(value, str) and value and key != "role":
                yield _Piece((*path, key), value, Kind.TEXT, index, (key,))
            elif key in _NESTED and isinstance(value, dict):
                inner, kind = _NESTED[key]
                if isinstance(text := value.get(inner), str) and text:
                    yield _Piece((*path, key, inner), text, kind, index, (key, inner))
            elif key == "tool_calls" and isinstance(value, list):
                yield from _call_pieces(value, index, (*path, key))
            elif key == "content" and isinstance(value, list):
                yield from _part_pieces(value, index, (*path, key), (key,))


def _part_pieces(parts: list[Any], choice: int, path: Path, keys: tuple[str, ...]) -> Iterator[_Piece]:
    """Content in parts, thinking among them whose own content is in parts (Mistral)."""
    for at, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if kind in _PARTS else None
        below, here = (*keys, f"[{kind}]", str(kind)), (*path, at, str(kind))
        if isinstance(value, str) and value:
            yield _Piece(here, value, Kind.TEXT, choice, below)
        elif isinstance(value, list) and len(keys) == 1:
            yield from _part_pieces(value, choice, here, below)


def _call_pieces(calls: list[Any], choice: int, path: Path) -> Iterator[_Piece]:
    for at, call in enumerate(calls):
        if not isinstance(call, dict):
            continue
        index = _call_index(call, at)
        for key, (inner, kind) in _CALLS.items():
            holder = call.get(key)
            if isinstance(holder, dict) and isinstance(text := holder.get(inner), str) and text:
                yield _Piece((*path, at, key, inner), text, kind, choice, (key, inner), index)


def _without(data: dict[str, Any], pieces: list[_Piece]) -> dict[str, Any]:
    without: dict[str, Any] = rewrite(data, [(piece.path, "") for piece in pieces])
    return without


def _without_logprobs(data: dict[str, Any]) -> dict[str, Any]:
    """Token probabilities that come without their text spell out one that is still held back, or was masked."""
    told: list[tuple[Path, Any]] = [
        (("choices", at, "logprobs"), None)
        for at, choice in enumerate(data["choices"])
        if isinstance(choice, dict) and choice.get("logprobs") is not None
    ]
    without: dict[str, Any] = rewrite(data, told)
    return without


def _tells_only(piece: _Piece, data: dict[str, Any]) -> bool:
    """Whether the chunk holds this text and nothing else that a client needs."""
    choice = data["choices"][piece.path[1]]
    delta = choice["delta"]
    if len(data["choices"]) > 1 or len(delta) > 1 or set(choice) - _PLAIN_CHOICE or set(data) - _PLAIN_CHUNK:
        return False
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        call = calls[0]
        return len(calls) == 1 and call.keys() <= {"index", *_CALLS} and len(call.get("function") or "x") == 1
    return all(isinstance(value, str) or (isinstance(value, dict) and len(value) == 1) for value in delta.values())


def _is_plain(data: dict[str, Any]) -> bool:
    """Whether the chunk holds nothing but what is known to be structure or streamed text (which is most of them)."""
    if not data.keys() <= _PLAIN_CHUNK:
        return False
    for choice in data["choices"]:
        if not isinstance(choice, dict) or not choice.keys() <= _PLAIN_CHOICE:
            return False
        delta = choice.get("delta")
        if not isinstance(delta, dict) or not delta.keys() <= _PLAIN_DELTA:
            return False
        if not all(_is_text_or_none(delta.get(key)) for key in _PLAIN_TEXTS):
            return False
        if any(delta.get(key) is not None for key in ("tool_calls", "function_call")) and not _are_plain_calls(delta):
            return False
    return True


def _are_plain_calls(delta: dict[str, Any]) -> bool:
    calls = delta.get("tool_calls")
    return (
        delta.get("function_call") is None
        and isinstance(calls, list)
        and all(
            isinstance(call, dict)
            and call.keys() <= _PLAIN_CALL
            and isinstance(call.get("function"), dict)
            and call["function"].keys() <= {"name", "arguments"}
            and _is_text_or_none(call["function"].get("arguments"))
            for call in calls
        )
    )


def _is_text_or_none(value: object) -> bool:
    """Whether a value is a streamed text where it is anything: some servers put a list or an object in its place."""
    return value is None or isinstance(value, str)
