"""`/v1/chat/completions`, `/v1/messages`, `/v1/responses`, `/v1/embeddings` and the counting of tokens, as plain ASGI
in front of the web framework.

An error before the first byte is an HTTP answer; after it, an event of the stream's own dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar.types import Receive, Scope, Send

from bailiwick.api import asgi
from bailiwick.api.authentication import allows, bearer_token_of
from bailiwick.api.errors import HttpRefused, allowed, as_domain_error
from bailiwick.api.gateway import call_headers, chat, embeddings, messages, responses, token_counts
from bailiwick.api.gateway.endpoints import Endpoint
from bailiwick.api.gateway.provider_errors import PROVIDER, MissingKey
from bailiwick.identity import Caller, authenticate
from bailiwick.invocations import (
    REFUSALS,
    CallRateLimited,
    GatewayNotAllowed,
    ModelCall,
    ModelCalls,
    ModelResponse,
    ProviderRefused,
    RunningCall,
    WorkspaceMismatch,
    stream_error,
    stream_of_nothing,
)
from bailiwick.kernel.errors import BailiwickError, InvalidInput
from bailiwick.kernel.ids import Prefix, encode, uuid7
from bailiwick.kernel.runtime import runtime

ENDPOINTS = {
    endpoint.path: endpoint
    for endpoint in (
        chat.ENDPOINT,
        messages.ENDPOINT,
        responses.ENDPOINT,
        embeddings.ENDPOINT,
        token_counts.MESSAGES,
        token_counts.RESPONSES,
    )
}
_ALLOW = allowed(["POST"])
_SCOPE = "proxy"
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events into larger pieces
]
_json = msgspec.json.Encoder()
_log = structlog.get_logger(__name__)


class _Exchange:
    """One request and its answer."""

    def __init__(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        self.endpoint = endpoint
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers = call_headers.headers_of(scope["headers"])
        self.body: dict[str, Any] = {}
        self.running: RunningCall | None = None
        self.refused_as: UUID | None = None
        self.from_cache: bool | None = None
        self.has_begun = False
        self.is_told = False
        """Whether the caller of a stream was told that the server stops."""
        self.answer_headers: list[tuple[bytes, bytes]] = []

    async def answer(self, calls: ModelCalls) -> None:
        """Everything but the rendering of errors before the first byte."""
        if self.scope.get("method") != "POST":
            raise HttpRefused(405, allow=_ALLOW)
        caller = await self._authenticate()
        barred = self._barred(caller)
        configured = runtime().settings
        try:
            content = await asgi.read_body(self.scope, self.receive, most_bytes=configured.gateway_body_bytes)
            self._decode(content)
            call = self._call(caller, content)
        except BailiwickError as error:  # such a body is no call, and leaves no trace
            raise barred or error from None
        if barred is not None:
            await calls.refuse(call, self.endpoint.kind, barred)
        work = self._stream(calls, call) if self.endpoint.streams(self.body) else self._whole(calls, call)
        await asgi.until_disconnect(work, self.scope)

    async def _authenticate(self) -> Caller:
        if not self.headers.keys() & {"authorization", "x-api-key"}:
            raise MissingKey
        return await authenticate(bearer_token_of(self.scope["headers"]))

    def _barred(self, caller: Caller) -> BailiwickError | None:
        """Why this caller may call no model here, whatever the body says."""
        if call_headers.names_another_workspace(self.headers, caller.tenant):
            return WorkspaceMismatch()
        return None if allows(caller.scopes, _SCOPE) else GatewayNotAllowed()

    def _decode(self, content: bytes) -> None:
        try:
            body = msgspec.json.decode(content)
        except RecursionError:
            raise InvalidInput("The body is nested too deep.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidInput("The body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise InvalidInput.of("body", "must be a JSON object")
        for name in self.endpoint.required:
            if body.get(name) is None:
                raise InvalidInput.of(name, "is required")
        if not isinstance(body.get("messages", []), list):
            raise InvalidInput.of("messages", "must be a list")
        if not isinstance(body.get("stream") or False, bool):
            raise InvalidInput.of("stream", "must be true or false")
        self.body = body

    def _call(self, caller: Caller, content: bytes) -> ModelCall:
        return ModelCall(
            caller=caller,
            dialect=self.endpoint.dialect,
            body=self.body,
            text=content.decode(),
            headers=call_headers.passed_on(self.headers),
            session_name=call_headers.session_of(self.headers),
            most_micros=call_headers.most_micros(self.headers, self.body),
            context=call_headers.context_of(self.headers, self.body) or None,
            begun=self._begun,
            answered=self._answered,
            refused=self._refused,
            cached=self._cached,
        )

    def _begun(self, running: RunningCall) -> None:
        self.running = running

    def _refused(self, trace_id: UUID) -> None:
        self.refused_as = trace_id

    def _cached(self, is_hit: bool) -> None:
        self.from_cache = is_hit

    def _of_cache(self) -> list[tuple[bytes, bytes]]:
        return [] if self.from_cache is None else [(b"x-intutic-cache", b"hit" if self.from_cache else b"miss")]

    async def _whole(self, calls: ModelCalls, call: ModelCall) -> None:
        if self.endpoint.makes_embeddings:
            outcome = await calls.embed(call)
        elif self.endpoint.counts_tokens:
            outcome = await calls.count(call)
        else:
            outcome = await calls.complete(call)
        self.has_begun = True
        await asgi.send_whole(self.send, 200, self.answer_headers, outcome.response.content)

    def _answered(self, response: ModelResponse) -> None:
        running = self.running
        returned = 0 if running is None else running.admission.amount_micros - running.usage.cost_micros
        self.answer_headers = [
            *_JSON,
            *call_headers.told(running, returned_micros=max(0, returned)),
            *self._of_cache(),
            *_encoded(response.headers),
        ]

    async def _stream(self, calls: ModelCalls, call: ModelCall) -> None:
        theirs: dict[str, str] = {}
        async with calls.stream(call, theirs) as events:
            first = await anext(events, b"")
            self.has_begun = True
            headers = [*_EVENTS, *call_headers.told(self.running), *self._of_cache(), *_encoded(theirs)]
            await asgi.send_start(self.send, 200, headers)
            await self._relay(first, events)
        await asgi.send_piece(self.send, b"", more=False)

    async def _relay(self, first: bytes, events: AsyncGenerator[bytes, None]) -> None:
        await asgi.send_piece(self.send, first)
        try:
            async for content in events:
                await asgi.send_piece(self.send, content)
        except asyncio.CancelledError:
            await self._end_with(asgi.stopping())  # when it is the caller who has gone, nobody reads it
            await asgi.send_piece(self.send, b"", more=False)
            self.is_told = True
            raise
        except Exception as raised:  # the status has gone out: the stream itself has to tell
            await self._end_with(as_domain_error(raised))

    async def _end_with(self, error: BailiwickError) -> None:
        body = error.body if isinstance(error, ProviderRefused) else None
        ending = stream_error(
            self.endpoint.dialect, error.status, PROVIDER.code(error.code), error.message, provider_body=body
        )
        await asgi.send_piece(self.send, ending)

    async def refuse(self, error: BailiwickError) -> None:
        """Renders an error before the first byte."""
        is_killed = isinstance(error, REFUSALS)
        # What the SDKs read is a success: of any other status they tell only that the connection failed.
        if is_killed and not isinstance(error, CallRateLimited) and "x-intutic-context" in self.headers:
            await self._say_nothing()
            return
        headers = [*_JSON, *call_headers.told(self.running, is_killed=is_killed, refused_as=self.refused_as)]
        if isinstance(error, ProviderRefused):
            headers += _encoded(error.headers)
            content = _json.encode(error.body)
        else:
            headers += PROVIDER.headers(error)
            content = _json.encode(self.endpoint.error_body(PROVIDER.body(error)))
        await asgi.send_whole(self.send, error.status, headers, content)

    async def _say_nothing(self) -> None:
        headers = call_headers.told(self.running, is_killed=True, refused_as=self.refused_as)
        if self.endpoint.streams(self.body):
            content = stream_of_nothing(self.endpoint.dialect)
            await asgi.send_whole(self.send, 200, [*_EVENTS, *headers], content)
            return
        identifier = self.refused_as or uuid7() if self.running is None else self.running.admission.id
        answer = self.endpoint.empty_answer(encode(Prefix.TRACE, identifier), str(self.body.get("model")))
        await asgi.send_whole(self.send, 200, [*_JSON, *headers], _json.encode(answer))


def _encoded(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def call_model(endpoint: Endpoint, calls: ModelCalls, scope: Scope, receive: Receive, send: Send) -> None:
    """One of the routes as an ASGI application."""
    if scope.get("method") == "OPTIONS":
        await asgi.send_whole(send, 204, [(b"allow", _ALLOW.encode())])
        return
    exchange = _Exchange(endpoint, scope, receive, send)
    try:
        await exchange.answer(calls)
    except asyncio.CancelledError:
        if not asgi.is_being_cancelled():
            return  # the caller has gone; nobody is there to be answered
        if not exchange.has_begun:
            await exchange.refuse(asgi.stopping())
        elif not exchange.is_told:
            raise
    except Exception as raised:
        error = as_domain_error(raised)
        if exchange.has_begun:
            _log.warning("answer_broke_off", error=type(raised).__name__)
            raise
        await exchange.refuse(error)
