"""Providers over HTTP, spoken to as their public references say.

OpenAI `POST /chat/completions`, `/responses`, `/embeddings`; Azure OpenAI the same below a deployment's name, or at its
`/openai/v1`; Anthropic `POST /v1/messages`. Streams are server-sent events. Counting has paths below these.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import Dialect, EventParser, ServerEvent, StreamUnreadable
from bailiwick.invocations.dispatch.exchange import Exchange, NoConnection, read, retry_after
from bailiwick.invocations.dispatch.no_answers import failure
from bailiwick.invocations.dispatch.wire import Attempt, NoAnswer, Refusal, WireAnswer, WireStream, kept
from bailiwick.invocations.errors import TargetUnavailable
from bailiwick.kernel.http_client import BrokenOff
from bailiwick.kernel.outbound import StreamedAnswer

_ANTHROPIC_VERSION = "2023-06-01"
_AZURE_VERSION = "2024-10-21"
_MOST_ERROR_BYTES = 64 * 1024
_PATHS: Mapping[Dialect | None, str] = {
    Dialect.CHAT: "/chat/completions",
    Dialect.RESPONSES: "/responses",
    Dialect.MESSAGES: "/messages",
    None: "/embeddings",
}
_COUNTING_PATHS: Mapping[Dialect | None, str] = {
    Dialect.RESPONSES: "/responses/input_tokens",
    Dialect.MESSAGES: "/messages/count_tokens",
}
# Of a client's headers, those of the protocol itself, which its provider is to see.
_OF_PROTOCOL: Mapping[Dialect | None, tuple[str, ...]] = {
    Dialect.CHAT: ("openai-beta",),
    Dialect.RESPONSES: ("openai-beta",),
    Dialect.MESSAGES: ("anthropic-version", "anthropic-beta"),
    None: (),
}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def address(
    deployment: Deployment, dialect: Dialect | None, *, counts_tokens: bool = False
) -> tuple[str, dict[str, str]]:
    """The URL of a call and the headers that authorise it."""
    path = _COUNTING_PATHS[dialect] if counts_tokens else _PATHS[dialect]
    base, key = deployment.base_url, deployment.api_key
    headers = {"content-type": "application/json", **deployment.headers}
    match deployment.protocol:
        case "anthropic":
            headers["anthropic-version"] = _ANTHROPIC_VERSION
            if key:
                headers["x-api-key"] = key
            return f"{base}{path}" if base.endswith("/v1") else f"{base}/v1{path}", headers
        case "azure":
            if key:
                headers["api-key"] = key
            if base.endswith("/openai/v1"):
                version = f"?api-version={deployment.api_version}" if deployment.api_version else ""
                return f"{base}{path}{version}", headers
            version = deployment.api_version or _AZURE_VERSION
            name = quote(deployment.model, safe="")  # of a wildcard the caller chooses it
            return f"{base}/openai/deployments/{name}{path}?api-version={version}", headers
        case _:
            if key:
                headers["authorization"] = f"Bearer {key}"
            if dialect is Dialect.MESSAGES:  # vLLM, Ollama and others speak it beside their own
                headers["anthropic-version"] = _ANTHROPIC_VERSION
            return f"{base}{path}", headers


class HttpWire:
    """Calls over the guarded client."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def whole(self, attempt: Attempt) -> WireAnswer:
        """See Wire."""
        begun = False
        try:
            response = await self._send(attempt, attempt.timeout_seconds)
            try:
                begun = True
                content = await read(response)
            finally:
                # An answer that was read to its end has given its connection back; any other is closed, which also
                # tells the provider to stop.
                response.close()
            return WireAnswer(_decode(content), kept(response.headers))
        except TimeoutError:
            raise NoAnswer("no answer in time", is_timeout=True, may_pass=not begun) from None
        except BrokenOff as error:
            raise NoAnswer(f"the answer broke off ({error})", may_pass=False) from None
        except TargetUnavailable as error:  # too large
            raise NoAnswer(error.message, may_pass=False) from None
        except (msgspec.DecodeError, RecursionError):
            raise NoAnswer("the answer could not be read", may_pass=False) from None

    @contextlib.asynccontextmanager
    async def stream(self, attempt: Attempt) -> AsyncIterator[WireStream]:
        """See Wire."""
        response: StreamedAnswer | None = None
        try:
            try:
                async with asyncio.timeout(attempt.first_token_seconds):
                    response = await self._send(attempt, attempt.timeout_seconds)
                    first = await response.readany()
                    if first.lstrip().startswith(b"{"):  # a body, not events: an error, as a rule
                        raise failure(await self._body(response, first), kept(response.headers), attempt.dialect)
            except TimeoutError:
                raise NoAnswer("no answer in time", is_timeout=True) from None
            except BrokenOff as error:
                raise NoAnswer(f"the answer broke off ({error})") from None
            if not first:
                raise NoAnswer("the answer was empty", may_pass=False)
            yield WireStream(_Reads(response, first, attempt.idle_seconds), kept(response.headers))
        finally:
            if response is not None:
                response.close()

    async def _body(self, response: StreamedAnswer, first: bytes) -> dict[str, Any]:
        """The body of which the first piece has come; empty if it is none of JSON."""
        with contextlib.suppress(TargetUnavailable, msgspec.DecodeError, RecursionError):
            return _decode(first + await read(response, _MOST_ERROR_BYTES))
        return {}

    async def _send(self, attempt: Attempt, timeout_seconds: float) -> StreamedAnswer:
        url, headers = address(attempt.deployment, attempt.dialect, counts_tokens=attempt.counts_tokens)
        if attempt.headers:
            for name in _OF_PROTOCOL[attempt.dialect]:
                if name in attempt.headers:
                    headers[name] = attempt.headers[name]
        try:
            response = await self._exchange.send(
                url, headers, _encode(attempt.body), timeout_seconds, sent=attempt.note_sent
            )
        except NoConnection as error:
            raise NoAnswer(str(error)) from None
        if 200 <= response.status < 300:
            return response
        content = b""
        with contextlib.suppress(BrokenOff, TargetUnavailable):
            content = await read(response, _MOST_ERROR_BYTES)
        response.close()
        raise Refusal(
            # A redirect is not followed: it is an answer of no use.
            response.status if response.status >= 400 else 502,
            _error(content),
            kept(response.headers),
            dialect=attempt.dialect,
            retry_after=_retry_seconds(response.headers),
        )


