"""The pipeline that every invocation takes: admit, inspect, dispatch, inspect, settle.

    identify ─► admit ─► inspect ─► dispatch ─► inspect ─► settle

`identify` has happened when a Call is made. Whatever happens after admission (an answer, a refusal, a failure, the
caller going away) ends in exactly one settlement; only the death of the process leaves it to the sweeper.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from bailiwick.identity import Caller
from bailiwick.invocations import admission, settlement
from bailiwick.invocations.errors import Cancelled, InvocationBlocked, OutputBlocked, TargetUnavailable
from bailiwick.invocations.inspection import inspect
from bailiwick.invocations.lanes import Lane
from bailiwick.invocations.measures import measure
from bailiwick.invocations.records import Record, record
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


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A completed invocation."""

    admission: Admission
    response: str
    decision: Decision
    input: Inspection
    usage: Usage
    record: Record
    latency_ms: int


class Pipeline:
    """The two lanes of one process, admission and settlement, and what runs between them."""

    def __init__(self, database: Database, *, lease_seconds: int) -> None:
        self._admissions: Lane[Admission] = Lane(
            database, partial(admission.admit, lease_seconds=lease_seconds), repeatable=False
        )
        self._settlements: Lane[Settlement] = Lane(database, settlement.settle, repeatable=True)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leftovers: set[asyncio.Task[None]] = set()

    async def invoke(self, call: Call) -> Outcome:
        """Runs one invocation to its settlement.

        Raises AllowanceExhausted and CredentialRevoked before anything is spent; InvocationBlocked, OutputBlocked and
        TargetUnavailable after the settlement that records them; HoldExpired when the answer came too late.
        """
        self._in_flight += 1
        self._idle.clear()
        try:
            return await self._invoke(call)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def _invoke(self, call: Call) -> Outcome:
        started = time.perf_counter()
        admitted = await self._admit(call)
        usage = Usage()
        incoming = Inspection(Decision.KILL, (), ())
        try:
            incoming = inspect(call.texts)
            if incoming.decision is Decision.KILL:
                raise InvocationBlocked([finding.as_flag() for finding in incoming.findings])
            answer = await call.target.dispatch(incoming.texts, usage)
            outgoing = inspect((InspectedText(answer),))
            if outgoing.decision is Decision.KILL:
                raise OutputBlocked
        except BaseException as error:
            # Also for cancellation and for errors that nobody foresaw: what was used is charged, the rest returned.
            # The settlement is handed over at once; a second cancellation cannot take it back.
            await self._settle(call, admitted, inspection=incoming, usage=usage, started=started, error=error)
            if isinstance(error, BailiwickError | asyncio.CancelledError):
                raise
            _log.error("dispatch_failed", target=call.target.name, exc_info=error)
            raise TargetUnavailable from error
        decision = max(incoming.decision, outgoing.decision, key=_STRICTNESS.__getitem__)
        response = outgoing.texts[0]
        inspection = msgspec.structs.replace(incoming, decision=decision)
        latency_ms, kept = await self._settle(
            call, admitted, inspection=inspection, usage=usage, started=started, response=response
        )
        return Outcome(
            admission=admitted,
            response=response,
            decision=decision,
            input=incoming,
            usage=usage,
            record=kept,
            latency_ms=latency_ms,
        )

    async def _admit(self, call: Call) -> Admission:
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
        nothing = Inspection(Decision.BYPASS, (), ())
        await self._settle(
            call, item, inspection=nothing, usage=Usage(), started=time.perf_counter(), error=Cancelled()
        )

    async def _settle(
        self,
        call: Call,
        admitted: Admission,
        *,
        inspection: Inspection,
        usage: Usage,
        started: float,
        response: str | None = None,
        error: BaseException | None = None,
    ) -> tuple[int, Record]:
        latency_ms = round((time.perf_counter() - started) * 1000)
        status, error_code = _ended(error)
        kept = record(
            call_kind=call.kind,
            admission=admitted,
            main_text=call.texts[0].text,
            inspection=inspection,
            usage=usage,
            response=response,
            status=status,
            error_code=error_code,
            latency_ms=latency_ms,
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
        return latency_ms, kept

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
        await self._admissions.close()
        if self._leftovers:
            await asyncio.wait(self._leftovers)
        await self._settlements.close()


_STRICTNESS = {decision: rank for rank, decision in enumerate(Decision)}


def _ended(error: BaseException | None) -> tuple[Status, str | None]:
    match error:
        case None:
            return Status.COMPLETED, None
        case InvocationBlocked() | OutputBlocked():
            return Status.BLOCKED, error.code
        case asyncio.CancelledError() | Cancelled():
            return Status.CANCELLED, Cancelled.code
        case BailiwickError():
            return Status.FAILED, error.code
        case _:
            return Status.FAILED, "INTERNAL"
