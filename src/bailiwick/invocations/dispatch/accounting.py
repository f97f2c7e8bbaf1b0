"""What a call has used, from what its provider tells or, until it does, from what went over the wire."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import msgspec

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import (
    ORDINARY,
    Dialect,
    PriceModes,
    ServerEvent,
    TokenUsage,
    modes_told,
    usage_of,
)
from bailiwick.invocations.prices import cost_micros, most_tokens, price_factor, worst_factor
from bailiwick.invocations.requests import Usage

_NO_TEXT: Final = frozenset({"role", "type", "id", "signature", "finish_reason"})
_DELTAS: Final = {"content_block_delta": "delta", "content_block_start": "content_block"}


def count(deployment: Deployment, usage: Usage, told: TokenUsage) -> None:
    """Notes what the provider tells."""
    usage.provider, usage.model = deployment.provider, deployment.model
    usage.input_tokens, usage.output_tokens = told.input, told.output
    usage.cached_tokens, usage.reasoning_tokens = told.cached_input or None, told.reasoning or None
    cost = partial(
        cost_micros,
        deployment,
        told.input,
        told.output,
        cache_write=told.cache_write,
        hour_cache_write=told.hour_cache_write,
        reasoning=told.reasoning,
        factor=price_factor(deployment, told.modes),
    )
    usage.cost_micros = cost(cached_input=told.cached_input)
    if told.cached_input:
        undiscounted = cost()
        usage.raw_cost_micros = undiscounted if undiscounted > usage.cost_micros else None
    usage.is_estimate = False


def estimate(
    deployment: Deployment, usage: Usage, input_tokens: int, output_tokens: int, modes: PriceModes = ORDINARY
) -> None:
    """Notes an upper bound for a request that asks for `modes`."""
    usage.provider, usage.model = deployment.provider, deployment.model
    usage.input_tokens, usage.output_tokens = input_tokens, output_tokens
    usage.cached_tokens = usage.reasoning_tokens = None
    usage.cost_micros = cost_micros(deployment, input_tokens, output_tokens, factor=worst_factor(deployment, modes))
    usage.is_estimate = True


class StreamAccount:
    """The account of one stream, whose events come in the provider's dialect.

    An answer is counted by its bytes until its provider tells the tokens: a token has at least one. (What a model
    thinks without showing it is not on the wire, and counts once the provider tells it.)
    """

    def __init__(
        self,
        deployment: Deployment,
        dialect: Dialect,
        usage: Usage,
        *,
        input_tokens: int,
        most_output_tokens: int,
        modes: PriceModes = ORDINARY,
    ) -> None:
        self._deployment = deployment
        self._dialect = dialect
        self._usage = usage
        self._input_tokens = input_tokens
        self._most_output_tokens = most_output_tokens
        self._modes_asked = modes
        self._modes_told = ORDINARY
        self._told: TokenUsage | None = None
        self.received = 0
        """Bytes of text that came so far."""
        self.is_complete = False
        """Whether the model has said that its answer is complete."""
        self.is_over = False
        """Whether nothing may follow."""
        estimate(deployment, usage, input_tokens, 0, modes)

    def note(self, events: Iterable[ServerEvent]) -> None:
        """Takes the next events; the usage is current afterwards."""
        for name, data in events:
            if data is None:
                self.is_complete = self.is_over = True
            elif self._dialect is Dialect.CHAT:
                self._chat(data)
            elif self._dialect is Dialect.MESSAGES:
                self._messages(data)
            else:
                self._responses(name, data)
        told = self._told
        if told is not None and (told.output or self._dialect is not Dialect.MESSAGES):
            count(self._deployment, self._usage, told)
        else:  # Anthropic tells the input at once and the output at the end
            input_tokens = told.input if told is not None and told.input else self._input_tokens
            output_tokens = min(self.received, self._most_output_tokens)
            estimate(self._deployment, self._usage, input_tokens, output_tokens, self._modes_asked)

    def _chat(self, data: dict[str, Any]) -> None:
        self._modes_told |= modes_told(Dialect.CHAT, data)  # the chunk with the usage need not repeat it
        told = usage_of(Dialect.CHAT, data) or self._told
        self._told = told and msgspec.structs.replace(told, modes=self._modes_told)
        choices = data.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self.received += _text_bytes(choice.get("delta"))
                if choice.get("finish_reason") is not None:
                    self.is_complete = True

    def _messages(self, data: dict[str, Any]) -> None:
        kind = data.get("type")
        if kind in _DELTAS:
            self.received += _text_bytes(data.get(_DELTAS[kind]))
        elif kind == "message_start":
            told = usage_of(Dialect.MESSAGES, data.get("message"))
            if told is not None:  # its output is what was written so far, not all
                self._told = msgspec.structs.replace(told, output=0, reasoning=0)
        elif kind == "message_delta":
            told = usage_of(Dialect.MESSAGES, data)
            before = self._told or TokenUsage()
            if told is not None:  # cumulative; it may leave the input out
                self._told = _cumulative(before, told)
        elif kind == "message_stop":
            self.is_complete = self.is_over = True

    def _responses(self, name: str | None, data: dict[str, Any]) -> None:
        kind = data.get("type") or name
        if isinstance(data.get("delta"), str):
            self.received += most_tokens(data["delta"])
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self._told = usage_of(Dialect.RESPONSES, data.get("response")) or self._told
            if self._told is None and kind == "response.failed" and not self.received:
                self._told = TokenUsage()  # nothing was made of it
            self.is_complete = self.is_over = True


def _cumulative(before: TokenUsage, told: TokenUsage) -> TokenUsage:
    """What a stream's end tells, with what its beginning alone told: the input, where the end leaves it out, and how
    much of it is cached for an hour."""
    modes = before.modes | told.modes
    if not told.input:
        return msgspec.structs.replace(before, output=told.output, reasoning=told.reasoning, modes=modes)
    kept = min(before.hour_cache_write, told.cache_write)
    return msgspec.structs.replace(told, hour_cache_write=max(told.hour_cache_write, kept), modes=modes)


def _text_bytes(node: object) -> int:
    """Bytes of all texts of a piece of an answer."""
    if isinstance(node, str):
        return len(node) if node.isascii() else len(node.encode("utf-8", "surrogatepass"))
    if isinstance(node, dict):
        return sum(_text_bytes(value) for key, value in node.items() if key not in _NO_TEXT)
    return sum(map(_text_bytes, node)) if isinstance(node, list) else 0


def answer_bytes(dialect: Dialect, body: dict[str, Any]) -> int:
    """Bytes of the texts of a whole answer: an upper bound of its tokens, for a provider that tells none."""
    place = {Dialect.CHAT: "choices", Dialect.MESSAGES: "content", Dialect.RESPONSES: "output"}[dialect]
    return _text_bytes(body.get(place))
