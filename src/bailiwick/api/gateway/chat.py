"""`POST /v1/chat/completions`: what OpenAI clients call."""

from __future__ import annotations

from bailiwick.api.gateway.endpoints import Endpoint
from bailiwick.invocations import ModelDialect

ENDPOINT = Endpoint(
    operation="governance_proxy_chat_completions",
    path="/v1/chat/completions",
    dialect=ModelDialect.CHAT,
    required=("model", "messages"),
    nothing={
        "object": "chat.completion",
        "created": 0,
        "choices": [],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    },
)
