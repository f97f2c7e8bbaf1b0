"""A model's answer on its way to the client: accounted in the provider's dialect, told in the client's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import (
    Dialect,
    PriceModes,
    ServerEvent,
    StreamUnreadable,
    error_status,
    error_told,
    stream_translator,
    translate_error,
)
from bailiwick.invocations.dispatch.accounting import StreamAccount
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.wire import NoAnswer, WireStream
from bailiwick.invocations.errors import ProviderRefused, TargetTimeout, TargetUnavailable
from bailiwick.invocations.requests import Usage

_MOST_TOKEN_BYTES = 256
"""Twice the longest token of the known vocabularies (a run of 128 spaces)."""
_DRAIN_SECONDS = 0.05


class OpenStream:
    """One stream (`ModelStream`). Tells the breaker how it ended: once, at its end or at `close`."""

    def __init__(
        self,
        opened: WireStream,
        first: list[ServerEvent],
        *,
        deployment: Deployment,
        provider: Dialect,
        client: Dialect,
        request: dict[str, Any],
        usage: Usage,
        breaker: CircuitBreaker,
        input_tokens: int,
        most_output_tokens: int,
        modes: PriceModes,
        started: float,
    ) -> None:
        self.deployment = deployment
        self.headers: Mapping[str, str] = opened.headers
        self.hides_usage = client is Dialect.CHAT and not _asks_for_usage(request)
        self._provider = provider
        self._client = client
        self._first = first
        """What has been read of it already."""
        self._reads = opened.reads
        self._error: ProviderRefused | None = None
        """What the provider told at last."""
        self._translator = stream_translator(provider, client, request, created=int(time.time()))
        self._is_translated = provider is not client
        self._account = StreamAccount(
            deployment,
            provider,
            usage,
            input_tokens=input_tokens,
            most_output_tokens=most_output_tokens,
            modes=modes,
        )
        self._usage = usage
        self._breaker: CircuitBreaker | None = breaker
        self._most_bytes = most_output_tokens * _MOST_TOKEN_BYTES
        self._started = started

    def __aiter__(self) -> AsyncIterator[list[ServerEvent]]:
        return self

    async def __anext__(self) -> list[ServerEvent]:
        """See ModelStream."""
        if self._error is not None:
            raise self._failed(self._error)
        if self._account.is_over:
            await self._drain()
            self._succeeded()
            raise StopAsyncIteration
        try:
            read, self._first = self._first or await anext(self._reads), []
        except StopAsyncIteration:
            if not self._account.is_complete:
                raise self._failed(TargetUnavailable("The model's stream broke off.")) from None
            read = [(None, None)]  # some chat servers leave it at their reason for stopping
        except NoAnswer as reason:
            error = TargetTimeout() if reason.is_timeout else TargetUnavailable(f"The model's stream ended: {reason}.")
            raise self._failed(error) from None
        account = self._account
        account.note(read)
        if account.received > self._most_bytes:
            raise self._failed(TargetUnavailable("The model answers with more than it was asked for."))
        if self._usage.first_token_ms is None and account.received:
            self._usage.first_token_ms = round((time.perf_counter() - self._started) * 1000)
        read, self._error = self._up_to_end(read)
        if self._error is not None and not read:
            raise self._failed(self._error)
        if not self._is_translated:
            return read
        try:
            return [out for event in read for out in self._translator.feed(event)]
        except StreamUnreadable:
            raise self._failed(TargetUnavailable("The model's stream could not be read.")) from None

    async def _drain(self) -> None:
        """Reads what is left, so that the connection can be used again; not for long."""
        with contextlib.suppress(TimeoutError, NoAnswer):
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for _ in self._reads:
                    pass

    def _up_to_end(self, read: list[ServerEvent]) -> tuple[list[ServerEvent], ProviderRefused | None]:
        """The events, up to `[DONE]` or to an error that the provider tells in the middle of its stream; and that."""
        for at, (name, data) in enumerate(read):
            if data is None:
                return read[: at + 1], None
            error = error_told(name, data)
            if error is not None:
                status = error_status(error)
                told = translate_error(self._provider, self._client, status, error)
                return read[:at], ProviderRefused(status, told)
        return read, None

    def _failed(self, error: TargetUnavailable) -> TargetUnavailable:
        if self._breaker is not None:
            self._breaker.failed(self.deployment.key)
            self._breaker = None
        return error

    def _succeeded(self) -> None:
        if self._breaker is not None:
            self._breaker.succeeded(self.deployment.key)
            self._breaker = None

    def close(self) -> None:
        """Its reader is done with it, perhaps before its end."""
        if self._breaker is not None:
            if self._account.is_complete:
                self._breaker.succeeded(self.deployment.key)
            else:
                self._breaker.abandoned(self.deployment.key)
            self._breaker = None


def _asks_for_usage(request: Mapping[str, Any]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
