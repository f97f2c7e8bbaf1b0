"""The counting of a request's tokens as the pipeline's target: it costs nothing, and is inspected like any call, as its
texts go to the model's provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bailiwick.invocations.dialects import Dialect, Position, with_texts
from bailiwick.invocations.dispatch.model_requests import ModelRequest
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.model_target import WholeAnswer
from bailiwick.invocations.requests import InspectedText, Usage


class CountingTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the model `name` whose tokens are to be counted."""

    name: str
    upstreams: Upstreams
    dialect: Dialect
    body: dict[str, Any]
    positions: Sequence[Position]
    headers: Mapping[str, str]
    kind: str = "model"

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """Nothing."""
        del texts
        return 0

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> WholeAnswer:
        """How many tokens there are."""
        request = ModelRequest(
            dialect=self.dialect,
            body=with_texts(self.body, self.positions, texts),
            most_output_tokens=0,
            headers=self.headers,
        )
        answer = await self.upstreams.count_tokens(self.name, request, usage)
        return WholeAnswer(answer.body, answer.headers)
