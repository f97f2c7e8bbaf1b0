"""Calls of models: the use case behind `/v1/chat/completions`, `/v1/messages` and `/v1/responses`.

A call is held at its worst case: the bound of its input, and as much output as it asks for. When that is more than its
limits have left, its output is bounded by what they pay for, and it is refused only when that is not one token.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from bailiwick.identity import Caller
from bailiwick.invocations.calls import Outcome, StreamCall
from bailiwick.invocations.dialects import (
    Dialect,
    InvalidBody,
    Position,
    input_tokens_bound,
    output_bound,
    request_positions,
)
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.errors import BudgetExhausted, ModelNotAllowed
from bailiwick.invocations.inspection import GATEWAY
from bailiwick.invocations.model_target import ModelAnswers, ModelTarget
from bailiwick.invocations.model_terms import ModelTermsCache, narrowest_limit, own_session
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.relaying import inspected
from bailiwick.invocations.requests import Charge
from bailiwick.invocations.running import Running

KINDS: Mapping[Dialect, str] = {Dialect.CHAT: "chat", Dialect.MESSAGES: "messages", Dialect.RESPONSES: "responses"}
"""What the invocations of each dialect are called."""
_FOR_US = frozenset({"max_cost_usd", "sensitivity_tier"})


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks of a model."""

    caller: Caller
    dialect: Dialect
    body: dict[str, Any]
    text: str
    """The body as it was sent."""
    headers: Mapping[str, str] = {}
    """The client's (lower-case names)."""
    session_name: str | None = None
    most_micros: int | None = None
    """The most that the call may cost, in micro-dollars."""
    context: Mapping[str, object] | None = None
    begun: Callable[[Running], None] | None = None
    """Told when the call has been admitted."""


