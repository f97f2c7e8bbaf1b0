"""The kill switches that are engaged, as one process knows them: kept by notifications, read again after a gap.

The database decides at admission (`invocations_is_killed`); this is for what has been admitted. A notification says all
that a process needs, so that a switch is felt without a query. Topic `kill_switch`, argument
`engaged:<switch>:<what it stops>` or `lifted:<switch>`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from bailiwick.invocations.requests import Admission
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

TOPIC = "kill_switch"
EVERYTHING = "everything"
_log = structlog.get_logger(__name__)

# Keys that were attenuated from one that is stopped are stopped with it.
_ENGAGED = text(
    "with recursive family as ("
    "  select organization_id, id, key_id from kill_switches where lifted_at is null and scope = 'key'"
    "  union select f.organization_id, f.id, k.id from family f"
    "   join virtual_keys k on k.organization_id = f.organization_id and k.parent_key_id = f.key_id)"
    " select id, 'key:' || key_id as stopped from family"
    " union all select id, 'organization:' || organization_id from kill_switches"
    "  where lifted_at is null and scope = 'organization'"
    " union all select id, 'agent:' || organization_id || ':' || target from kill_switches"
    "  where lifted_at is null and scope = 'agent'"
    " union all select id, 'everything' from installation_kill_switches where lifted_at is null"
)


def of_organization(organization_id: UUID) -> str:
    """What a switch for a whole organisation stops."""
    return f"organization:{organization_id}"


def of_agent(organization_id: UUID, name: str) -> str:
    """What a switch for an agent stops."""
    return f"agent:{organization_id}:{name}"


def of_key(key_id: UUID) -> str:
    """What a switch for a key stops."""
    return f"key:{key_id}"


class EngagedSwitches:
    """`engaged` is called whenever something more is stopped than before."""

    def __init__(self, engaged: Callable[[], None]) -> None:
        self._engaged = engaged
        self._by_switch: dict[str, set[str]] = {}
        self._stopped: frozenset[str] = frozenset()
        self._heard = 0
        self._reading: asyncio.Task[None] | None = None

    def stops(self, admission: Admission) -> bool:
        """Whether a call that was admitted may not go on."""
        stopped = self._stopped
        if not stopped:
            return False
        organization_id = admission.organization_id
        return (
            EVERYTHING in stopped
            or of_organization(organization_id) in stopped
            or (admission.target_kind != "model" and of_agent(organization_id, admission.target_name) in stopped)
            or any(
                key_id is not None and of_key(key_id) in stopped
                for key_id in (admission.caller.key_id, admission.charge.virtual_key_id)
            )
        )

    def hear(self, argument: str | None) -> None:
        """Takes a notification; None, or what is no notification of ours: reads all again."""
        self._heard += 1
        verb, _, rest = (argument or "").partition(":")
        switch, _, stopped = rest.partition(":")
        if verb == "engaged" and stopped:
            self._by_switch.setdefault(switch, set()).add(stopped)
            self._changed()
        elif verb == "lifted":
            self._by_switch.pop(switch, None)
            self._changed()
        elif self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())

    def _changed(self) -> None:
        before = self._stopped
        self._stopped = frozenset().union(*self._by_switch.values())
        if self._stopped - before:
            self._engaged()

    async def _read(self) -> None:
        delay = 0.1
        while True:
            heard = self._heard
            try:
                async with system_transaction(CrossTenantUse.KILL_SWITCH) as session:
                    rows = (await session.execute(_ENGAGED)).all()
            except (OSError, SQLAlchemyError) as error:
                _log.warning("kill_switches_not_read", error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
                continue
            if heard != self._heard:  # what was read may be older than what was heard meanwhile
                continue
            self._by_switch = {}
            for row in rows:
                self._by_switch.setdefault(str(row.id), set()).add(row.stopped)
            self._changed()
            return

    async def close(self) -> None:
        """Ends a reading that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
