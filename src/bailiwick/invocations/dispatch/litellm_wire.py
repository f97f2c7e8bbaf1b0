"""Providers that only the library `litellm` knows (extra `bailiwick[litellm]`): chat completions and embeddings.

The library makes its own connections: the guard of private addresses and the outbound proxy do not cover them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import ServerEvent
from bailiwick.invocations.dispatch.exchange import retry_after
from bailiwick.invocations.dispatch.wire import Attempt, NoAnswer, Refusal, WireAnswer, WireStream, kept
from bailiwick.invocations.providers import load_litellm

# The library takes one flat list of arguments: an `api_base`, `fallbacks` or `mock_response` of the caller's body would
# be as good as the model list's own, and would have the operator's key sent wherever the caller says.
_OF_CHATS = {
    "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p",
    "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs",
    "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format",
    "modalities", "audio", "prediction", "reasoning_effort", "thinking", "verbosity", "web_search_options",
    "service_tier", "user", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
_OF_EMBEDDINGS = {"input", "dimensions", "encoding_format", "input_type", "user"}


class LiteLlmWire:
    """Calls by the library, one attempt each: when to try again is the router's to say."""

    def __init__(self) -> None:
        self._library = load_litellm()

    async def whole(self, attempt: Attempt) -> WireAnswer:
        """See Wire."""
        call = self._library.aembedding if attempt.dialect is None else self._library.acompletion
        attempt.note_sent()  # it tells nothing of its connections
        with self._told(attempt):
            async with asyncio.timeout(attempt.timeout_seconds):
                answer = await call(**arguments(attempt))
        return WireAnswer(_plain(answer), {})

    @contextlib.asynccontextmanager
    async def stream(self, attempt: Attempt) -> AsyncIterator[WireStream]:
        """See Wire."""
        deadline = asyncio.get_running_loop().time() + attempt.timeout_seconds
        attempt.note_sent()
        with self._told(attempt):
            async with asyncio.timeout(attempt.first_token_seconds):
                chunks = await self._library.acompletion(**arguments(attempt))
                first = await anext(aiter(chunks), None)
        if first is None:
            raise NoAnswer("the answer was empty")
        try:
            yield WireStream(self._reads(chunks, first, attempt, deadline), {})
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    await close()

    async def _reads(
        self, chunks: Any, chunk: Any, attempt: Attempt, deadline: float
    ) -> AsyncIterator[list[ServerEvent]]:
        while chunk is not None:
            yield [(None, _plain(chunk))]
            with self._told(attempt, has_begun=True):
                until = min(deadline, asyncio.get_running_loop().time() + attempt.idle_seconds)
                async with asyncio.timeout_at(until):
                    chunk = await anext(aiter(chunks), None)
        yield [(None, None)]

    @contextlib.contextmanager
    def _told(self, attempt: Attempt, *, has_begun: bool = False) -> Any:
        """What the library raises, in the wire's words."""
        try:
            yield
        except (TimeoutError, self._library.Timeout):
            raise NoAnswer("no answer in time", is_timeout=True, may_pass=not has_begun) from None
        except self._library.APIConnectionError:
            raise NoAnswer("no connection", may_pass=not has_begun) from None
        except Exception as error:
            status = getattr(error, "status_code", None)
            if not isinstance(status, int) or status < 400 or has_begun:
                raise NoAnswer(type(error).__name__, may_pass=False) from None
            headers = getattr(getattr(error, "response", None), "headers", None) or {}
            told = {"message": str(getattr(error, "message", error)), "type": getattr(error, "type", None)}
            body = {"error": {**told, "code": getattr(error, "code", None), "param": getattr(error, "param", None)}}
            waits = retry_after(headers.get("retry-after"))
            raise Refusal(status, body, kept(headers), dialect=attempt.dialect, retry_after=waits) from None


def arguments(attempt: Attempt) -> dict[str, Any]:
    """What the library is called with: of the body only what asks the model something."""
    deployment: Deployment = attempt.deployment
    given = {
        "api_key": deployment.api_key,
        "api_base": deployment.base_url or None,
        "api_version": deployment.api_version,
        "extra_headers": dict(deployment.headers) or None,
    }
    ours = _OF_EMBEDDINGS if attempt.dialect is None else _OF_CHATS
    return {
        **deployment.options,
        **{name: value for name, value in attempt.body.items() if name in ours},
        **{name: value for name, value in given.items() if value is not None},
        "model": f"{deployment.provider}/{deployment.model}",
        "timeout": attempt.timeout_seconds,
        "max_retries": 0,
    }


def _plain(answer: Any) -> dict[str, Any]:
    body: dict[str, Any] = answer.model_dump(mode="json")
    return body