class ModelCalls(msgspec.Struct, frozen=True):
    """What a call of a model needs of its process."""

    pipeline: Pipeline
    upstreams: Upstreams
    terms: ModelTermsCache

    async def complete(self, call: ModelCall) -> Outcome:
        """The settled whole answer (`ModelResponse`).

        Raises InvalidBody, ModelNotAllowed, BudgetExhausted, CallRateLimited, DlpPolicyViolation, DlpWithheld,
        KilledBySwitch, CredentialRevoked, ProviderRefused, TargetUnavailable.
        """
        prepared = await self._prepare(call)
        try:
            return await self.pipeline.invoke(prepared.of(await self._expected(prepared), {}))
        except BudgetExhausted as refusal:
            affordable = await self._affordable(prepared, refusal)
        return await self.pipeline.invoke(prepared.of(affordable, {}))

    @asynccontextmanager
    async def stream(self, call: ModelCall, headers: dict[str, str]) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The answer's events as they may go out (`Pipeline.stream`); `headers` receives the provider's. Raises as
        `complete`."""
        prepared = await self._prepare(call)
        async with AsyncExitStack() as stack:
            try:
                events = await stack.enter_async_context(
                    self.pipeline.stream(prepared.of(await self._expected(prepared), headers))
                )
            except BudgetExhausted as refusal:
                affordable = await self._affordable(prepared, refusal)
                events = await stack.enter_async_context(self.pipeline.stream(prepared.of(affordable, headers)))
            yield events

    async def _prepare(self, call: ModelCall) -> _Prepared:
        model = call.body.get("model")
        if not isinstance(model, str) or not model:
            raise InvalidBody("model", "must name a model")
        if not self.upstreams.deployments(model):
            raise InvalidBody("model", "there is no such model here")
        session_name = call.session_name or own_session(call.caller)
        charge = partial(self._charge, call.caller, session_name, model)
        await charge()
        body = {key: value for key, value in call.body.items() if key not in _FOR_US}
        choices = _choices(call.dialect, body)
        prepared = _Prepared(
            call=call,
            model=model,
            session_name=session_name,
            body=body,
            positions=request_positions(call.dialect, body),
            choices=choices,
            input_tokens=input_tokens_bound(call.dialect, body),
            output_tokens=output_bound(call.dialect, body) or self.upstreams.most_output_tokens(model) * choices,
            charge=charge,
            calls=self,
        )
        if call.most_micros is not None:
            affordable = self._output_for(prepared, call.most_micros)
            if affordable < choices:
                raise BudgetExhausted
            prepared = msgspec.structs.replace(prepared, output_tokens=min(prepared.output_tokens, affordable))
        return prepared

    def _output_for(self, prepared: _Prepared, micros: int) -> int:
        return self.upstreams.affordable_output_tokens(prepared.model, prepared.input_tokens, micros)

    async def _expected(self, prepared: _Prepared) -> int:
        """How much output admission will probably grant: a refusal is a trace of its own, and not worth one that is
        foreseen and then taken back. A call that nothing is left for is refused by admission itself."""
        left = (await self.terms.get(prepared.call.caller, prepared.session_name)).left_micros
        worst = self.upstreams.worst_case_micros(prepared.model, prepared.input_tokens, prepared.output_tokens)
        if left is None or worst <= left:
            return prepared.output_tokens
        left = (await narrowest_limit(prepared.call.caller, prepared.session_name)).left
        affordable = min(self._output_for(prepared, left), prepared.output_tokens)
        return prepared.output_tokens if affordable < prepared.choices else affordable

    async def _affordable(self, prepared: _Prepared, refusal: BudgetExhausted) -> int:
        """How much output the limits that refused a call would pay for now. Raises the refusal when it is none."""
        left = (await narrowest_limit(prepared.call.caller, prepared.session_name)).left
        affordable = self._output_for(prepared, left)
        if affordable < prepared.choices:
            raise refusal
        return min(affordable, prepared.output_tokens)

    async def _charge(self, caller: Caller, session_name: str, model: str) -> Charge:
        """Where a call's money comes from. Raises ModelNotAllowed."""
        terms = await self.terms.get(caller, session_name)
        if not terms.allows(model):
            # Admission corrects terms of yesterday that allow too much; a refusal comes before it, so look again.
            self.terms.forget(caller.tenant)
            terms = await self.terms.get(caller, session_name)
            if not terms.allows(model):
                raise ModelNotAllowed
        return terms.charge


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is allowed, and its bounds."""

    call: ModelCall
    model: str
    session_name: str
    body: dict[str, Any]
    positions: list[Position]
    choices: int
    input_tokens: int
    output_tokens: int
    charge: Callable[[], Any]
    calls: ModelCalls

    def _begun(self, running: Running) -> None:
        self.calls.terms.note(self.call.caller, self.session_name, running.admitted)
        if self.call.begun is not None:
            self.call.begun(running)

    def of(self, output_tokens: int, passed_on: dict[str, str]) -> StreamCall:
        """The invocation, its output bounded."""
        call = self.call
        return StreamCall(
            caller=call.caller,
            organization_id=call.caller.tenant,
            kind=KINDS[call.dialect],
            target=ModelTarget(
                name=self.model,
                upstreams=self.calls.upstreams,
                dialect=call.dialect,
                body=self.body,
                positions=self.positions,
                headers=call.headers,
                input_tokens=self.input_tokens,
                output_tokens=output_tokens,
                passed_on=passed_on,
            ),
            texts=[inspected(position) for position in self.positions],
            charge=self.charge,
            stale=self.calls.terms.forget,
            form=ModelAnswers(call.dialect),
            policy=GATEWAY,
            dialect=call.dialect,
            hashed_input=call.text,
            tokens=self.input_tokens + output_tokens,
            begun=self._begun,
            session_name=self.session_name,
            trace_parent=call.headers.get("traceparent"),
            context=call.context,
        )


def _choices(dialect: Dialect, body: Mapping[str, Any]) -> int:
    """How many answers a chat asks for at once. Raises InvalidBody."""
    choices = body.get("n") if dialect is Dialect.CHAT else None
    if choices is None:
        return 1
    if isinstance(choices, bool) or not isinstance(choices, int) or choices < 1:
        raise InvalidBody("n", "must be a whole number above zero")
    return choices
