"""The pipeline that every invocation takes: admit, inspect, dispatch, inspect, settle.

    identify ─► admit ─► inspect ─► dispatch ─► inspect ─► settle

`identify` has happened when a Call is made. Whatever happens after admission (an answer, a refusal, a failure, the
caller going away) ends in exactly one settlement; only the death of the process leaves it to the sweeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from bailiwick.dlp import Category, Finding, StreamMasker, is_blocking_phi
from bailiwick.identity import Caller
from bailiwick.invocations import admission, settlement
from bailiwick.invocations.cuts import Cuttable
from bailiwick.invocations.engaged_switches import EngagedSwitches
from bailiwick.invocations.errors import (
    AllowanceExhausted,
    Cancelled,
    InvocationBlocked,
    KilledBySwitch,
    OutputBlocked,
    TargetUnavailable,
)
from bailiwick.invocations.inspection import inspect
from bailiwick.invocations.lanes import Lane
from bailiwick.invocations.measures import measure
from bailiwick.invocations.records import Record, record, sha256_hex
from bailiwick.invocations.requests import (
    Admission,
    Charge,
    Decision,
    InspectedText,
    Inspection,
    Settlement,
    Status,
    Usage,
)
from bailiwick.invocations.spans import Timeline, trace_invocation
from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.ids import uuid7

_log = structlog.get_logger(__name__)


class Target(Protocol):
    """What an invocation calls. One implementation for each kind (`dispatch/`)."""

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

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> str:
        """The answer to the inspected texts; keeps `usage` current. Raises TargetUnavailable and its kin."""
        ...


class StreamTarget(Target, Protocol):
    """A target whose answer can be passed on as it comes."""

    def stream(self, texts: Sequence[str], usage: Usage) -> AsyncGenerator[str, None]:
        """The answer's pieces; `usage` is current at each, so that a cut is charged for what was used."""
        ...


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation before admission."""

    caller: Caller
    organization_id: UUID
    kind: str
    target: Target
    texts: Sequence[InspectedText]
    """What is inspected and sent; the first is the main one, whose hash is recorded."""
    charge: Callable[[], Awaitable[Charge]]
    """Reads where the money comes from; asked again when the organisation changed meanwhile."""
    stale: Callable[[UUID], None]
    """Told before `charge` is asked again."""
    session_name: str | None = None
    trace_parent: str | None = None
    """The caller's W3C `traceparent`."""
    requested_model: str | None = None
    """The model that the caller asked for, where that is not the target's name."""
    context: Mapping[str, object] | None = None
    """What the caller tells of the call: small facts that its trace shows."""


