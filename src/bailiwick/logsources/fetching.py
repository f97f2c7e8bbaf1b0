"""Fetching the sources that are due: claim, fetch outside of any transaction, then store events, cursor and outcome
together.

Processes share the work through the claim (SKIP LOCKED, with a lease, so that a process that dies gives it back). A
fetch whose claim is gone, because the source was changed, removed or took too long, stores nothing; its events come
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, or_, select, tuple_, update

from bailiwick import audit
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.ids import Prefix, uuid7
from bailiwick.kernel.runtime import runtime
from bailiwick.logsources.connectors import Connector, FetchResult
from bailiwick.logsources.errors import ConfigUnusable, FetchFailed, Throttled
from bailiwick.logsources.stored import store_events
from bailiwick.logsources.tables import LogSource
from bailiwick.secrets import SecretError, secret_of

EVENTS_PER_FETCH = 1_000
MAX_ROUNDS = 20
LEASE = timedelta(minutes=10)
_FETCH_SECONDS = 300.0  # within the lease, which is renewed after each round
_MAX_BACKOFF = 12
_log = structlog.get_logger(__name__)


class Claimed(msgspec.Struct, frozen=True):
    """A source that this process may fetch until its lease ends."""

    organization_id: UUID
    id: UUID
    claim: UUID
    source_type: str
    config: Mapping[str, Any]
    secret_ref: str | None
    cursor: Mapping[str, Any] | None

    @property
    def public_id(self) -> str:
        return ids.encode(Prefix.LOG_SOURCE, self.id)


async def fetch_due(connectors: Mapping[str, Connector], *, concurrency: int = 4, at_most: int = 1_000) -> int:
    """Fetch every source that is due, `concurrency` at a time; answers how many were fetched, well or not."""
    left = at_most

    async def work() -> int:
        nonlocal left
        done = 0
        while left > 0:
            left -= 1
            source = await claim_next()
            if source is None:
                break
            try:
                await fetch_source(source, connectors[source.source_type])
            except Exception as error:
                # What could not be recorded is claimed until its lease ends, then tried again.
                _log.error("log_source_outcome_lost", source=source.public_id, error=type(error).__name__)
            done += 1
        return done

    return sum(await asyncio.gather(*(work() for _ in range(concurrency))))


async def claim_next() -> Claimed | None:
    """Claim the source that has been due longest; None when none is due."""
    due = (
        select(LogSource.organization_id, LogSource.id)
        .where(
            LogSource.enabled,
            LogSource.source_type != "custom_webhook",
            LogSource.due_at <= func.clock_timestamp(),
            or_(LogSource.claimed_until.is_(None), LogSource.claimed_until < func.clock_timestamp()),
        )
        .order_by(LogSource.due_at)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
    fields = [getattr(LogSource, name) for name in Claimed.__struct_fields__]
    async with system_transaction(CrossTenantUse.LOG_SOURCE_SCHEDULE) as session:
        found = (await session.execute(due)).first()
        if found is None:
            return None
        claimed = await session.execute(
            update(LogSource)
            .where(tuple_(LogSource.organization_id, LogSource.id) == tuple_(found.organization_id, found.id))
            .values(claim=uuid7(), claimed_until=func.clock_timestamp() + LEASE)
            .returning(*fields)
        )
        return Claimed(**claimed.one()._mapping)


async def fetch_source(source: Claimed, connector: Connector) -> None:
    """Fetch until the source is up to date, a bound is met or something fails. What was fetched is stored in either
    case, and the failure is the source's `fetch_error`."""
    cursor = source.cursor
    for number in range(MAX_ROUNDS):
        try:
            result = await _fetch(source, connector, cursor)
        except FetchFailed as failure:
            await _record_failure(source, failure)
            return
        last = not result.more or number == MAX_ROUNDS - 1
        if not await _record(source, result, last=last) or last:
            return
        cursor = result.cursor


