"""Kill switches: stop a key, an agent, an organisation or everything, at once and in every process, until lifted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, identity
from bailiwick.identity import Caller, Role
from bailiwick.invocations import engaged_switches
from bailiwick.invocations.engaged_switches import TOPIC
from bailiwick.invocations.errors import KillSwitchEngaged, KillSwitchNotFound
from bailiwick.invocations.tables import InstallationKillSwitch, KillSwitch
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.errors import Forbidden, InvalidInput
from bailiwick.kernel.notify import notify

_AUDITED_AT_ONCE = 200
_IS_STOPPED = text(
    "with recursive chain as (select cast(:key_id as uuid) as id union"
    " select k.parent_key_id from virtual_keys k join chain c on k.id = c.id"
    "  where k.organization_id = :organization_id and k.parent_key_id is not null)"
    " select exists (select from kill_switches s where s.organization_id = :organization_id and s.lifted_at is null"
    "  and s.scope = 'key' and s.key_id in (select id from chain))"
)


class Scope(StrEnum):
    """What a switch stops."""

    KEY = "key"
    """Calls made with a key or paid by it, and with keys attenuated from it."""
    AGENT = "agent"
    """Calls of an agent."""
    ORGANIZATION = "organization"
    EVERYTHING = "everything"
    """Every call on the installation."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A kill switch, engaged until `lifted_at`. `target`: a key's public id or an agent's name."""

    id: UUID
    scope: Scope
    target: str | None = None
    reason: str
    engaged_by: str
    engaged_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None

    @property
    def public_id(self) -> str:
        """`ks_...`"""
        return ids.encode(ids.Prefix.KILL_SWITCH, self.id)

    @classmethod
    def of(cls, row: KillSwitch | InstallationKillSwitch) -> Switch:
        """The switch that a row tells of."""
        own = row if isinstance(row, KillSwitch) else None
        return cls(
            id=row.id,
            scope=Scope.EVERYTHING if own is None else Scope(own.scope),
            target=None if own is None else own.target,
            reason=row.reason,
            engaged_by=row.engaged_by,
            engaged_at=row.engaged_at,
            lifted_by=row.lifted_by,
            lifted_at=row.lifted_at,
        )


class SwitchPage(msgspec.Struct, frozen=True):
    """One page of an organisation's switches, newest first, how many there are, and what stops everything now."""

    switches: Sequence[Switch]
    total: int
    everything: Switch | None


async def engage(caller: Caller, *, scope: Scope, target: str | None, reason: str) -> Switch:
    """Stops a key, an agent or the whole of the caller's organisation. Raises as `engage_for`, RoleRequired."""
    caller.require(Role.ADMIN)
    return await engage_for(caller.tenant, scope=scope, target=target, reason=reason, actor=caller.subject)


async def engage_for(organization_id: UUID, *, scope: Scope, target: str | None, reason: str, actor: str) -> Switch:
    """Stops a key (`target`: its public id), an agent (its name) or an organisation (None).

    New calls are refused once this returns; every process cuts those under way as soon as it hears of it. Raises
    KillSwitchEngaged when such a switch is engaged, InvalidInput for a target that does not fit the scope, or is no key
    of the organisation.
    """
    if scope is Scope.EVERYTHING:
        raise InvalidInput.of("scope", "everything is stopped by the installation's operator only")
    if (target is None) != (scope is Scope.ORGANIZATION):
        raise InvalidInput.of("targetId", "names the key or agent, and nothing for an organization")
    async with tenant_transaction(organization_id) as session:
        key_id = await _find_key(session, organization_id, target or "") if scope is Scope.KEY else None
        row = await session.scalar(
            insert(KillSwitch)
            .values(
                organization_id=organization_id,
                id=ids.uuid7(),
                scope=scope.value,
                target=target,
                key_id=key_id,
                reason=reason,
                engaged_by=actor,
                engaged_at=now(),
            )
            .on_conflict_do_nothing()
            .returning(KillSwitch)
        )
        if row is None:
            raise KillSwitchEngaged
        for stopped in await _stopped_by(session, row):
            await notify(session, TOPIC, f"engaged:{row.id}:{stopped}")
        switch = Switch.of(row)
        await _audit(session, organization_id, "kill_switch.engaged", actor, switch)
    return switch


