"""What the pipeline is asked to do: a call, its target, the form of its answer, and its outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

import msgspec

from bailiwick.identity import Caller
from bailiwick.invocations.dialects import Dialect, ServerEvent
from bailiwick.invocations.inspection import HOSTED, InspectionPolicy
from bailiwick.invocations.records import Record, sha256_hex
from bailiwick.invocations.requests import Charge, Decision, InspectedText, Usage
from bailiwick.invocations.running import Running


class Target(Protocol):
    """What an invocation calls. One implementation for each kind."""

    @property
    def kind(self) -> str:
        """The kind of target, as the invocation's row tells it."""
        ...

    @property
    def name(self) -> str:
        """Which of its kind."""
        ...

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """The most that the call may cost, in micro-dollars: what the hold reserves."""
        ...

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> Any:
        """The answer to the inspected texts, in the call's `form`; keeps `usage` current. Raises TargetUnavailable and
        its kin."""
        ...


class EventStream(Protocol):
    """An answer that has begun."""

    hides_usage: bool
    """A chat stream whose usage we asked for though the client did not."""

    def __aiter__(self) -> AsyncIterator[list[ServerEvent]]:
        """The events, those of one network read together."""
        ...


class StreamTarget(Target, Protocol):
    """A target whose answer can be passed on as it comes."""

    def stream(self, texts: Sequence[str], usage: Usage) -> AbstractAsyncContextManager[EventStream]:
        """The answer as it comes; `usage` is current at each read, so that a cut is charged for what was used."""
        ...


class AnswerForm(Protocol):
    """Where the texts of a target's whole answer stand."""

    def texts_of(self, answer: Any) -> Sequence[InspectedText]:
        """Every text of the answer."""
        ...

    def put_back(self, answer: Any, texts: Sequence[str]) -> tuple[Any, str]:
        """The answer with inspected texts in their places, and the SHA-256 (hex) of what goes out."""
        ...


class _PlainText:
    def texts_of(self, answer: str) -> Sequence[InspectedText]:
        return (InspectedText(answer),)

    def put_back(self, _answer: str, texts: Sequence[str]) -> tuple[str, str]:
        return texts[0], sha256_hex(texts[0])


PLAIN_TEXT: AnswerForm = _PlainText()
"""An answer that is one text."""


class Charging:
    """Where a call's money comes from: as it was read when the call was allowed, then as `read` tells each time."""

    def __init__(self, known: Charge, read: Callable[[], Awaitable[Charge]]) -> None:
        self._known: Charge | None = known
        self._read = read

    async def __call__(self) -> Charge:
        known, self._known = self._known, None
        return await self._read() if known is None else known


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation before admission."""

    caller: Caller
    organization_id: UUID
    kind: str
    target: Target
    texts: Sequence[InspectedText]
    """What is inspected and sent."""
    charge: Callable[[], Awaitable[Charge]]
    """Reads where the money comes from; asked again when the organisation changed meanwhile."""
    stale: Callable[[UUID], None]
    """Told before `charge` is asked again."""
    form: AnswerForm = PLAIN_TEXT
    policy: InspectionPolicy = HOSTED
    hashed_input: str | None = None
    """The text whose hash is recorded; None: the first of `texts`."""
    tokens: int = 0
    """The most tokens that the call may use, where budgets count them."""
    begun: Callable[[Running], None] | None = None
    """Told when the call has been admitted."""
    answered: Callable[[Any], None] | None = None
    """Told the `response` of a whole answer while its settlement is on its way, to make it ready for going out."""
    refused: Callable[[UUID], None] | None = None
    """Told the id of the trace when it has not been."""
    session_name: str | None = None
    trace_parent: str | None = None
    """The caller's W3C `traceparent`."""
    requested_model: str | None = None
    """The model that the caller asked for, where that is not the target's name."""
    context: str | None = None
    """What the caller tells of the call, as a JSON object: small facts that its trace shows."""


class StreamCall(Call, frozen=True, kw_only=True):
    """An invocation whose answer can be passed on as it comes."""

    target: StreamTarget
    dialect: Dialect
    """Of the stream's events."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A completed invocation; `response` is what the call's form makes of the answer."""

    response: Any
    decision: Decision
    usage: Usage
    record: Record
