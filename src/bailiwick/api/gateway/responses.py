"""`POST /v1/responses`: what Codex and newer OpenAI clients call."""

from __future__ import annotations

from bailiwick.api.gateway.endpoints import Endpoint
from bailiwick.invocations import ModelDialect

ENDPOINT = Endpoint(
    operation="governance_proxy_responses",
    path="/v1/responses",
    dialect=ModelDialect.RESPONSES,
    required=("model", "input"),
    nothing={
        "object": "response",
        "created_at": 0,
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
        "error": None,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    },
)