async def _fetch(source: Claimed, connector: Connector, cursor: Mapping[str, Any] | None) -> FetchResult:
    """One round; anything that goes wrong is a FetchFailed."""
    try:
        if source.secret_ref is None:
            raise ConfigUnusable("The source names no secret: create it again with a secretRef.")
        secret = await secret_of(source.organization_id, source.secret_ref)
        async with asyncio.timeout(_FETCH_SECONDS):
            return await connector.fetch(runtime().outbound, source.config, secret, cursor, EVENTS_PER_FETCH)
    except FetchFailed:
        raise
    except SecretError as error:
        raise FetchFailed(error.message) from None
    except TimeoutError:
        raise FetchFailed(f"The provider took longer than {_FETCH_SECONDS:.0f} s.") from None
    except Exception as error:
        # One source must not stop the others. The error may hold what the provider sent, so only its type is logged.
        _log.error("log_source_fetch_broke", source=source.public_id, error=type(error).__name__)
        raise FetchFailed("The fetch broke on our side; the server's log has the kind of error.") from None


async def _record(source: Claimed, result: FetchResult, *, last: bool) -> bool:
    """Store a round's events and cursor, unless the claim is gone."""
    interval = timedelta(seconds=runtime().settings.log_source_interval_seconds)
    changes: dict[str, Any] = {
        "cursor": dict(result.cursor),
        "last_fetched_at": func.clock_timestamp(),
        "fetch_error": result.failure,
        "failures": 0,
        "claimed_until": func.clock_timestamp() + LEASE,
    }
    if last:
        # A backlog goes on at once, behind the others that are due.
        wait = timedelta(0) if result.more else interval
        changes |= {"claim": None, "claimed_until": None, "due_at": func.clock_timestamp() + wait}
    async with tenant_transaction(source.organization_id) as session:
        held = await _hold(session, source)
        if held is None:
            return False
        stored = await store_events(session, source.organization_id, source.id, result.events)
        await session.execute(update(LogSource).where(*_mine(source)).values(**changes))
        if stored or result.failure != held.fetch_error:
            await _audit(session, source, stored=stored, failure=result.failure)
    return True


async def _record_failure(source: Claimed, failure: FetchFailed) -> None:
    """The source is tried again later, and later still each time, or when the provider said."""
    interval = timedelta(seconds=runtime().settings.log_source_interval_seconds)
    async with tenant_transaction(source.organization_id) as session:
        held = await _hold(session, source)
        if held is None:
            return
        wait = interval * min(2**held.failures, _MAX_BACKOFF)
        if isinstance(failure, Throttled):
            wait = max(interval, timedelta(seconds=failure.retry_after_seconds or 0))
        await session.execute(
            update(LogSource)
            .where(*_mine(source))
            .values(
                fetch_error=failure.reason,
                failures=min(held.failures + 1, 30),
                claim=None,
                claimed_until=None,
                due_at=func.clock_timestamp() + wait,
            )
        )
        if failure.reason != held.fetch_error:  # once, not at each try
            await _audit(session, source, stored=0, failure=failure.reason)


async def _hold(session: Any, source: Claimed) -> Any:
    """The row, locked, while the claim still stands."""
    query = (
        select(LogSource.fetch_error, LogSource.failures)
        .where(*_mine(source), LogSource.claim == source.claim)
        .with_for_update(key_share=True)
    )
    return (await session.execute(query)).first()


async def _audit(session: Any, source: Claimed, *, stored: int, failure: str | None) -> None:
    await audit.append(
        session,
        source.organization_id,
        action="log_source.fetch_failed" if failure else "log_source.fetched",
        actor="system",
        subject=source.public_id,
        attributes={"events": stored, **({"reason": failure[:200]} if failure else {})},
    )


def _mine(source: Claimed) -> tuple[Any, Any]:
    return LogSource.organization_id == source.organization_id, LogSource.id == source.id
