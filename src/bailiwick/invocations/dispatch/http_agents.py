"""Dispatch to an agent behind an HTTP endpoint.

The request is `{"agent", "message", "system_prompt"?}`; the answer is `{"response", "usage"?: {"input_tokens",
"output_tokens"}, "cost_usd_micros"?}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bailiwick.invocations.dispatch.exchange import Exchange, read
from bailiwick.invocations.errors import TargetUnavailable
from bailiwick.invocations.prices import MOST_TOKENS
from bailiwick.invocations.requests import InspectedText, Usage

_json = msgspec.json.Encoder()


class _AgentUsage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _AgentAnswer(msgspec.Struct):
    response: str
    usage: _AgentUsage = msgspec.field(default_factory=_AgentUsage)
    cost_usd_micros: int = 0


_decoder = msgspec.json.Decoder(_AgentAnswer)


class HttpAgentTarget(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that answers over HTTP; a call costs at most `price_micros`."""

    name: str
    url: str
    exchange: Exchange
    price_micros: int
    timeout_seconds: float
    headers: Mapping[str, str] = {}
    kind: str = "http_agent"

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """The agent's price."""
        del texts
        return self.price_micros

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> str:
        """The agent's response. Raises TargetUnavailable and its kin."""
        request = {"agent": self.name, "message": texts[0]}
        if len(texts) > 1:
            request["system_prompt"] = texts[1]
        usage.provider, usage.model = "http", self.name
        async with self.exchange.post(
            f"agent:{self.url}",
            self.url,
            headers=self.headers,
            body=_json.encode(request),
            timeout_seconds=self.timeout_seconds,
        ) as response:
            content = await read(response)
        try:
            answer = _decoder.decode(content)
        except msgspec.DecodeError:
            raise TargetUnavailable("The agent's answer could not be read.") from None
        usage.input_tokens = min(max(answer.usage.input_tokens, 0), MOST_TOKENS)
        usage.output_tokens = min(max(answer.usage.output_tokens, 0), MOST_TOKENS)
        usage.cost_micros = min(max(answer.cost_usd_micros, 0), self.price_micros)
        return answer.response
