"""The models of this installation: which deployments a call may reach, what it can cost there, and the call itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from typing import Any, Protocol

import msgspec

from bailiwick.invocations import prices
from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import (
    ORDINARY,
    AnswerUnreadable,
    Dialect,
    InvalidBody,
    PriceModes,
    ServerEvent,
    TokenUsage,
    embedding_tokens_bound,
    is_embedding_answer,
    prompt_of,
    translate_answer,
    usage_of,
)
from bailiwick.invocations.dispatch.accounting import answer_bytes, count, estimate
from bailiwick.invocations.dispatch.model_requests import ModelRequest, SentRequest, most_input, sent_to
from bailiwick.invocations.dispatch.model_streams import OpenStream
from bailiwick.invocations.dispatch.no_answers import failure, first_events
from bailiwick.invocations.dispatch.routing import Router
from bailiwick.invocations.dispatch.token_counts import (
    counted_answer,
    counting_body,
    counting_dialect,
    tokens_told,
)
from bailiwick.invocations.dispatch.wire import Attempt, NoAnswer, Wire, WireAnswer, WireStream
from bailiwick.invocations.encodings import Encoding
from bailiwick.invocations.prompt_counts import likely_input_tokens
from bailiwick.invocations.requests import Usage


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


class Readers(msgspec.Struct, frozen=True):
    """Whoever may read a prompt."""

    encodings: frozenset[Encoding | None]
    """Their tokenizers; None among them: one's is not known."""
    are_anthropic: bool
    """Whether all of them are Anthropic's."""


