"""`POST /v1/messages`: what Anthropic clients call."""

from __future__ import annotations

from bailiwick.api.gateway.endpoints import Endpoint
from bailiwick.invocations import ModelDialect

ENDPOINT = Endpoint(
    operation="governance_proxy_messages",
    path="/v1/messages",
    dialect=ModelDialect.MESSAGES,
    required=("model", "max_tokens", "messages"),
    nothing={
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": "refusal",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    },
    is_anthropic=True,
)