def _retry_seconds(headers: Mapping[str, str]) -> float | None:
    """OpenAI and Azure tell it in milliseconds as well, which is more exact."""
    milliseconds = headers.get("retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return int(milliseconds) / 1000
    return retry_after(headers.get("retry-after"))


def _error(content: bytes) -> object:
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(content)
    return None


class _Reads:
    """The events of one answer, its first piece read already."""

    def __init__(self, response: StreamedAnswer, first: bytes, idle_seconds: float) -> None:
        self._response = response
        self._piece = first
        self._idle_seconds = idle_seconds
        self._parser = EventParser()

    def __aiter__(self) -> _Reads:
        return self

    async def __anext__(self) -> list[ServerEvent]:
        try:
            while True:
                piece, self._piece = self._piece, b""
                if not piece:
                    async with asyncio.timeout(self._idle_seconds):
                        piece = await self._response.readany()
                if not piece:
                    raise StopAsyncIteration
                if events := self._parser.feed(piece):
                    return events
        except TimeoutError:
            raise NoAnswer("the answer stalled", is_timeout=True, may_pass=False) from None
        except BrokenOff as error:
            raise NoAnswer(f"the answer broke off ({error})", may_pass=False) from None
        except StreamUnreadable:
            raise NoAnswer("the answer could not be read", may_pass=False) from None
