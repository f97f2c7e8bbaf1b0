"""A model that makes embeddings as the pipeline's target: the texts of a request are inspected, vectors are not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from bailiwick.invocations import prices
from bailiwick.invocations.dialects import Position, with_texts
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.model_target import ModelResponse, WholeAnswer
from bailiwick.invocations.requests import InspectedText, Usage

_json = msgspec.json.Encoder()


class EmbeddingTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A call for embeddings. `input_tokens` is the bound that its hold pays for."""

    name: str
    """As the client calls the model."""
    upstreams: Upstreams
    body: dict[str, Any]
    positions: Sequence[Position]
    input_tokens: int
    kind: str = "model"

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """What the input costs at the dearest deployment. A context window bounds each input, not their sum."""
        del texts
        places = self.upstreams.deployments(self.name)
        return max((prices.worst_case_micros(place, self.input_tokens, 0) for place in places), default=0)

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> WholeAnswer:
        """The vectors, as the provider gives them."""
        body = with_texts(self.body, self.positions, texts)
        answer = await self.upstreams.embed(self.name, body, usage, most_input_tokens=self.input_tokens)
        return WholeAnswer(answer.body, answer.headers)


class TextlessAnswers:
    """An answer in which there is no text."""

    def texts_of(self, answer: WholeAnswer) -> Sequence[InspectedText]:
        """None."""
        del answer
        return ()

    def put_back(self, answer: WholeAnswer, texts: Sequence[str]) -> tuple[ModelResponse, str]:
        """The answer for the client."""
        del texts
        content = _json.encode(answer.body)
        return ModelResponse(content, answer.headers), hashlib.sha256(content).hexdigest()
