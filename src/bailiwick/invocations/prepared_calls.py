"""What a client asks of a model, and that call once it is allowed: its texts, its bounds, its invocation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from bailiwick.identity import Caller
from bailiwick.invocations.answer_cache import CachePlace, KeptAnswer
from bailiwick.invocations.cached_target import CachedTarget
from bailiwick.invocations.calls import AnswerForm, Call, StreamCall
from bailiwick.invocations.counting_target import CountingTarget
from bailiwick.invocations.dialects import ORDINARY, Dialect, EventParser, Position, PriceModes
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.embedding_target import EmbeddingTarget, TextlessAnswers
from bailiwick.invocations.inspection import GATEWAY
from bailiwick.invocations.model_target import ModelAnswers, ModelResponse, ModelTarget
from bailiwick.invocations.model_terms import ModelTerms, ModelTermsCache
from bailiwick.invocations.relaying import inspected
from bailiwick.invocations.requests import Charge
from bailiwick.invocations.running import Running

EMBEDDINGS = "embeddings"
"""What the invocations that make embeddings are called."""
COUNTS = "count_tokens"
"""What those that count the tokens of a request are called."""
_json = msgspec.json.Encoder()
_TEXTLESS = frozenset({EMBEDDINGS, COUNTS})


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks of a model."""

    caller: Caller
    dialect: Dialect
    """Of a request for embeddings: CHAT, in whose form its errors are."""
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
    answered: Callable[[ModelResponse], None] | None = None
    """Told a whole answer while its settlement is on its way (`Call.answered`)."""
    refused: Callable[[UUID], None] | None = None
    """Told the id of the trace when it has not been."""
    cached: Callable[[bool], None] | None = None
    """Told whether the answer comes from the cache, when the key has one."""

    @property
    def context_json(self) -> str | None:
        """The context as its trace keeps it."""
        return _json.encode(self.context).decode() if self.context else None


class PreparedCall(msgspec.Struct, kw_only=True):
    """A call that is allowed, and its bounds."""

    call: ModelCall
    kind: str
    model: str
    session_name: str
    body: dict[str, Any]
    positions: list[Position]
    input_tokens: int = 0
    caches_an_hour: bool = False
    """Whether it asks that some of its input be cached for so long, which costs more."""
    modes: PriceModes = ORDINARY
    """What it asks for that changes the price of all its tokens."""
    output_tokens: int = 0
    """As many as it may have: what it asks for, or what its own limit in money pays for."""
    choices: int = 1
    asked_tokens: int = 0
    """Output tokens that it asks for."""
    charge: Callable[[], Awaitable[Charge]]
    allowed_by: ModelTerms
    """The terms that it was allowed by."""
    upstreams: Upstreams
    """Those that the terms allow."""
    terms: ModelTermsCache
    place: CachePlace | None = None
    """Where its answer may be kept; None: its key has no cache."""
    running: Running | None = None
    worst_cases: dict[int, int] = msgspec.field(default_factory=dict)
    """What `worst_case_micros` has found."""

    def worst_case_micros(self, output_tokens: int) -> int:
        """The most that the call can cost with so much output."""
        found = self.worst_cases.get(output_tokens)
        if found is None:
            found = self.worst_cases[output_tokens] = self.upstreams.worst_case_micros(
                self.model,
                self.input_tokens,
                output_tokens,
                caches_an_hour=self.caches_an_hour,
                modes=self.modes,
            )
        return found

    def of(self, output_tokens: int, passed_on: dict[str, str]) -> StreamCall:
        """The invocation, its output bounded."""
        target = ModelTarget(
            name=self.model,
            upstreams=self.upstreams,
            dialect=self.call.dialect,
            body=self.body,
            positions=self.positions,
            headers=self.call.headers,
            input_tokens=self.input_tokens,
            output_tokens=output_tokens,
            passed_on=passed_on,
            amount_micros=self.worst_case_micros(output_tokens),
        )
        tokens = self.input_tokens + output_tokens
        return StreamCall(target=target, dialect=self.call.dialect, tokens=tokens, **self._facts())

    def embedding(self) -> Call:
        """The invocation that makes embeddings."""
        target = EmbeddingTarget(
            name=self.model,
            upstreams=self.upstreams,
            body=self.body,
            positions=self.positions,
            input_tokens=self.input_tokens,
        )
        return Call(target=target, tokens=self.input_tokens, **self._facts())

    def counting(self) -> Call:
        """The invocation that counts the request's tokens."""
        target = CountingTarget(
            name=self.model,
            upstreams=self.upstreams,
            dialect=self.call.dialect,
            body=self.body,
            positions=self.positions,
            headers=self.call.headers,
        )
        return Call(target=target, **self._facts())

    def repeating(self, answer: KeptAnswer) -> StreamCall:
        """The invocation that is answered with what is known."""
        return StreamCall(target=CachedTarget(self.model, answer), dialect=self.call.dialect, **self._facts())

    def _facts(self) -> dict[str, Any]:
        """What every invocation of this call has."""
        call = self.call
        form: AnswerForm = TextlessAnswers() if self.kind in _TEXTLESS else ModelAnswers(call.dialect)
        return {
            "caller": call.caller,
            "organization_id": call.caller.tenant,
            "kind": self.kind,
            "texts": [inspected(position) for position in self.positions],
            "charge": self.charge,
            "stale": self.terms.forget,
            "form": form,
            "policy": GATEWAY,
            "hashed_input": call.text,
            "begun": self._begun,
            "answered": call.answered,
            "refused": call.refused,
            "session_name": self.session_name,
            "trace_parent": call.headers.get("traceparent"),
            "context": call.context_json,
        }

    def _begun(self, running: Running) -> None:
        self.running = running
        self.terms.note(self.call.caller, self.session_name, running.admitted)
        if self.call.begun is not None:
            self.call.begun(running)

    def to_keep(self, granted_tokens: int, content: bytes) -> KeptAnswer | None:
        """The settled answer, as far as it may stand for what the call asks for: None when it may have ended at a bound
        that was not the call's own, or is not complete."""
        running = self.running
        if running is None or (self.kind == Dialect.RESPONSES and not _is_completed(self.call, content)):
            return None
        usage = running.usage
        if granted_tokens < self.asked_tokens and usage.output_tokens >= granted_tokens // self.choices:
            return None
        return KeptAnswer(
            content=content,
            provider=usage.provider,
            model=usage.model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_micros=min(usage.cost_micros, running.admission.amount_micros),
        )


def _is_completed(call: ModelCall, content: bytes) -> bool:
    """Whether a whole answer of the Responses API, or its stream, says that it is complete."""
    if call.body.get("stream"):
        return any(name == "response.completed" for name, _ in EventParser().feed(content)[-1:])
    return bool(msgspec.json.decode(content).get("status") == "completed")