async def _find_key(session: AsyncSession, organization_id: UUID, public_id: str) -> UUID:
    """The UUID of one of the organisation's virtual or API keys. Raises InvalidInput."""
    for prefix, table in ((ids.Prefix.VIRTUAL_KEY, identity.VirtualKey), (ids.Prefix.API_KEY, identity.ApiKey)):
        key_id = ids.decode(prefix, public_id)
        if key_id is not None and await session.scalar(
            select(table.id).where(table.organization_id == organization_id, table.id == key_id)
        ):
            return key_id
    raise InvalidInput.of("targetId", "is no key of this organization")


async def _stopped_by(session: AsyncSession, row: KillSwitch) -> list[str]:
    if row.key_id is not None:
        family = [row.key_id]
        if ids.decode(ids.Prefix.VIRTUAL_KEY, row.target or "") is not None:
            # Locked: a child that is being made shows once it is there, or is made after this and refused at admission.
            family = await identity.lock_family(session, row.organization_id, row.key_id)
        return [engaged_switches.of_key(key_id) for key_id in family]
    if row.target is not None:
        return [engaged_switches.of_agent(row.organization_id, row.target)]
    return [engaged_switches.of_organization(row.organization_id)]


async def require_not_stopped(caller: Caller) -> None:
    """Raises Forbidden for a key that is stopped by a switch for it, or for a key that it was attenuated from."""
    if caller.key_id is None:
        return
    async with tenant_transaction(caller.tenant) as session:
        if await session.scalar(_IS_STOPPED, {"organization_id": caller.tenant, "key_id": caller.key_id}):
            raise Forbidden("A key that is stopped by a kill switch makes no other.")


async def _audit(session: AsyncSession, organization_id: UUID, action: str, actor: str, switch: Switch) -> None:
    attributes = {"scope": switch.scope.value, "target": switch.target or "", "reason": switch.reason}
    await audit.append(
        session, organization_id, action=action, actor=actor, subject=switch.public_id, attributes=attributes
    )


async def lift(caller: Caller, public_id: str) -> Switch:
    """Ends a switch of the caller's organisation; a repetition changes nothing. Raises as `lift_for`, RoleRequired."""
    caller.require(Role.ADMIN)
    return await lift_for(caller.tenant, public_id, actor=caller.subject)


async def lift_for(organization_id: UUID, public_id: str, *, actor: str) -> Switch:
    """Ends one switch of an organisation; one that was lifted before stays as it is. Raises KillSwitchNotFound."""
    switch_id = ids.decode(ids.Prefix.KILL_SWITCH, public_id)
    if switch_id is None:
        raise KillSwitchNotFound
    its_own = (KillSwitch.organization_id == organization_id, KillSwitch.id == switch_id)
    async with tenant_transaction(organization_id) as session:
        row = await session.scalar(
            update(KillSwitch)
            .where(*its_own, KillSwitch.lifted_at.is_(None))
            .values(lifted_by=actor, lifted_at=now())
            .returning(KillSwitch)
        )
        if row is None:
            row = await session.scalar(select(KillSwitch).where(*its_own))
            if row is None:
                raise KillSwitchNotFound
            return Switch.of(row)
        await notify(session, TOPIC, f"lifted:{row.id}")
        switch = Switch.of(row)
        await _audit(session, organization_id, "kill_switch.lifted", actor, switch)
    return switch


async def list_switches(organization_id: UUID, *, page: int, limit: int, engaged: bool | None) -> SwitchPage:
    """One page (from 1) of an organisation's switches; `engaged` None: those that were lifted as well."""
    wanted = [KillSwitch.organization_id == organization_id]
    if engaged is not None:
        wanted.append(KillSwitch.lifted_at.is_(None) if engaged else KillSwitch.lifted_at.is_not(None))
    async with tenant_transaction(organization_id) as session:
        total = int(await session.scalar(select(func.count()).select_from(KillSwitch).where(*wanted)) or 0)
        first = (page - 1) * limit
        rows = (
            (
                await session.scalars(
                    select(KillSwitch).where(*wanted).order_by(KillSwitch.id.desc()).offset(first).limit(limit)
                )
            ).all()
            if first < total
            else []
        )
        everything = await session.scalar(
            select(InstallationKillSwitch).where(InstallationKillSwitch.lifted_at.is_(None))
        )
    return SwitchPage([Switch.of(row) for row in rows], total, Switch.of(everything) if everything else None)


