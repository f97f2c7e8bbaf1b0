"""One attempt at one deployment: what a provider is sent and what it answers, in the provider's own dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import Dialect, ServerEvent


class Attempt(msgspec.Struct, kw_only=True):
    """What one deployment is asked."""

    deployment: Deployment
    dialect: Dialect | None
    """In which the body is; None: it asks for embeddings."""
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}
    timeout_seconds: float
    """For the whole answer."""
    counts_tokens: bool = False
    """Whether the body is only to be counted."""
    first_token_seconds: float = 60
    """Until the first piece of a streamed body."""
    idle_seconds: float = 60
    """Between two of its pieces."""
    is_sent: bool = False
    """Whether the request is on its way; the wire notes it."""

    def note_sent(self) -> None:
        """Notes that the request is on its way."""
        self.is_sent = True


class Refusal(Exception):
    """The provider answered with an error, in its own dialect. `retry_after` in seconds, where it tells any."""

    def __init__(
        self,
        status: int,
        body: object,
        headers: Mapping[str, str],
        *,
        dialect: Dialect | None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"status {status}")
        self.dialect = dialect
        self.status = status
        self.body = body
        self.headers = headers
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (408, 429) or self.status >= 500


class NoAnswer(Exception):
    """No answer came, or what came is none. `may_pass`: the same deployment may well answer if it is asked again."""

    def __init__(self, reason: str, *, is_timeout: bool = False, may_pass: bool = True) -> None:
        super().__init__(reason)
        self.is_timeout = is_timeout
        self.may_pass = may_pass


class WireAnswer(msgspec.Struct, frozen=True):
    """A whole answer and the headers (lower-case names) that may be passed on."""

    body: dict[str, Any]
    headers: Mapping[str, str]


class WireStream(msgspec.Struct, frozen=True):
    """A streamed answer: its events, those of one read together, of which the first has come already."""

    reads: AsyncIterator[list[ServerEvent]]
    headers: Mapping[str, str]


class Wire(Protocol):
    """A way of speaking to providers. Both raise Refusal, NoAnswer and AddressRefused."""

    async def whole(self, attempt: Attempt) -> WireAnswer:
        """The whole answer."""
        ...

    def stream(self, attempt: Attempt) -> AbstractAsyncContextManager[WireStream]:
        """The answer as it comes; its connection is closed when the context ends. The reads raise as well."""
        ...


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Of a provider's answer, the headers that a client may see."""
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _KEPT or lower.startswith(_KEPT_PREFIXES):
            found[lower] = value
    return found


_KEPT = frozenset(
    {
        *("request-id", "x-request-id", "openai-processing-ms", "openai-version"),
        *("retry-after", "retry-after-ms", "x-should-retry"),  # what the clients' own tries go by
    }
)
_KEPT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
