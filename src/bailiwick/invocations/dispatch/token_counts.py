"""Asking how many tokens a request would be: of its provider, where that tells, else of the model's own tokenizer.

Anthropic `POST /v1/messages/count_tokens`, OpenAI `POST /v1/responses/input_tokens`; both are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import Dialect, translate_request

# What Anthropic takes of a request that is to be counted: it refuses the rest by name.
_COUNTED: Final = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format"}
)
_STREAMED: Final = ("stream", "stream_options")


def counting_dialect(deployment: Deployment, client: Dialect) -> Dialect | None:
    """The dialect in which a deployment's provider counts; None when it does not."""
    if deployment.protocol == "anthropic":
        return Dialect.MESSAGES
    is_its_own = client is Dialect.RESPONSES and Dialect.RESPONSES in deployment.speaks
    return Dialect.RESPONSES if is_its_own and deployment.protocol == "openai" else None  # Azure documents none


def counting_body(deployment: Deployment, client: Dialect, provider: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    """What a provider that counts is asked. Raises InvalidBody and Untranslatable."""
    asked = translate_request(client, provider, body, default_max_tokens=1)
    if client is not provider:
        asked = {key: value for key, value in asked.items() if key in _COUNTED}
    return {key: value for key, value in asked.items() if key not in _STREAMED} | {"model": deployment.model}


def counted_answer(client: Dialect, tokens: int) -> dict[str, Any]:
    """A number of tokens, as the client reads it."""
    answer: dict[str, Any] = {"input_tokens": tokens}
    return {"object": "response.input_tokens", **answer} if client is Dialect.RESPONSES else answer


def tokens_told(answer: Mapping[str, Any]) -> int | None:
    """How many tokens a provider tells; None when that is no number of tokens."""
    tokens = answer.get("input_tokens")
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None
