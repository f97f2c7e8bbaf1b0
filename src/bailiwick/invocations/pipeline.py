"""The pipeline that every invocation takes: admit, inspect, dispatch, inspect, settle.

    identify ─► admit ─► inspect ─► dispatch ─► inspect ─► settle

`identify` has happened when a Call is made. Whatever happens after admission (an answer, a refusal, a failure, the
caller going away) ends in exactly one settlement; only the death of the process leaves it to the sweeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from typing import NoReturn
from uuid import UUID

import structlog

from bailiwick.invocations.admission import TermsChanged
from bailiwick.invocations.calls import Call, Outcome, StreamCall
from bailiwick.invocations.engaged_switches import EngagedSwitches
from bailiwick.invocations.errors import (
    AllowanceExhausted,
    CallRateLimited,
    Cancelled,
    InvocationBlocked,
    KilledBySwitch,
    OutputBlocked,
    TargetUnavailable,
)
from bailiwick.invocations.inspection import inspect
from bailiwick.invocations.lanes import Lane
from bailiwick.invocations.leases import renew_leases
from bailiwick.invocations.measures import measure
from bailiwick.invocations.records import Record, record
from bailiwick.invocations.refusals import Refusal
from bailiwick.invocations.relaying import RelayedEvents
from bailiwick.invocations.requests import Admission, Admitted, Decision, Inspection, Status
from bailiwick.invocations.running import Running, inspected_ahead
from bailiwick.invocations.spans import are_traced, trace_invocation
from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.ids import uuid7

_log = structlog.get_logger(__name__)
_PATIENCE = 5
"""Turns of the event loop. A lane that is alone sends what it has, and the process prepares the next while the database
works. Several wait for the locks of each other's batches all the same: fewer and larger ones cost less."""
_MOST_RENEWED = 500
"""Holds in one statement."""
_REFUSED = (AllowanceExhausted, CallRateLimited, KilledBySwitch)
"""What admission refuses with, and has written a trace of."""


