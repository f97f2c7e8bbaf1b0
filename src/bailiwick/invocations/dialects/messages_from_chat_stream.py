"""Chat chunks as Anthropic's events."""

from __future__ import annotations

from bailiwick.invocations.dialects.answers import INVALID, said_in, stop_reason, tool_input
from bailiwick.invocations.dialects.argument_text import ArgumentText
from bailiwick.invocations.dialects.call_keys import CallKeys
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.provider_errors import translate_error
from bailiwick.invocations.dialects.reading import Json, arguments_text, index_of, object_in, objects_in
from bailiwick.invocations.dialects.server_events import ServerEvent, StreamUnreadable
from bailiwick.invocations.dialects.stream_translation import StreamTranslator
from bailiwick.invocations.dialects.usage import TokenUsage, usage_object, usage_of


class _Block:
    """A text, or a tool call."""

    def __init__(self, begun: Json) -> None:
        self.begun = begun
        """As its first event tells it."""
        self.is_call = begun["type"] == "tool_use"
        self.arguments = ArgumentText()
        """Of a call: what has come of it."""
        self.held = ""
        """Of a text: what has come while another block is open."""

    @property
    def is_over(self) -> bool:
        """Whether another block may begin: a text goes on in a further one, arguments cannot."""
        return not self.is_call or self.arguments.is_whole

    def input_text(self, finish: object) -> str:
        """A call's arguments, as a whole answer would tell them; those that the bound of the answer cut off as they
        are."""
        raw = str(self.arguments)
        is_cut = finish == "length" and not self.arguments.is_whole
        return raw if is_cut or INVALID not in (made := tool_input(raw)) else arguments_text(made)


class ChatToMessagesStream(StreamTranslator):
    """Blocks of a message come one after the other, while the calls of a chat may come beside each other: what comes
    beside a call whose arguments are not complete is held back until they are, at the latest until the end. Arguments
    are told when they are complete, as they go no further before in any case (`StreamRelay`). All that is held back is
    as bounded as the answer.

    A chat tells its usage last: the first event says 0 and the last one all.
    """

    def __init__(self) -> None:
        self._is_started = False
        self._keys = CallKeys()
        self._open: str | None = None
        """The text or tool call whose block is open, which is the first of `_blocks`."""
        self._blocks: dict[str, _Block] = {}
        """What is open, then what waits for it to be over."""
        self._called: set[str] = set()
        """The calls that are over."""
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
        for choice in objects_in(data.get("choices")):
            if index_of(choice) == 0:
                self._delta(object_in(choice, "delta"), out)
                self._finish = choice.get("finish_reason") or self._finish
        return out

    def _begin(self, data: Json) -> ServerEvent:
        message: Json = {"id": data.get("id") or "msg_0", "type": "message", "role": "assistant", "content": []}
        message |= {"model": data.get("model") or "", "stop_reason": None, "stop_sequence": None}
        return _named({"type": "message_start", "message": {**message, "usage": _usage(TokenUsage())}})

    def _delta(self, delta: Json, out: list[ServerEvent]) -> None:
        for key in ("content", "refusal"):
            if text := said_in(delta, key):
                self._is_refused = self._is_refused or key == "refusal"
                self._piece(key, {"type": "text", "text": ""}, text, out)
        for at, call in enumerate(objects_in(delta.get("tool_calls"))):
            name, function = self._keys.of(call, at), object_in(call, "function")
            arguments = function.get("arguments")
            used: Json = {"id": call.get("id"), "name": function.get("name"), "input": {}}
            self._piece(name, {"type": "tool_use", **used}, arguments if isinstance(arguments, str) else "", out)

    def _piece(self, name: str, begun: Json, text: str, out: list[ServerEvent]) -> None:
        if name in self._called:
            if text.strip():
                raise StreamUnreadable  # arguments that go on after their end
            return
        block = self._blocks.get(name)
        if block is None:
            block = self._blocks[name] = _Block(begun)
        if block.is_call:
            block.arguments.add(text)
        elif name == self._open:
            out.append(self._block_delta({"type": "text_delta", "text": text}))
        else:
            block.held += text
        self._advance(out)

    def _advance(self, out: list[ServerEvent], *, is_ending: bool = False) -> None:
        """Closes what is over and opens what waits, as long as something does."""
        while self._blocks and (self._open is None or len(self._blocks) > 1):
            if self._open is not None:
                if not (is_ending or self._blocks[self._open].is_over):
                    return
                self._close(out)
            self._open, block = next(iter(self._blocks.items()))
            out.append(_named({"type": "content_block_start", "index": self._count, "content_block": block.begun}))
            self._count += 1
            if block.held:
                out.append(self._block_delta({"type": "text_delta", "text": block.held}))

    def _block_delta(self, delta: Json) -> ServerEvent:
        return _named({"type": "content_block_delta", "index": self._count - 1, "delta": delta})

    def _close(self, out: list[ServerEvent]) -> None:
        if self._open is None:
            return
        block = self._blocks.pop(self._open)
        if block.is_call:
            self._called.add(self._open)
            if text := block.input_text(self._finish):
                out.append(self._block_delta({"type": "input_json_delta", "partial_json": text}))
        self._open = None
        out.append(_named({"type": "content_block_stop", "index": self._count - 1}))

    def _end(self) -> list[ServerEvent]:
        out: list[ServerEvent] = []
        self._advance(out, is_ending=True)
        self._close(out)
        reason = "refusal" if self._is_refused else stop_reason(self._finish, has_calls=bool(self._called))
        delta = {"stop_reason": reason, "stop_sequence": None}
        out.append(_named({"type": "message_delta", "delta": delta, "usage": _usage(self._usage)}))
        out.append(_named({"type": "message_stop"}))
        return out


def _usage(usage: TokenUsage) -> Json:
    return usage_object(Dialect.MESSAGES, usage)


def _named(data: Json) -> ServerEvent:
    return data["type"], data