async def engage_everything(reason: str, *, actor: str) -> Switch:
    """Stops every call on this installation. Raises KillSwitchEngaged.

    It stands before it is told: every organisation's audit log has its entry a moment later, however many there are.
    """
    async with system_transaction(CrossTenantUse.KILL_SWITCH) as session:
        row = await session.scalar(
            insert(InstallationKillSwitch)
            .values(id=ids.uuid7(), reason=reason, engaged_by=actor, engaged_at=now())
            .on_conflict_do_nothing()
            .returning(InstallationKillSwitch)
        )
        if row is None:
            raise KillSwitchEngaged
        await notify(session, TOPIC, f"engaged:{row.id}:{engaged_switches.EVERYTHING}")
        switch = Switch.of(row)
    await _audit_everywhere("kill_switch.engaged", actor, switch)
    return switch


async def lift_everything(public_id: str, *, actor: str) -> Switch:
    """Ends a switch that stops everything; one that was lifted before stays as it is. Raises KillSwitchNotFound."""
    switch_id = ids.decode(ids.Prefix.KILL_SWITCH, public_id)
    if switch_id is None:
        raise KillSwitchNotFound
    async with system_transaction(CrossTenantUse.KILL_SWITCH) as session:
        row = await session.scalar(
            update(InstallationKillSwitch)
            .where(InstallationKillSwitch.id == switch_id, InstallationKillSwitch.lifted_at.is_(None))
            .values(lifted_by=actor, lifted_at=now())
            .returning(InstallationKillSwitch)
        )
        if row is None:
            row = await session.get(InstallationKillSwitch, switch_id)
            if row is None:
                raise KillSwitchNotFound
            return Switch.of(row)
        await notify(session, TOPIC, f"lifted:{row.id}")
        switch = Switch.of(row)
    await _audit_everywhere("kill_switch.lifted", actor, switch)
    return switch


async def _audit_everywhere(action: str, actor: str, switch: Switch) -> None:
    """Tells every organisation's audit log, some at a time: a switch must not wait for thousands of logs."""
    last = UUID(int=0)
    while True:
        async with system_transaction(CrossTenantUse.KILL_SWITCH) as session:
            organizations = (
                await session.scalars(
                    select(identity.Organization.id)
                    .where(identity.Organization.id > last, identity.Organization.deleted_at.is_(None))
                    .order_by(identity.Organization.id)
                    .limit(_AUDITED_AT_ONCE)
                )
            ).all()
            if not organizations:
                return
            entries = []
            for organization_id in organizations:
                entry_id = ids.uuid7()
                body = audit.activity_body(
                    entry_id,
                    action=action,
                    actor=actor,
                    subject=switch.public_id,
                    attributes={"scope": switch.scope.value, "target": "", "reason": switch.reason},
                    created_at=rfc3339(now()),
                )
                entries.append(audit.Pending(organization_id, entry_id, "activity", body))
            await audit.append_all(session, entries)
        last = organizations[-1]


async def engaged_everywhere() -> list[tuple[UUID | None, Switch]]:
    """Every engaged switch of the installation with its organisation (None: everything), newest first: for its
    operator.
    """
    async with system_transaction(CrossTenantUse.KILL_SWITCH) as session:
        everything = await session.scalars(
            select(InstallationKillSwitch).where(InstallationKillSwitch.lifted_at.is_(None))
        )
        found: list[tuple[UUID | None, Switch]] = [(None, Switch.of(row)) for row in everything]
        own = await session.scalars(
            select(KillSwitch).where(KillSwitch.lifted_at.is_(None)).order_by(KillSwitch.id.desc())
        )
        found.extend((row.organization_id, Switch.of(row)) for row in own)
    return found