class Upstreams:
    """The models of one process. They are spoken to by `litellm` where that is their protocol, else by `http`.

    `first_token_seconds` bound the first piece of a stream, `idle_seconds` the silence between two, where a deployment
    says nothing else.
    """

    def __init__(
        self,
        router: Router,
        http: Wire,
        litellm: Wire | None = None,
        *,
        first_token_seconds: float = 60,
        idle_seconds: float = 60,
    ) -> None:
        self._router = router
        self._http = http
        self._litellm = litellm
        self._first_token_seconds = first_token_seconds
        self._idle_seconds = idle_seconds
        self._allowed: frozenset[str] = frozenset()

    def within(self, allowed: frozenset[str]) -> Upstreams:
        """The same for who may only call the models of this list; an empty one has every model. Whatever stands in for
        a model must be in it too."""
        if allowed == self._allowed:
            return self
        narrowed = copy(self)
        narrowed._allowed = allowed
        return narrowed

    @property
    def names(self) -> Sequence[str]:
        """Every model name of the model list, wildcards as they stand there."""
        return list(self._router.models.models)

    def deployments(self, model: str) -> Sequence[Deployment]:
        """Every deployment that a call of `model` may reach, fallbacks included; empty: an unknown model."""
        return self._router.deployments(model, self._allowed)

    def readers(self, model: str) -> Readers:
        """What is known of those deployments as readers of a prompt."""
        places = self.deployments(model)
        return Readers(
            encodings=frozenset([place.encoding for place in places]),
            are_anthropic=not [place for place in places if place.protocol != "anthropic"],
        )

    def worst_case_micros(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        caches_an_hour: bool = False,
        modes: PriceModes = ORDINARY,
    ) -> int:
        """The most that so many tokens can cost, at the dearest of those deployments and without any discount.
        `caches_an_hour` and `modes` are as in `prices.worst_case_micros`."""
        return max(
            (
                prices.worst_case_micros(
                    place, _taken(place, input_tokens), output_tokens, caches_an_hour=caches_an_hour, modes=modes
                )
                for place in self.deployments(model)
            ),
            default=0,
        )

    def most_output_tokens(self, model: str) -> int:
        """The bound of an answer when the client sets none."""
        return max((place.max_output_tokens for place in self.deployments(model)), default=0)

    def affordable_output_tokens(
        self,
        model: str,
        input_tokens: int,
        micros: int,
        *,
        caches_an_hour: bool = False,
        modes: PriceModes = ORDINARY,
    ) -> int:
        """How many output tokens `micros` pay for after the input, at the dearest deployment; 0 or less: none."""
        return min(
            (
                prices.affordable_output_tokens(
                    place, _taken(place, input_tokens), micros, caches_an_hour=caches_an_hour, modes=modes
                )
                for place in self.deployments(model)
            ),
            default=0,
        )

    async def complete(self, model: str, request: ModelRequest, usage: Usage) -> ModelAnswer:
        """The whole answer. Keeps `usage` current. Raises ProviderRefused, TargetTimeout, TargetUnavailable, and
        InvalidBody and Untranslatable for what no deployment can be asked."""

        async def ask(deployment: Deployment, seconds: float) -> tuple[SentRequest, WireAnswer, dict[str, Any]]:
            sent = sent_to(deployment, request)
            attempt = self._attempt(deployment, sent, request, seconds)
            try:
                answer = await self._wire(deployment).whole(attempt)
            except asyncio.CancelledError:
                _charge_input(attempt, usage, most_input(request, sent), sent.modes)
                raise
            now = int(time.time())
            try:
                body = translate_answer(sent.dialect, request.dialect, answer.body, request.body, created=now)
            except AnswerUnreadable:
                raise failure(answer.body, answer.headers, sent.dialect) from None
            return sent, answer, body

        deployment, (sent, answer, body) = await self._router.run(model, request.dialect, ask, allowed=self._allowed)
        told = usage_of(sent.dialect, answer.body)
        if told is not None:
            count(deployment, usage, told)
        else:  # a server that tells no usage is charged by the upper bound
            output = min(answer_bytes(sent.dialect, answer.body), request.most_output_tokens)
            estimate(deployment, usage, most_input(request, sent), output, sent.modes)
        self._router.breaker.succeeded(deployment.key)
        return ModelAnswer(deployment=deployment, body=body, headers=answer.headers)

    @asynccontextmanager
    async def stream(self, model: str, request: ModelRequest, usage: Usage) -> AsyncIterator[ModelStream]:
        """The answer as it comes; its connection is closed when the context ends. `usage` is current at each step:
        until the provider tells its own count, the upper bound of what went over the wire. Raises as `complete`."""
        started = time.perf_counter()
        async with AsyncExitStack() as connection:

            async def ask(deployment: Deployment, seconds: float) -> tuple[SentRequest, WireStream, list[ServerEvent]]:
                sent = sent_to(deployment, request)
                attempt = self._attempt(deployment, sent, request, seconds)
                try:
                    async with AsyncExitStack() as own:
                        opened = await own.enter_async_context(self._wire(deployment).stream(attempt))
                        first = await first_events(opened, sent.dialect)
                        connection.push_async_callback(own.pop_all().aclose)
                except asyncio.CancelledError:
                    _charge_input(attempt, usage, most_input(request, sent), sent.modes)
                    raise
                return sent, opened, first

            deployment, (sent, opened, first) = await self._router.run(
                model, request.dialect, ask, allowed=self._allowed
            )
            answer = OpenStream(
                opened,
                first,
                deployment=deployment,
                provider=sent.dialect,
                client=request.dialect,
                request=request.body,
                usage=usage,
                breaker=self._router.breaker,
                input_tokens=most_input(request, sent),
                most_output_tokens=request.most_output_tokens,
                modes=sent.modes,
                started=started,
            )
            try:
                yield answer
            finally:
                answer.close()

    async def embed(
        self, model: str, body: dict[str, Any], usage: Usage, *, most_input_tokens: int | None = None
    ) -> ModelAnswer:
        """Embeddings: `body` and the answer in OpenAI's form (`POST /embeddings`). Raises as `complete`.

        `most_input_tokens` is as in ModelRequest.
        """

        bound = most_input_tokens or embedding_tokens_bound(body)

        async def ask(deployment: Deployment, seconds: float) -> WireAnswer:
            if not deployment.embeds or deployment.protocol == "anthropic":
                raise InvalidBody("model", "this model makes no embeddings")
            attempt = Attempt(
                deployment=deployment, dialect=None, body={**body, "model": deployment.model}, timeout_seconds=seconds
            )
            try:
                answer = await self._wire(deployment).whole(attempt)
            except asyncio.CancelledError:
                _charge_input(attempt, usage, bound)
                raise
            if not is_embedding_answer(answer.body):
                raise failure(answer.body, answer.headers, None)
            return answer

        deployment, answer = await self._router.run(model, Dialect.CHAT, ask, allowed=self._allowed)
        told = usage_of(Dialect.CHAT, answer.body)
        if told is not None:
            count(deployment, usage, TokenUsage(input=told.input))
        else:
            estimate(deployment, usage, bound, 0)
        self._router.breaker.succeeded(deployment.key)
        return ModelAnswer(deployment=deployment, body=answer.body, headers=answer.headers)

    async def count_tokens(self, model: str, request: ModelRequest, usage: Usage) -> ModelAnswer:
        """How many tokens the input of a request is, in the client's dialect: by the provider where it counts, else by
        the model's tokenizer. Notes the deployment in `usage`. Raises as `complete`."""
        client = request.dialect

        async def ask(deployment: Deployment, seconds: float) -> tuple[WireAnswer, bool]:
            provider = counting_dialect(deployment, client)
            if provider is not None:
                sent = SentRequest(provider, counting_body(deployment, client, provider, request.body))
                attempt = self._attempt(deployment, sent, request, seconds, counts_tokens=True)
                answer = await self._wire(deployment).whole(attempt)
                tokens = tokens_told(answer.body)
                if tokens is None:
                    raise failure(answer.body, answer.headers, provider)
                body = answer.body if provider is client else counted_answer(client, tokens)
                return WireAnswer(body, answer.headers), True
            if deployment.encoding is None:
                raise InvalidBody("model", "it is not known how many tokens this model makes of a text")
            tokens = await likely_input_tokens(prompt_of(client, request.body), deployment.encoding)
            return WireAnswer(counted_answer(client, tokens), {}), False

        deployment, (answer, was_asked) = await self._router.run(model, client, ask, allowed=self._allowed)
        usage.provider, usage.model = deployment.provider, deployment.model
        if was_asked:
            self._router.breaker.succeeded(deployment.key)
        else:
            self._router.breaker.abandoned(deployment.key)
        return ModelAnswer(deployment=deployment, body=answer.body, headers=answer.headers)

    def _wire(self, deployment: Deployment) -> Wire:
        if deployment.protocol != "litellm":
            return self._http
        if self._litellm is None:
            raise NoAnswer("the litellm library is not installed", may_pass=False)
        return self._litellm

    def _attempt(
        self,
        deployment: Deployment,
        sent: SentRequest,
        request: ModelRequest,
        seconds: float,
        *,
        counts_tokens: bool = False,
    ) -> Attempt:
        return Attempt(
            counts_tokens=counts_tokens,
            deployment=deployment,
            dialect=sent.dialect,
            body=sent.body,
            headers=request.headers if sent.dialect is request.dialect else {},
            timeout_seconds=seconds,
            first_token_seconds=min(seconds, deployment.stream_timeout_seconds or self._first_token_seconds),
            idle_seconds=deployment.stream_timeout_seconds or self._idle_seconds,
        )


def _taken(deployment: Deployment, input_tokens: int) -> int:
    """What a deployment takes of an input at most: it refuses what does not fit into its context window."""
    return min(input_tokens, deployment.max_input_tokens or input_tokens)


def _charge_input(attempt: Attempt, usage: Usage, input_tokens: int, modes: PriceModes = ORDINARY) -> None:
    """Charges a call that is given up while its provider has it: what that has read it asks money for. Of what it may
    have written meanwhile nothing is known."""
    if attempt.is_sent:
        estimate(attempt.deployment, usage, input_tokens, 0, modes)
