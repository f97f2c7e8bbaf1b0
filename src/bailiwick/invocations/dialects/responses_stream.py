"""Streams of OpenAI Responses: named events with a sequence number; the last ones tell the whole answer once more.

A text comes in `.delta` events, then in its `.done` event, in that of its part, in that of its item and in the final
`response.completed`. All four repeat what went out, not what came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bailiwick.invocations.dialects.answers import response_object
from bailiwick.invocations.dialects.frames import CutReason, Frame, Kind, Repeat, StreamReader
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.positions import response_positions
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.usage import TokenUsage, usage_object, usage_of
from bailiwick.invocations.dialects.walk import Path, rewrite

_INCOMPLETE: Final = {CutReason.LIMIT: "max_output_tokens", CutReason.POLICY: "content_filter"}
_FINAL: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PART_EVENTS: Final = frozenset(
    {
        *("response.content_part.added", "response.content_part.done"),
        *("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
    }
)
# The field that a `.done` event, or the item, has the whole text in, by what its deltas are named.
_DONE_FIELDS: Final = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "text",
    "reasoning_summary_text": "text",
    "function_call_arguments": "arguments",
    "mcp_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "code_interpreter_call_code": "code",
    "audio.transcript": "transcript",
}
_JSON: Final = frozenset({"function_call_arguments", "mcp_call_arguments"})
_BINARY: Final = frozenset({"response.audio.delta"})


class ResponsesStreamReader(StreamReader):
    """Reads the events of one response."""

    def __init__(self) -> None:
        super().__init__()
        self._response = response_object("0", "", {}, created=0, finish=None, output=[], usage=None)
        self._sequence = 0
        self._sent: dict[str, list[str]] = {}
        self._samples: dict[str, dict[str, Any]] = {}
        self._indexes: dict[str, int] = {}
        self._items: dict[int, dict[str, Any]] = {}
        self._done: set[int] = set()

    def read(self, event: ServerEvent) -> list[Frame]:
        """See StreamReader."""
        name, data = event
        if data is None:
            return []
        kind = data.get("type")
        kind = kind if isinstance(kind, str) else ""
        about = kind.removeprefix("response.")
        if kind.endswith(".delta") and isinstance(data.get("delta"), str) and kind not in _BINARY:
            return [self._delta(name, data, about.removesuffix(".delta"))]
        if kind in _PART_EVENTS:
            return [self._part(name, data, kind)]
        ends: tuple[str, ...] = ()
        repeats: list[Repeat] = []
        if kind.endswith(".done") and about.removesuffix(".done") in _DONE_FIELDS:
            text = about.removesuffix(".done")
            channel = _channel(data, text)
            ends, repeats = self._over([channel]), [_repeat((_DONE_FIELDS[text],), channel, data)]
        elif kind in ("response.output_item.added", "response.output_item.done"):
            ends, repeats = self._item(data, is_done=kind.endswith("done"))
        elif isinstance(response := data.get("response"), dict):
            self.usage = usage_of(Dialect.RESPONSES, response) or self.usage
            if kind in _FINAL:
                self.is_finished = True
                ends, repeats = self._over(list(self.open)), list(self._repeats_of_output(response))
        return [self._with_repeats(Frame(name, data, ends=ends), repeats)]

    def _delta(self, name: str | None, data: dict[str, Any], about: str) -> Frame:
        channel, text = _channel(data, about), data["delta"]
        self.open[channel] = kind = Kind.JSON if about in _JSON else Kind.TEXT
        self._samples[channel] = {**data, "delta": ""}
        frame = Frame(name, data, channel, text, kind, ("delta",), is_only_text=True)
        if "logprobs" in data:
            frame.logprobs = (("logprobs",), [])
        return frame

    def _part(self, name: str | None, data: dict[str, Any], kind: str) -> Frame:
        """A part that begins, or one that is over and repeats its text."""
        part = data.get("part")
        part = part if isinstance(part, dict) else {}
        is_summary = "summary" in kind
        key = "refusal" if part.get("type") == "refusal" else "text"
        about = "reasoning_summary_text" if is_summary else _about_part(part)
        channel, text = _channel(data, about), part.get(key)
        if kind.endswith(".done"):
            repeat = _repeat(("part", key), channel, part, holder=("part",))
            return self._with_repeats(Frame(name, data, ends=self._over([channel])), [repeat])
        if not isinstance(text, str) or not text:
            return self._with_repeats(Frame(name, data), [])
        self.open[channel] = Kind.TEXT
        self._samples[channel] = _sample(data, about)
        whole = response_positions(Dialect.RESPONSES, rewrite(data, [(("part", key), "")]))
        return Frame(name, data, channel, text, path=("part", key), whole=whole)

    def _item(self, data: dict[str, Any], *, is_done: bool) -> tuple[tuple[str, ...], list[Repeat]]:
        index, item = _number(data, "output_index"), data.get("item")
        if not isinstance(item, dict):
            return (), []
        if isinstance(item.get("id"), str):
            self._indexes[item["id"]] = index
        if not is_done:
            self._items.setdefault(index, {})
            return (), []
        prefix = f"output[{index}]."
        ends = self._over([channel for channel in self.open if channel.startswith(prefix)])
        return ends, list(_repeats_of_item(item, index, ("item",)))

    def _repeats_of_output(self, response: dict[str, Any]) -> Iterator[Repeat]:
        output = response.get("output")
        for at, item in enumerate(output if isinstance(output, list) else []):
            if isinstance(item, dict):
                name = item.get("id")
                index = self._indexes.get(name, at) if isinstance(name, str) else at
                yield from _repeats_of_item(item, index, ("response", "output", at))

    def _with_repeats(self, frame: Frame, repeats: list[Repeat]) -> Frame:
        """Texts that were streamed are repeated; those that were not are whole."""
        known = [repeat for repeat in repeats if repeat.channel in self._samples]
        blank = rewrite(frame.data, [(repeat.path, "") for repeat in known])
        frame.repeats, frame.whole = known, response_positions(Dialect.RESPONSES, blank)
        return frame

    def emit(self, frame: Frame, text: str | None = None) -> ServerEvent:
        """See StreamReader."""
        if frame.channel is not None:
            text = frame.text if text is None else text
            self._sent.setdefault(frame.channel, []).append(text)
            return self._numbered(*frame.with_text(text))
        changes: list[tuple[Path, Any]] = []
        for repeat in frame.repeats:
            sent = "".join(self._sent.get(repeat.channel, ()))
            changes.append((repeat.path, sent))
            if repeat.logprobs is not None and sent != _at(frame.data, repeat.path):
                changes.append((repeat.logprobs, []))
        data = rewrite(frame.data, changes)
        if isinstance(data, dict) and isinstance(item := data.get("item"), dict):
            self._items[_number(data, "output_index")] = item
            if data.get("type") == "response.output_item.done":
                self._done.add(_number(data, "output_index"))
        elif isinstance(data, dict) and isinstance(response := data.get("response"), dict):
            self._response = {**response, "output": []}
        return self._numbered(frame.event, data)

    def flush(self, channel: str, text: str) -> ServerEvent:
        """See StreamReader."""
        self._sent.setdefault(channel, []).append(text)
        sample = {**self._samples[channel], "delta": text}
        if "logprobs" in sample:
            sample["logprobs"] = []
        return self._numbered(sample["type"], sample)

    def cut(self, reason: CutReason, usage: TokenUsage | None = None) -> list[ServerEvent]:
        """See StreamReader."""
        events: list[ServerEvent] = []
        for index, item in sorted(self._items.items()):
            if index not in self._done:
                ended = self._items[index] = self._as_sent(index, item)
                done: dict[str, Any] = {"type": "response.output_item.done", "output_index": index, "item": ended}
                events.append(self._numbered(done["type"], {**done, "sequence_number": 0}))
        counts = usage or self.usage
        response = {
            **self._response,
            "status": "incomplete",
            "error": None,
            "incomplete_details": {"reason": _INCOMPLETE[reason]},
            "output": [item for _, item in sorted(self._items.items())],
            "usage": None if counts is None else usage_object(Dialect.RESPONSES, counts),
        }
        final = {"type": "response.incomplete", "response": response, "sequence_number": 0}
        return [*events, self._numbered("response.incomplete", final)]

    def _as_sent(self, index: int, item: dict[str, Any]) -> dict[str, Any]:
        """An item in the middle, with what has gone out of it."""
        ended = {**item, "status": "incomplete"}
        content: list[dict[str, Any]] = []
        for channel, pieces in self._sent.items():
            if not channel.startswith(f"output[{index}]."):
                continue
            sample, text = self._samples[channel], "".join(pieces)
            about = sample["type"].removeprefix("response.").removesuffix(".delta")
            if about == "output_text":
                content.append({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            elif about == "refusal":
                content.append({"type": "refusal", "refusal": text})
            elif about == "reasoning_text":
                content.append({"type": "reasoning_text", "text": text})
            elif about == "reasoning_summary_text":
                ended["summary"] = [*(ended.get("summary") or []), {"type": "summary_text", "text": text}]
            elif about in _DONE_FIELDS:
                ended[_DONE_FIELDS[about]] = text
        if content:
            ended["content"] = content
        return ended

    def _numbered(self, name: str | None, data: dict[str, Any] | None) -> ServerEvent:
        """Events are counted anew, as some are added and some left out."""
        if data is None or "sequence_number" not in data:
            return name, data
        numbered = {**data, "sequence_number": self._sequence}
        self._sequence += 1
        return name, numbered


def _number(data: dict[str, Any], key: str) -> int:
    value = data.get(key)
    return value if isinstance(value, int) else 0


def _about_part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    return kind if kind in ("refusal", "reasoning_text") else "output_text"


def _channel(data: dict[str, Any], about: str) -> str:
    """The name of a text by the indexes of its event. A channel is one part, or one field of an item."""
    item = f"output[{_number(data, 'output_index')}]"
    if about == "reasoning_summary_text":
        return f"{item}.summary[{_number(data, 'summary_index')}].text"
    if about in ("output_text", "refusal", "reasoning_text"):
        return f"{item}.content[{_number(data, 'content_index')}].{_DONE_FIELDS[about]}"
    return f"{item}.{_DONE_FIELDS.get(about, about)}"


def _sample(part_event: dict[str, Any], about: str) -> dict[str, Any]:
    """A delta of the part that this event begins."""
    sample = {key: value for key, value in part_event.items() if key != "part"}
    return {**sample, "type": f"response.{about}.delta", "delta": ""}


def _repeat(path: Path, channel: str, beside: dict[str, Any], *, holder: Path = ()) -> Repeat:
    return Repeat(path, channel, (*holder, "logprobs") if "logprobs" in beside else None)


def _repeats_of_item(item: dict[str, Any], index: int, path: Path) -> Iterator[Repeat]:
    """The places of an item that repeat streamed texts."""
    base = f"output[{index}]"
    for key in ("content", "summary"):
        parts = item.get(key)
        for at, part in enumerate(parts if isinstance(parts, list) else []):
            if not isinstance(part, dict):
                continue
            text = "refusal" if part.get("type") == "refusal" else "text"
            if text in part:
                here = (*path, key, at)
                yield _repeat((*here, text), f"{base}.{key}[{at}].{text}", part, holder=here)
    for field in ("arguments", "input", "code"):
        if field in item:
            yield Repeat((*path, field), f"{base}.{field}")


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data
