"""A kept answer as the pipeline's target: it costs nothing, and goes the way of every answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from bailiwick.invocations.answer_cache import KeptAnswer
from bailiwick.invocations.calls import EventStream
from bailiwick.invocations.dialects import EventParser, ServerEvent
from bailiwick.invocations.model_target import WholeAnswer
from bailiwick.invocations.requests import InspectedText, Usage

_EVENTS_AT_ONCE = 64


class CachedTarget(msgspec.Struct, frozen=True):
    """The model `name`, whose answer is known."""

    name: str
    answer: KeptAnswer
    kind: str = "model"

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """Nothing."""
        del texts
        return 0

    def _use(self, usage: Usage) -> None:
        kept = self.answer
        usage.provider, usage.model = kept.provider, kept.model
        usage.input_tokens, usage.output_tokens = kept.input_tokens, kept.output_tokens
        usage.cached_tokens, usage.reasoning_tokens = kept.cached_tokens, kept.reasoning_tokens
        usage.cache_hit, usage.cache_savings_micros = True, kept.cost_micros

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> WholeAnswer:
        """The answer, as it went out before."""
        del texts
        self._use(usage)
        return WholeAnswer(msgspec.json.decode(self.answer.content), {})

    @asynccontextmanager
    async def stream(self, texts: Sequence[str], usage: Usage) -> AsyncIterator[EventStream]:
        """The answer's events, as they went out before."""
        del texts
        started = time.perf_counter()
        self._use(usage)
        events = EventParser().feed(self.answer.content)
        usage.first_token_ms = round((time.perf_counter() - started) * 1000)
        yield _Events(events)


class _Events:
    """Events that are all there, handed out some at a time, so that a long stream keeps nobody waiting."""

    hides_usage = False  # what went out has in it what the client asked for

    def __init__(self, events: list[ServerEvent]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[list[ServerEvent]]:
        for start in range(0, len(self._events), _EVENTS_AT_ONCE):
            yield self._events[start : start + _EVENTS_AT_ONCE]