class StreamCall(Call, frozen=True, kw_only=True):
    """An invocation whose answer is passed on as it comes."""

    target: StreamTarget


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A completed invocation."""

    response: str
    decision: Decision
    usage: Usage
    record: Record


class _Running:
    """An admitted invocation on its way: what is known of it so far."""

    def __init__(self, call: Call, admission: Admission) -> None:
        self.call = call
        self.admission = admission
        self.usage = Usage()
        self.incoming = Inspection(Decision.KILL, (), ())  # until it has been inspected
        self.started = admission.started
        self.timeline = Timeline(started=admission.started_ns, admitted=time.time_ns())
        self.cuts = Cuttable()

    def inspect(self) -> None:
        """Inspects the input. Raises InvocationBlocked and DlpUnavailable."""
        self.incoming = inspect(self.call.texts)
        self.timeline.inspected = time.time_ns()
        if self.incoming.decision is Decision.KILL:
            raise InvocationBlocked([finding.as_flag() for finding in self.incoming.findings])

    def decide(self, decision: Decision) -> None:
        """The strictest of what was decided before and of `decision`."""
        if _STRICTNESS[decision] > _STRICTNESS[self.incoming.decision]:
            self.incoming = msgspec.structs.replace(self.incoming, decision=decision)

    def withhold(self) -> OutputBlocked:
        """The refusal of an answer that may not go out."""
        self.decide(Decision.KILL)
        return OutputBlocked()

    def check_found(self, findings: Sequence[Finding]) -> None:
        """Decides on what was found in a stream so far, as `inspect` does on a whole answer. Raises OutputBlocked."""
        if not findings:
            return
        if is_blocking_phi(findings):
            raise self.withhold()
        masked = any(finding.category is Category.SECRET for finding in findings)
        self.decide(Decision.HIJACK if masked else Decision.ENHANCE)

    def check_used(self) -> None:
        """Cuts a stream that, as its target tells, has used more than was held for it. Raises AllowanceExhausted."""
        if not self.usage.is_estimate and self.usage.cost_micros > self.admission.amount_micros:
            raise AllowanceExhausted("The answer has used all that was reserved for it.")


class Pipeline:
    """The two lanes of one process, admission and settlement, and what runs between them."""

    def __init__(self, database: Database, *, lease_seconds: int) -> None:
        self._admissions: Lane[Admission] = Lane(
            database, partial(admission.admit, lease_seconds=lease_seconds), repeatable=False
        )
        self._settlements: Lane[Settlement] = Lane(database, settlement.settle, repeatable=True)
        self._running: dict[UUID, _Running] = {}
        self.kill_switches = EngagedSwitches(self._cut_killed)
        """Hears of the topic `kill_switch` and cuts what it stops."""
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leftovers: set[asyncio.Task[None]] = set()

    async def invoke(self, call: Call) -> Outcome:
        """Runs one invocation to its settlement.

        Raises AllowanceExhausted, KilledBySwitch and CredentialRevoked before anything is spent; InvocationBlocked,
        OutputBlocked, KilledBySwitch and TargetUnavailable after the settlement that records them; HoldExpired when the
        answer came too late.
        """
        with self._counted():
            return await self._invoke(call)

    async def stream(self, call: StreamCall) -> AsyncGenerator[str, None]:
        """Runs one invocation and yields its answer's text piece by piece as it may go out.

        However the stream ends (at its end, broken by the target, cut by inspection, by its hold or by a kill switch,
        left by its reader), it is settled for what was used by then; the reader's `aclose` waits for that. Raises as
        `invoke`.
        """
        with self._counted():
            running = self._begin(call, await self._admit(call))
            digest = hashlib.sha256()
            try:
                running.inspect()
                masker = StreamMasker({Category.SECRET})
                # Closed here and now, also when the reader leaves: the target is told before the settlement.
                async with contextlib.aclosing(call.target.stream(running.incoming.texts, running.usage)) as pieces:
                    running.cuts.between_sections(partial(self._end_cut, running, pieces))
                    while (text := await _next(running, pieces)) is not None:
                        safe = masker.feed(text)
                        running.check_found(masker.findings)
                        running.check_used()
                        if safe:
                            digest.update(safe.encode("utf-8", "surrogatepass"))
                            try:
                                yield safe
                            finally:
                                await running.cuts.waited()
                    running.cuts.between_sections(None)
                rest = masker.flush()
                running.check_found(masker.findings)
                digest.update(rest.encode("utf-8", "surrogatepass"))
                if rest:
                    yield rest
            except BaseException as error:
                if not await running.cuts.ended():
                    await self._fail(running, error)
                if isinstance(error, BailiwickError | asyncio.CancelledError | GeneratorExit):
                    raise
                raise TargetUnavailable from error
            running.timeline.answered = time.time_ns()
            await self._settle(running, output_hash=digest.hexdigest())

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def _invoke(self, call: Call) -> Outcome:
        running = self._begin(call, await self._admit(call))
        try:
            running.inspect()
            with running.cuts.section():
                answer = await call.target.dispatch(running.incoming.texts, running.usage)
            outgoing = inspect((InspectedText(answer),))
            if outgoing.decision is Decision.KILL:
                raise running.withhold()
        except BaseException as error:
            await self._fail(running, error)
            if isinstance(error, BailiwickError | asyncio.CancelledError):
                raise
            raise TargetUnavailable from error
        running.timeline.answered = time.time_ns()
        running.decide(outgoing.decision)
        response = outgoing.texts[0]
        kept = await self._settle(running, output_hash=sha256_hex(response))
        return Outcome(response=response, decision=running.incoming.decision, usage=running.usage, record=kept)

    def _begin(self, call: Call, admission: Admission) -> _Running:
        """Keeps an admitted invocation within reach of kill switches, until it is settled."""
        running = self._running[admission.id] = _Running(call, admission)
        if self.kill_switches.stops(admission):  # engaged while it was being admitted
            running.cuts.cut(KilledBySwitch())
        return running

    def _cut_killed(self) -> None:
        for running in list(self._running.values()):
            if self.kill_switches.stops(running.admission):
                running.cuts.cut(KilledBySwitch())

    async def _end_cut(self, running: _Running, pieces: AsyncGenerator[str, None]) -> None:
        """Ends a stream that was cut while its reader had its turn: the target is told, the rest is returned."""
        with contextlib.suppress(Exception):  # what the target says to that matters no more
            await pieces.aclose()
        await self._fail(running, running.cuts.reason or KilledBySwitch())

    async def _fail(self, running: _Running, error: BaseException) -> None:
        """Settles an invocation that did not complete: what was used is charged, the rest is returned.

        The settlement is handed over at once; a second cancellation cannot take it back.
        """
        if not isinstance(error, BailiwickError | asyncio.CancelledError | GeneratorExit):
            _log.error("dispatch_failed", target=running.call.target.name, exc_info=error)
        if isinstance(error, KilledBySwitch):
            running.decide(Decision.KILL)
        await self._settle(running, error=error)

    async def _admit(self, call: Call) -> Admission:
        started, started_ns = time.perf_counter(), time.time_ns()
        amount = call.target.worst_case_micros(call.texts)
        for attempt in range(3):
            item = Admission(
                id=uuid7(),
                hold_id=uuid7(),
                caller=call.caller,
                organization_id=call.organization_id,
                charge=await call.charge(),
                amount_micros=amount,
                kind=call.kind,
                target_kind=call.target.kind,
                target_name=call.target.name,
                session_name=call.session_name,
                started=started,
                started_ns=started_ns,
                requested_model=call.requested_model,
            )
            future = self._admissions.batcher.put(item)
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                # The caller went away while its admission was being written: give the hold back once it stands.
                task = asyncio.create_task(self._return_hold(call, item, future))
                self._leftovers.add(task)
                task.add_done_callback(self._leftovers.discard)
                raise
            except admission.TermsChanged:
                if attempt == 2:
                    raise
                call.stale(call.organization_id)
                continue
            return item
        raise AssertionError("unreachable")

    async def _return_hold(self, call: Call, item: Admission, future: asyncio.Future[None]) -> None:
        try:
            await future
        except Exception:
            return
        running = _Running(call, item)
        running.incoming = Inspection(Decision.BYPASS, (), ())
        await self._settle(running, error=Cancelled())

    async def _settle(
        self, running: _Running, *, output_hash: str | None = None, error: BaseException | None = None
    ) -> Record:
        self._running.pop(running.admission.id, None)
        latency_ms = round((time.perf_counter() - running.started) * 1000)
        status, error_code = _ended(error)
        call, usage, inspection = running.call, running.usage, running.incoming
        kept = record(
            call_kind=call.kind,
            admission=running.admission,
            main_text=call.texts[0].text,
            inspection=inspection,
            usage=usage,
            output_hash=output_hash,
            status=status,
            error_code=error_code,
            latency_ms=latency_ms,
            context=call.context,
        )
        measure(
            kind=call.kind,
            target=call.target.name,
            status=status,
            decision=inspection.decision,
            usage=usage,
            latency_ms=latency_ms,
        )
        await self._settlements.batcher.submit(kept.settlement)
        trace_invocation(
            running.timeline,
            admission=running.admission,
            inspection=inspection,
            usage=usage,
            status=status,
            error_code=error_code,
            trace_parent=call.trace_parent,
        )
        return kept

    async def drain(self, seconds: float) -> bool:
        """Waits for the invocations in flight; False when some were still running after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
                if self._leftovers:
                    await asyncio.wait(self._leftovers)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Writes what is waiting and closes both lanes."""
        await self.kill_switches.close()
        await self._admissions.close()
        if self._leftovers:
            await asyncio.wait(self._leftovers)
        await self._settlements.close()


async def _next(running: _Running, pieces: AsyncGenerator[str, None]) -> str | None:
    """The next piece; None at the end. Raises KilledBySwitch."""
    with running.cuts.section():
        return await anext(pieces, None)


_STRICTNESS = {decision: rank for rank, decision in enumerate(Decision)}


def _ended(error: BaseException | None) -> tuple[Status, str | None]:
    match error:
        case None:
            return Status.COMPLETED, None
        case InvocationBlocked() | OutputBlocked() | KilledBySwitch():
            return Status.BLOCKED, error.code
        case asyncio.CancelledError() | GeneratorExit() | Cancelled():
            return Status.CANCELLED, Cancelled.code
        case BailiwickError():
            return Status.FAILED, error.code
        case _:
            return Status.FAILED, "INTERNAL"