class Pipeline:
    """The lane of one process, and what runs between admission and settlement. `is_alone`: no other process of this
    server has one."""

    def __init__(self, database: Database, *, lease_seconds: int, is_alone: bool = True) -> None:
        self._lane = Lane(database, lease_seconds=lease_seconds, patience=0 if is_alone else _PATIENCE)
        self._lease_seconds = lease_seconds
        self._running: dict[UUID, Running] = {}
        self.kill_switches = EngagedSwitches(self._cut_killed)
        """Hears of the topic `kill_switch` and cuts what it stops."""
        self._are_traced = are_traced()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leftovers: set[asyncio.Task[Record]] = set()

    async def invoke(self, call: Call) -> Outcome:
        """Runs one invocation to its settlement.

        Raises AllowanceExhausted, KilledBySwitch and CredentialRevoked before anything is spent; InvocationBlocked,
        OutputBlocked, KilledBySwitch and TargetUnavailable after the settlement that records them; HoldExpired when the
        answer came too late.
        """
        with self._counted():
            return await self._invoke(call)

    async def refuse(self, refusal: Refusal) -> None:
        """Writes the trace of a call that is refused before admission."""
        with self._counted():
            await self._lane.refuse(refusal)

    @contextlib.asynccontextmanager
    async def stream(self, call: StreamCall) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Runs one invocation and hands out its answer's events, those of one read together, as they may go out.

        However the stream ends (at its end, broken by the target, cut by inspection, by its hold or by a kill switch,
        left by its reader), it is settled for what was used by then: before its last events are handed out, at the
        latest when the context ends. A cut after the first event ends it with the events that its dialect has for that.
        Raises as `invoke`, also out of the events.
        """
        with self._counted():
            running = self._begin(call, await self._admit(call))
            upstream = contextlib.AsyncExitStack()
            try:
                await running.inspect(call.texts)
                with running.cuts.section():
                    source = await upstream.enter_async_context(
                        call.target.stream(running.incoming.texts, running.usage)
                    )
            except BaseException as error:
                await self._break_off(call, running, upstream, error)
                raise
            events = self._events(call, running, RelayedEvents(running, call.dialect, source), upstream)
            try:
                yield events
            finally:
                await events.aclose()
                if running.admission.id in self._running:  # nobody has asked for a single event
                    with contextlib.suppress(Cancelled):
                        await self._break_off(call, running, upstream, Cancelled())

    async def _events(
        self, call: StreamCall, running: Running, events: RelayedEvents, upstream: contextlib.AsyncExitStack
    ) -> AsyncGenerator[bytes, None]:
        has_begun = False
        last = b""
        try:
            running.cuts.between_sections(partial(self._end_cut, call, running, upstream))
            while (content := await events.next()) is not None:
                if events.is_finished:  # the last events are handed out when all is settled
                    last += content
                elif content:
                    has_begun = True
                    try:
                        yield content
                    finally:
                        await running.cuts.waited()
            running.cuts.between_sections(None)
            last += events.end()
            # Here and now, also when the reader leaves: the target is told before the settlement.
            await upstream.aclose()
        except BaseException as error:
            ending = events.cut(error)
            if isinstance(error, TargetUnavailable) and not has_begun:
                running.nothing_used()
            try:
                await self._break_off(call, running, upstream, error)
            except (AllowanceExhausted, OutputBlocked, KilledBySwitch, TargetUnavailable):
                # What the limit let out was paid for; before the first event a refusal can still be told as one.
                if ending is None or not (has_begun or isinstance(error, AllowanceExhausted)):
                    raise
                if isinstance(error, TargetUnavailable):
                    yield ending
                    raise
                last = ending
        else:
            running.timeline.answered = time.time_ns()
            await self._settle(call, running, output_hash=events.sha256_hex)
        if last:
            yield last

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
            await running.inspect(call.texts)
            with running.cuts.section():
                answer = await call.target.dispatch(running.incoming.texts, running.usage)
            outgoing = inspect(call.form.texts_of(answer), call.policy)
            running.decide_output(outgoing.decision)
            response, output_hash = call.form.put_back(answer, outgoing.texts)
        except BaseException as error:
            await self._fail(call, running, error)
            if isinstance(error, BailiwickError | asyncio.CancelledError):
                raise
            raise TargetUnavailable from error
        running.timeline.answered = time.time_ns()
        told = None if call.answered is None else partial(call.answered, response)
        kept = await self._settle(call, running, output_hash=output_hash, meanwhile=told)
        return Outcome(response=response, decision=running.decision, usage=running.usage, record=kept)

    def _begin(self, call: Call, running: Running) -> Running:
        """Keeps an admitted invocation within reach of kill switches, until it is settled."""
        self._running[running.admission.id] = running
        if self.kill_switches.stops(running.admission):  # engaged while it was being admitted
            running.cuts.cut(KilledBySwitch())
        if call.begun is not None:
            call.begun(running)
        return running

    def _cut_killed(self) -> None:
        for running in list(self._running.values()):
            if self.kill_switches.stops(running.admission):
                running.cuts.cut(KilledBySwitch())

    async def _break_off(
        self, call: Call, running: Running, upstream: contextlib.AsyncExitStack, error: BaseException
    ) -> NoReturn:
        """Ends a stream that did not complete, unless a cut has done so meanwhile. Raises what the reader is told."""
        try:
            await _hang_up(upstream)
        finally:
            if not await running.cuts.ended():
                await self._fail(call, running, error)
        if isinstance(error, BailiwickError | asyncio.CancelledError | GeneratorExit):
            raise error
        raise TargetUnavailable from error

    async def _end_cut(self, call: Call, running: Running, upstream: contextlib.AsyncExitStack) -> None:
        """Ends a stream that was cut while its reader had its turn: the target is told, the rest is returned."""
        await _hang_up(upstream)
        await self._fail(call, running, running.cuts.reason or KilledBySwitch())

    async def _fail(self, call: Call, running: Running, error: BaseException) -> None:
        """Settles an invocation that did not complete: what was used is charged, the rest is returned.

        The settlement is handed over at once; a second cancellation cannot take it back.
        """
        if not isinstance(error, BailiwickError | asyncio.CancelledError | GeneratorExit):
            _log.error("dispatch_failed", target=call.target.name, exc_info=error)
        if isinstance(error, KilledBySwitch):
            running.decide(Decision.KILL)
        await self._settle(call, running, error=error)

    async def _admit(self, call: Call) -> Running:
        """Admits a call. Its input is inspected while the database decides; what it refuses was inspected in vain."""
        inspected: Inspection | None = None
        started, started_ns = time.perf_counter(), time.time_ns()
        amount = call.target.worst_case_micros(call.texts)
        for attempt in range(3):
            item = Admission(
                id=uuid7(),
                caller=call.caller,
                organization_id=call.organization_id,
                charge=await call.charge(),
                amount_micros=amount,
                kind=call.kind,
                target_kind=call.target.kind,
                target_name=call.target.name,
                tokens=call.tokens,
                session_name=call.session_name,
                started=started,
                started_ns=started_ns,
                requested_model=call.requested_model,
                context=call.context,
            )
            future = self._lane.admit(item, abandoned=partial(self._give_back, call, item))
            try:
                await asyncio.sleep(0)  # the admission is on its way after that
                if inspected is None:
                    inspected = inspected_ahead(call.texts, call.policy)
                admitted = await future
            except asyncio.CancelledError:
                # The caller went away while its admission was being written: the hold is given back once it stands.
                if not future.cancel() and not future.cancelled() and future.exception() is None:  # it stands already
                    self._give_back(call, item, future.result())
                raise
            except TermsChanged:
                if attempt == 2:
                    raise
                call.stale(call.organization_id)
                continue
            except _REFUSED:
                if call.refused is not None:
                    call.refused(item.id)
                raise
            return Running(item, admitted, call.policy, inspected)
        raise AssertionError("unreachable")

    def _give_back(self, call: Call, item: Admission, admitted: Admitted) -> None:
        """Settles an admitted invocation that nobody wants any more."""
        running = Running(item, admitted, call.policy)
        running.incoming = Inspection(Decision.BYPASS, (), ())
        task = asyncio.create_task(self._settle(call, running, error=Cancelled()))
        self._leftovers.add(task)
        task.add_done_callback(self._leftovers.discard)

    async def _settle(
        self,
        call: Call,
        running: Running,
        *,
        output_hash: str | None = None,
        error: BaseException | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Record:
        """Hands over what an invocation ended with and waits until it is written; does `meanwhile` in the meantime."""
        self._running.pop(running.admission.id, None)
        latency_ms = round((time.perf_counter() - running.started) * 1000)
        status, error_code = _ended(error)
        usage, inspection = running.usage, running.incoming
        kept = record(
            call_kind=call.kind,
            admission=running.admission,
            main_text=call.texts[0].text if call.hashed_input is None else call.hashed_input,
            inspection=inspection,
            usage=usage,
            output_hash=output_hash,
            status=status,
            error_code=error_code,
            latency_ms=latency_ms,
        )
        settled = self._lane.settle(kept.settlement)
        try:
            await asyncio.sleep(0)  # the settlement is on its way after that; what follows need not wait for it
            measure(
                kind=call.kind,
                target=call.target.name,
                status=status,
                decision=inspection.decision,
                usage=usage,
                latency_ms=latency_ms,
            )
            if meanwhile is not None:
                meanwhile()
            await settled
        finally:
            settled.cancel()  # once it is done that changes nothing
        if self._are_traced:
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

    async def keep_leases(self) -> None:
        """Renews the leases of invocations that take long, as long as it runs."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            before = time.perf_counter() - self._lease_seconds / 3
            old = [running.admission for running in self._running.values() if running.started < before]
            try:
                for start in range(0, len(old), _MOST_RENEWED):
                    await renew_leases(old[start : start + _MOST_RENEWED], lease_seconds=self._lease_seconds)
            except Exception as error:  # the next time may come early enough
                _log.warning("leases_not_renewed", error=type(error).__name__, invocations=len(old))

    async def drain(self, seconds: float) -> bool:
        """Waits for the invocations in flight; False when some were still running after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
                await self._given_back()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Writes what is waiting and closes the lane."""
        await self.kill_switches.close()
        self._lane.refuse_admissions()
        await self._given_back()
        await self._lane.close()

    async def _given_back(self) -> None:
        """Waits for the settlements of admissions whose callers have gone."""
        await self._lane.idle()
        if self._leftovers:
            await asyncio.wait(self._leftovers)


async def _hang_up(upstream: contextlib.AsyncExitStack) -> None:
    """Tells a target that its answer is wanted no more; what it says to that does not matter."""
    with contextlib.suppress(Exception):
        await upstream.aclose()


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
