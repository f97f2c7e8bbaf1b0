"""The models of this installation: which deployments a call may reach, what it can cost there, and the call itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec

from bailiwick.invocations.dialects import Dialect, ServerEvent
from bailiwick.invocations.model_list import Deployment
from bailiwick.invocations.requests import Usage


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a model, inspected and admitted."""

    dialect: Dialect
    """The client's."""
    body: dict[str, Any]
    """In that dialect; what is meant for the gateway alone is taken out."""
    stream: bool = False
    most_output_tokens: int
    """What the hold pays for, over all choices; no provider is asked for more."""
    most_input_tokens: int | None = None
    """The bound that the hold was made with, for calls whose provider tells no usage; None: reckoned from the body."""
    headers: Mapping[str, str] = {}
    """The client's (lower-case names); those of the provider's own protocol are passed on where it is spoken."""


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in the client's dialect."""

    deployment: Deployment
    body: dict[str, Any]
    headers: Mapping[str, str]
    """Of the provider's, those that may be passed on (lower-case names)."""


class ModelStream(Protocol):
    """An answer that has begun."""

    deployment: Deployment
    headers: Mapping[str, str]
    """Of the provider's, those that may be passed on (lower-case names)."""
    hides_usage: bool
    """A chat stream whose usage we asked for though the client did not."""

    def __aiter__(self) -> AsyncIterator[list[ServerEvent]]:
        """The events in the client's dialect, those of one network read together; to be read once.

        Raises TargetTimeout, TargetUnavailable (also for a stream that ends before the model said that it is complete)
        and ProviderRefused (an error in the middle of the stream).
        """
        ...


class Upstreams:
    """The models of one process."""

    def deployments(self, model: str) -> Sequence[Deployment]:
        """Every deployment that a call of `model` may reach, fallbacks included; empty: an unknown model."""
        raise NotImplementedError

    def worst_case_micros(self, model: str, input_tokens: int, output_tokens: int) -> int:
        """The most that so many tokens can cost, at the dearest of those deployments and without any discount."""
        raise NotImplementedError

    def most_output_tokens(self, model: str) -> int:
        """The bound of an answer when the client sets none."""
        raise NotImplementedError

    def affordable_output_tokens(self, model: str, input_tokens: int, micros: int) -> int:
        """How many output tokens `micros` pay for after the input, at the dearest deployment; 0 or less: none."""
        raise NotImplementedError

    async def complete(self, model: str, request: ModelRequest, usage: Usage) -> ModelAnswer:
        """The whole answer. Keeps `usage` current. Raises ProviderRefused, TargetTimeout, TargetUnavailable, and
        InvalidBody and Untranslatable for what no deployment can be asked."""
        raise NotImplementedError

    @asynccontextmanager
    async def stream(self, model: str, request: ModelRequest, usage: Usage) -> AsyncIterator[ModelStream]:
        """The answer as it comes; its connection is closed when the context ends. `usage` is current at each step: until
        the provider tells its own count, the upper bound of what went over the wire. Raises as `complete`."""
        raise NotImplementedError
        yield

    async def embed(self, model: str, body: dict[str, Any], usage: Usage) -> ModelAnswer:
        """Embeddings: `body` and the answer in OpenAI's form (`POST /embeddings`). Raises as `complete`."""
        raise NotImplementedError
