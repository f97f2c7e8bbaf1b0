"""Calls of models: the use case behind `/v1/chat/completions`, `/v1/messages`, `/v1/responses` and `/v1/embeddings`.

A call is held at its worst case: the bound of its input, and as much output as it asks for. When that is more than its
limits have left, its output is bounded by what they pay for, and it is refused only when that is not one token. A
call that is refused before admission leaves a trace, as one that admission refuses does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import msgspec

from bailiwick.invocations.admission import TermsChanged
from bailiwick.invocations.answer_cache import (
    MOST_BYTES,
    AnswerCache,
    CachePlace,
    KeptAnswer,
    cache_directives,
    request_hash,
)
from bailiwick.invocations.calls import Charging, Outcome
from bailiwick.invocations.dialects import (
    Dialect,
    InvalidBody,
    Position,
    embedding_positions,
    embedding_prompt,
    modes_asked,
    output_bound,
    prompt_of,
    request_positions,
)
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.errors import BudgetExhausted, CostLimitExceeded, MinuteTooSmall, ModelNotAllowed
from bailiwick.invocations.model_terms import ModelTerms, ModelTermsCache, narrowest_limit, own_session, virtual_key_of
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.prepared_calls import COUNTS, EMBEDDINGS, ModelCall, PreparedCall
from bailiwick.invocations.prices import MOST_TOKENS
from bailiwick.invocations.prompt_counts import most_input_tokens
from bailiwick.invocations.refusals import Refusal
from bailiwick.invocations.requests import Charge
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.ids import uuid7

KINDS: Mapping[Dialect, str] = {Dialect.CHAT: "chat", Dialect.MESSAGES: "messages", Dialect.RESPONSES: "responses"}
"""What the invocations of each dialect are called."""
_LONGEST_NAME = 256
_FOR_US = frozenset({"max_cost_usd", "sensitivity_tier"})
_CHANGES_PROVIDER = ("conversation", "background")
"""Members of a Responses request that leave something behind at the provider: such a request is never only repeated."""


class ModelCalls(msgspec.Struct, frozen=True):
    """What a call of a model needs of its process."""

    pipeline: Pipeline
    upstreams: Upstreams
    terms: ModelTermsCache
    cache: AnswerCache

    async def complete(self, call: ModelCall) -> Outcome:
        """The settled whole answer (`ModelResponse`).

        Raises InvalidBody, ModelNotAllowed, BudgetExhausted, CallRateLimited, DlpPolicyViolation, DlpWithheld,
        KilledBySwitch, CredentialRevoked, ProviderRefused, TargetUnavailable.
        """
        prepared = await self._prepare(call)
        if (kept := await self._found(prepared)) is not None:
            return await self.pipeline.invoke(prepared.repeating(kept))
        await self._bound_by_call(prepared)
        granted = await self._expected(prepared)
        try:
            outcome = await self.pipeline.invoke(prepared.of(granted, {}))
        except BudgetExhausted as refusal:
            granted = await self._affordable(prepared, refusal)
            outcome = await self.pipeline.invoke(prepared.of(granted, {}))
        self._keep(prepared, granted, outcome.response.content)
        return outcome

    @asynccontextmanager
    async def stream(self, call: ModelCall, headers: dict[str, str]) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The answer's events as they may go out (`Pipeline.stream`); `headers` receives the provider's. Raises as
        `complete`."""
        prepared = await self._prepare(call)
        async with AsyncExitStack() as stack:
            if (kept := await self._found(prepared)) is not None:
                yield await stack.enter_async_context(self.pipeline.stream(prepared.repeating(kept)))
                return
            await self._bound_by_call(prepared)
            granted = await self._expected(prepared)
            try:
                events = await stack.enter_async_context(self.pipeline.stream(prepared.of(granted, headers)))
            except BudgetExhausted as refusal:
                granted = await self._affordable(prepared, refusal)
                events = await stack.enter_async_context(self.pipeline.stream(prepared.of(granted, headers)))
            if self._keeps(prepared):
                events = await stack.enter_async_context(aclosing(self._collected(prepared, granted, events)))
            yield events

    async def embed(self, call: ModelCall) -> Outcome:
        """Embeddings (`ModelResponse`). Raises as `complete`."""
        model = self._model(call)
        if not any(place.embeds and place.protocol != "anthropic" for place in self.upstreams.deployments(model)):
            raise InvalidBody("model", "this model makes no embeddings")
        body = _for_provider(call)
        prompt = embedding_prompt(body)
        prepared = await self._allowed(call, EMBEDDINGS, model, body, embedding_positions(body))
        prepared.input_tokens = await most_input_tokens(prompt, prepared.upstreams.readers(model).encodings)
        if (kept := await self._found(prepared)) is not None:
            return await self.pipeline.invoke(prepared.repeating(kept))
        invocation = prepared.embedding()
        most_tokens = prepared.allowed_by.tokens_per_minute
        if most_tokens is not None and prepared.input_tokens > most_tokens:
            await self.refuse(call, EMBEDDINGS, MinuteTooSmall())
        if call.most_micros is not None and invocation.target.worst_case_micros(()) > call.most_micros:
            await self.refuse(call, EMBEDDINGS, CostLimitExceeded())
        outcome = await self.pipeline.invoke(invocation)
        self._keep(prepared, 0, outcome.response.content)
        return outcome

    async def count(self, call: ModelCall) -> Outcome:
        """How many tokens the request would be (`ModelResponse`); it costs nothing. Raises as `complete`."""
        model = self._model(call)
        body = _for_provider(call)
        prepared = await self._allowed(call, COUNTS, model, body, request_positions(call.dialect, body))
        return await self.pipeline.invoke(prepared.counting())

    async def refuse(self, call: ModelCall, kind: str, refusal: BailiwickError) -> NoReturn:
        """Raises the refusal of a call that is not to come to admission, once its trace is on disk. A call of a model
        that is not here leaves none."""
        with suppress(InvalidBody):
            trace = Refusal(
                id=uuid7(),
                caller=call.caller,
                kind=kind,
                target_kind="model",
                target_name=self._model(call),
                virtual_key_id=virtual_key_of(call.caller),
                session_name=call.session_name or own_session(call.caller),
                error_code=refusal.code,
                context=call.context_json,
            )
            await self.pipeline.refuse(trace)
            if call.refused is not None:
                call.refused(trace.id)
        raise refusal

    def _model(self, call: ModelCall) -> str:
        model = call.body.get("model")
        if not isinstance(model, str) or not model:
            raise InvalidBody("model", "must name a model")
        if len(model) > _LONGEST_NAME or not model.isprintable():  # under a wildcard callers choose what is kept
            raise InvalidBody("model", f"must be at most {_LONGEST_NAME} printable characters")
        if not self.upstreams.deployments(model):
            raise InvalidBody("model", "there is no such model here")
        return model

    async def _prepare(self, call: ModelCall) -> PreparedCall:
        model = self._model(call)
        body = _for_provider(call)
        choices, bound = _choices(call.dialect, body), output_bound(call.dialect, body)
        modes = modes_asked(call.dialect, body)
        positions = request_positions(call.dialect, body)
        prepared = await self._allowed(call, KINDS[call.dialect], model, body, positions)
        upstreams = prepared.upstreams
        readers = upstreams.readers(model)
        prompt = prompt_of(call.dialect, body, for_anthropic=readers.are_anthropic)
        prepared.input_tokens = await most_input_tokens(prompt, readers.encodings)
        prepared.caches_an_hour = prompt.caches_an_hour
        # A client may ask for more than the database can count.
        asked = min(bound or upstreams.most_output_tokens(model) * choices, MOST_TOKENS)
        prepared.output_tokens = prepared.asked_tokens = asked
        prepared.choices, prepared.modes = choices, modes
        return prepared

    async def _allowed(
        self, call: ModelCall, kind: str, model: str, body: dict[str, Any], positions: list[Position]
    ) -> PreparedCall:
        """The call without its bounds, when its key may make it. Raises ModelNotAllowed."""
        session_name = call.session_name or own_session(call.caller)
        terms = await self._terms(call, kind, session_name, model)
        upstreams = self.upstreams.within(terms.allowed_models)
        prepared = PreparedCall(
            call=call,
            kind=kind,
            model=model,
            session_name=session_name,
            body=body,
            positions=positions,
            charge=Charging(terms.charge, partial(self._charge, call, kind, session_name, model, upstreams)),
            allowed_by=terms,
            upstreams=upstreams,
            terms=self.terms,
        )
        prepared.place = self._place(prepared)
        return prepared

    def _place(self, prepared: PreparedCall) -> CachePlace | None:
        """Where the answer is kept; None when the call's key has no cache, or the call is none to be repeated."""
        caller, body = prepared.call.caller, prepared.body
        key_id = virtual_key_of(caller)
        if key_id is None or not prepared.allowed_by.cache_seconds:
            return None
        if prepared.kind == Dialect.RESPONSES and any(body.get(member) for member in _CHANGES_PROVIDER):
            return None
        return CachePlace(
            organization_id=caller.tenant,
            virtual_key_id=key_id,
            request_hash=request_hash(
                prepared.kind, body, prepared.call.headers, prepared.upstreams.deployments(prepared.model)
            ),
            kind=prepared.kind,
            is_stream=bool(body.get("stream")),
        )

    async def _found(self, prepared: PreparedCall) -> KeptAnswer | None:
        if prepared.place is None:
            return None
        kept = None
        if "no-cache" not in cache_directives(prepared.call.headers):
            kept = await self.cache.find(prepared.place)
        if prepared.call.cached is not None:
            prepared.call.cached(kept is not None)
        return kept

    def _keeps(self, prepared: PreparedCall) -> bool:
        return prepared.place is not None and "no-store" not in cache_directives(prepared.call.headers)

    def _keep(self, prepared: PreparedCall, granted_tokens: int, content: bytes) -> None:
        """Keeps a settled answer, if it is to be kept."""
        if prepared.place is None or not self._keeps(prepared) or len(content) > MOST_BYTES:
            return
        answer = prepared.to_keep(granted_tokens, content)
        if answer is not None:
            self.cache.keep(prepared.place, answer)

    async def _collected(
        self, prepared: PreparedCall, granted_tokens: int, events: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """The events, and when they have all been handed out and none was cut off, keeps them."""
        pieces: list[bytes] = []
        size = 0
        async for content in events:
            size += len(content)
            if size <= MOST_BYTES:
                pieces.append(content)
            else:
                pieces.clear()
            yield content
        running = prepared.running
        if size <= MOST_BYTES and running is not None and running.timeline.answered:
            self._keep(prepared, granted_tokens, b"".join(pieces))

    async def _bound_by_call(self, prepared: PreparedCall) -> None:
        """Bounds the output by what the call itself may cost, and by what fits into a minute of its key. Raises
        CostLimitExceeded and MinuteTooSmall."""
        if prepared.call.most_micros is not None:
            affordable = self._output_for(prepared, prepared.call.most_micros)
            if affordable < prepared.choices:
                await self.refuse(prepared.call, prepared.kind, CostLimitExceeded())
            prepared.output_tokens = min(prepared.output_tokens, affordable)
        most_tokens = prepared.allowed_by.tokens_per_minute
        if most_tokens is not None:
            fitting = most_tokens - prepared.input_tokens
            if fitting < prepared.choices:
                await self.refuse(prepared.call, prepared.kind, MinuteTooSmall())
            prepared.output_tokens = min(prepared.output_tokens, fitting)

    def _output_for(self, prepared: PreparedCall, micros: int) -> int:
        return prepared.upstreams.affordable_output_tokens(
            prepared.model,
            prepared.input_tokens,
            micros,
            caches_an_hour=prepared.caches_an_hour,
            modes=prepared.modes,
        )

    async def _expected(self, prepared: PreparedCall) -> int:
        """How much output admission will probably grant: a refusal is a trace of its own, and not worth one that is
        foreseen and then taken back. A call that nothing is left for is refused by admission itself."""
        left = prepared.allowed_by.left_micros
        if left is None or prepared.worst_case_micros(prepared.output_tokens) <= left:
            return prepared.output_tokens
        left = (await narrowest_limit(prepared.call.caller, prepared.session_name)).left
        affordable = min(self._output_for(prepared, left), prepared.output_tokens)
        return prepared.output_tokens if affordable < prepared.choices else affordable

    async def _affordable(self, prepared: PreparedCall, refusal: BudgetExhausted) -> int:
        """How much output the limits that refused a call would pay for now. Raises the refusal when it is none."""
        left = (await narrowest_limit(prepared.call.caller, prepared.session_name)).left
        affordable = self._output_for(prepared, left)
        if affordable < prepared.choices:
            raise refusal
        return min(affordable, prepared.output_tokens)

    async def _charge(self, call: ModelCall, kind: str, session_name: str, model: str, upstreams: Upstreams) -> Charge:
        """Where a call's money comes from now. Raises ModelNotAllowed, and TermsChanged when what may stand in for the
        model is no longer what the call was prepared for."""
        terms = await self._terms(call, kind, session_name, model)
        if self.upstreams.within(terms.allowed_models).deployments(model) != upstreams.deployments(model):
            raise TermsChanged
        return terms.charge

    async def _terms(self, call: ModelCall, kind: str, session_name: str, model: str) -> ModelTerms:
        """The terms of a call. Raises ModelNotAllowed, once its trace is on disk."""
        caller = call.caller
        terms = await self.terms.get(caller, session_name)
        if not terms.allows(model):
            # Admission corrects terms of yesterday that allow too much; a refusal comes before it, so look again.
            self.terms.forget(caller.tenant)
            terms = await self.terms.get(caller, session_name)
            if not terms.allows(model):
                await self.refuse(call, kind, ModelNotAllowed())
        return terms


def _for_provider(call: ModelCall) -> dict[str, Any]:
    """The body without what is meant for the gateway alone."""
    return {key: value for key, value in call.body.items() if key not in _FOR_US}


def _choices(dialect: Dialect, body: Mapping[str, Any]) -> int:
    """How many answers a chat asks for at once. Raises InvalidBody."""
    choices = body.get("n") if dialect is Dialect.CHAT else None
    if choices is None:
        return 1
    if isinstance(choices, bool) or not isinstance(choices, int) or choices < 1:
        raise InvalidBody("n", "must be a whole number above zero")
    return choices
