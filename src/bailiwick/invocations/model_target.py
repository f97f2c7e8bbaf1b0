"""A model as the pipeline's target: a body whose texts are inspected one by one, and its answer likewise."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from bailiwick.invocations.calls import EventStream
from bailiwick.invocations.dialects import (
    AnswerUnreadable,
    Dialect,
    InvalidBody,
    Position,
    response_positions,
    with_response_texts,
    with_texts,
)
from bailiwick.invocations.dispatch.model_requests import ModelRequest
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.relaying import inspected
from bailiwick.invocations.requests import InspectedText, Usage

_json = msgspec.json.Encoder()


class WholeAnswer(msgspec.Struct):
    """A whole answer before inspection, and header fields of the provider's."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    positions: list[Position] | None = None
    """Where its texts stand, once that has been looked for."""


class ModelResponse(msgspec.Struct, frozen=True):
    """A whole answer for the client: its body as JSON, and header fields of the provider's."""

    content: bytes
    headers: Mapping[str, str]


class ModelTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a model. `input_tokens` and `output_tokens` are the bounds that its hold pays for."""

    name: str
    """As the client calls the model."""
    upstreams: Upstreams
    dialect: Dialect
    body: dict[str, Any]
    positions: Sequence[Position]
    """Where the call's texts stand in the body."""
    headers: Mapping[str, str]
    input_tokens: int
    output_tokens: int
    passed_on: dict[str, str]
    """Receives the header fields of the provider's that go with a stream."""
    amount_micros: int
    """What both bounds cost at most."""
    kind: str = "model"

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """What its hold is for."""
        del texts
        return self.amount_micros

    def _request(self, texts: Sequence[str], *, stream: bool) -> ModelRequest:
        return ModelRequest(
            dialect=self.dialect,
            body=with_texts(self.body, self.positions, texts),
            stream=stream,
            most_output_tokens=self.output_tokens,
            most_input_tokens=self.input_tokens,
            headers=self.headers,
        )

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> WholeAnswer:
        """The whole answer."""
        answer = await self.upstreams.complete(self.name, self._request(texts, stream=False), usage)
        return WholeAnswer(answer.body, answer.headers)

    @asynccontextmanager
    async def stream(self, texts: Sequence[str], usage: Usage) -> AsyncIterator[EventStream]:
        """The answer as it comes."""
        async with self.upstreams.stream(self.name, self._request(texts, stream=True), usage) as answer:
            self.passed_on.update(answer.headers)
            yield answer


class ModelAnswers(msgspec.Struct, frozen=True):
    """Where the texts of a model's whole answer stand."""

    dialect: Dialect

    def texts_of(self, answer: WholeAnswer) -> list[InspectedText]:
        """Every text of the answer, arguments of tool calls among them. Raises AnswerUnreadable."""
        return [inspected(position) for position in self._positions(answer)]

    def put_back(self, answer: WholeAnswer, texts: Sequence[str]) -> tuple[ModelResponse, str]:
        """The answer for the client."""
        body = answer.body
        positions = self._positions(answer)
        if any(text != position.text for text, position in zip(texts, positions, strict=True)):
            body = with_response_texts(self.dialect, body, positions, texts)
        content = _json.encode(body)
        return ModelResponse(content, answer.headers), hashlib.sha256(content).hexdigest()

    def _positions(self, answer: WholeAnswer) -> list[Position]:
        if answer.positions is None:
            try:
                answer.positions = response_positions(self.dialect, answer.body)
            except InvalidBody:  # the model's fault, not the client's
                raise AnswerUnreadable from None
        return answer.positions
