"""Chat chunks as the events of a Responses stream."""

from __future__ import annotations

from typing import Any

import msgspec

from bailiwick.invocations.dialects.answers import call_item, message_item, reasoning_of, response_object, said_in
from bailiwick.invocations.dialects.call_keys import CallKeys
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.reading import Json
from bailiwick.invocations.dialects.server_events import ServerEvent
from bailiwick.invocations.dialects.stream_translation import StreamTranslator
from bailiwick.invocations.dialects.usage import TokenUsage, usage_of

_TEXTS = {"content": ("output_text", "text"), "refusal": ("refusal", "refusal")}


class _Item(msgspec.Struct):
    index: int
    item: Json
    parts: list[Json] = []
    """Content parts of a message or of reasoning."""
    field: str = ""
    """Where a call's arguments or input stand."""

    @property
    def place(self) -> Json:
        return {"item_id": self.item["id"], "output_index": self.index}


class ChatToResponsesStream(StreamTranslator):
    """`request` is the client's, which a response repeats in part; `created` the time of the call in Unix seconds."""

    def __init__(self, request: Json, *, created: int) -> None:
        self._request = request
        self._created = created
        self._name = "0"
        self._model: object = ""
        self._is_started = False
        self._keys = CallKeys()
        self._items: dict[str, _Item] = {}
        self._finish: object = None
        self._usage: TokenUsage | None = None
        self._sequence = 0

    def feed(self, event: ServerEvent) -> list[ServerEvent]:
        """See StreamTranslator."""
        _, data = event
        out: list[ServerEvent] = []
        if data is None:
            if self._is_started:
                self._end(out)
            return out
        if "error" in data:
            error = data["error"] if isinstance(data["error"], dict) else {}
            code, message = error.get("code") or "server_error", error.get("message") or "The provider failed."
            self._add(out, "error", code=str(code), message=str(message), param=None)
            return out
        self._usage = usage_of(Dialect.CHAT, data) or self._usage
        if not self._is_started:
            self._is_started = True
            self._name, self._model = str(data.get("id") or "0"), data.get("model")
            for kind in ("response.created", "response.in_progress"):
                self._add(out, kind, response=self._response(status="in_progress"))
        choices = data.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                delta = choice.get("delta")
                self._delta(delta if isinstance(delta, dict) else {}, out)
                self._finish = choice.get("finish_reason") or self._finish
        return out

    def _response(self, **more: Any) -> Json:
        output = [entry.item for entry in self._items.values()]
        return response_object(
            self._name,
            self._model,
            self._request,
            created=self._created,
            finish=self._finish,
            output=output,
            usage=self._usage,
            **more,
        )

    def _add(self, out: list[ServerEvent], kind: str, **data: Any) -> None:
        out.append((kind, {"type": kind, "sequence_number": self._sequence, **data}))
        self._sequence += 1

    def _delta(self, delta: Json, out: list[ServerEvent]) -> None:
        if thought := reasoning_of(delta):
            self._text("reasoning_text", "text", thought, out)
        for key, (about, field) in _TEXTS.items():
            if text := said_in(delta, key):
                self._text(about, field, text, out)
        calls = delta.get("tool_calls")
        for at, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict):
                self._call(self._keys.of(call, at), call, out)

    def _text(self, about: str, field: str, text: str, out: list[ServerEvent]) -> None:
        is_reasoning = about == "reasoning_text"
        key = "reasoning" if is_reasoning else "message"
        entry = self._items.get(key)
        if entry is None:
            item = message_item(self._name, "in_progress")
            if is_reasoning:
                item = {"type": "reasoning", "id": f"rs_{self._name}", "summary": [], "content": []}
            entry = self._begin(key, item, out)
        at = next((at for at, part in enumerate(entry.parts) if part["type"] == about), len(entry.parts))
        if at == len(entry.parts):
            part: Json = {"type": about, field: ""}
            if about == "output_text":
                part |= {"annotations": [], "logprobs": []}
            entry.parts.append(part)
            self._add(out, "response.content_part.added", **entry.place, content_index=at, part=dict(part))
        entry.parts[at][field] += text
        more: Json = {"logprobs": []} if about == "output_text" else {}
        self._add(out, f"response.{about}.delta", **entry.place, content_index=at, delta=text, **more)

    def _call(self, key: str, call: Json, out: list[ServerEvent]) -> None:
        entry = self._items.get(key)
        if entry is None:
            item = call_item(self._name, len(self._items), call, "in_progress")
            field = "input" if item["type"] == "custom_tool_call" else "arguments"
            entry = self._begin(key, {**item, field: ""}, out)
            entry.field = field
        inner = call.get("custom" if entry.field == "input" else "function")
        text = inner.get(entry.field) if isinstance(inner, dict) else None
        if isinstance(text, str) and text:
            entry.item[entry.field] += text
            self._add(out, f"response.{_about(entry)}.delta", **entry.place, delta=text)

    def _begin(self, key: str, item: Json, out: list[ServerEvent]) -> _Item:
        entry = self._items[key] = _Item(len(self._items), item)
        self._add(out, "response.output_item.added", output_index=entry.index, item=dict(item))
        return entry

    def _end(self, out: list[ServerEvent]) -> None:
        is_whole = self._finish not in ("length", "content_filter")
        for entry in self._items.values():
            for at, part in enumerate(entry.parts):
                place = {**entry.place, "content_index": at}
                field = "refusal" if part["type"] == "refusal" else "text"
                more: Json = {"logprobs": []} if part["type"] == "output_text" else {}
                self._add(out, f"response.{part['type']}.done", **place, **{field: part[field]}, **more)
                self._add(out, "response.content_part.done", **place, part=part)
            if entry.parts:
                entry.item = {**entry.item, "content": entry.parts}
            if entry.field:
                value = {entry.field: entry.item[entry.field]}
                if entry.field == "arguments":
                    value["name"] = entry.item["name"]
                self._add(out, f"response.{_about(entry)}.done", **entry.place, **value)
            if "status" in entry.item:
                entry.item = {**entry.item, "status": "completed" if is_whole else "incomplete"}
            self._add(out, "response.output_item.done", output_index=entry.index, item=entry.item)
        kind = "response.completed" if is_whole else "response.incomplete"
        self._add(out, kind, response=self._response())


def _about(entry: _Item) -> str:
    return "custom_tool_call_input" if entry.field == "input" else "function_call_arguments"
