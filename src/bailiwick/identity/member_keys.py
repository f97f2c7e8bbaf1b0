"""Virtual keys as members manage them: issue, list, show, change, revoke, delete (governance contract, Keys)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, ledger
from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.errors import AttenuationWidens, KeyTransitionNotAllowed
from bailiwick.identity.key_access import (
    load_key,
    require_active,
    require_power_over,
    require_unlimited,
    visible_to,
)
from bailiwick.identity.key_limits import limits_of_row, set_key_limits
from bailiwick.identity.key_scopes import check_scopes, cover_all, intersection, models_of_both, models_within
from bailiwick.identity.organizations import touch_organization
from bailiwick.identity.process import KEY, announce
from bailiwick.identity.tables import VirtualKey
from bailiwick.identity.virtual_keys import (
    KeySettings,
    KeyStatus,
    create_virtual_key,
    lock_family,
    revoke_virtual_key,
)
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import Forbidden, InvalidInput
from bailiwick.kernel.ids import Prefix, decode, encode

_LONGEST_LIFE = timedelta(days=36_525)
_LIMITS = frozenset({"budget_micros", "budget_period", "rate_limit_rpm", "rate_limit_tpm"})


class ShownKey(msgspec.Struct, frozen=True):
    """A key, what it has spent in its budget's present window (micro-dollars), and its plaintext when it is new."""

    key: VirtualKey
    spent_micros: int = 0
    plaintext: str | None = None


class KeyPage(msgspec.Struct, frozen=True):
    """A page of keys and how many there are on all pages."""

    keys: Sequence[ShownKey]
    total: int


async def issue_key(
    caller: Caller, *, label: str, scopes: Sequence[str], expires_at: datetime | None, settings: KeySettings
) -> ShownKey:
    """A key that acts as the caller's member, within scopes that are no wider than the caller's.

    Raises RoleRequired below DEVELOPER, InvalidInput, Forbidden, KeyIsLimited.
    """
    caller.require(Role.DEVELOPER)
    wanted = check_scopes(scopes)
    _check_expiry(expires_at)
    if not cover_all(caller.scopes, wanted):
        raise Forbidden("A key gets no scope that its maker's credential does not have.")
    async with tenant_transaction(caller.tenant) as session:
        await require_unlimited(session, caller)
        if caller.membership_id is None:
            raise Forbidden("No member stands behind this credential.")
        key, plaintext = await create_virtual_key(
            session,
            caller.tenant,
            membership_id=caller.membership_id,
            label=label,
            scopes=wanted,
            expires_at=expires_at,
            settings=settings,
        )
        await record(session, caller, key, "virtual_key.created", **told(key))
        return ShownKey(key, plaintext=plaintext)


async def list_keys(caller: Caller, *, status: KeyStatus | None, member: str | None, page: int, limit: int) -> KeyPage:
    """Keys that the caller may see, newest first; `member` is a public id."""
    moment = now()
    conditions = list(visible_to(caller))
    if status is not None:
        conditions.append(_has(status, moment))
    if member is not None:
        conditions.append(VirtualKey.membership_id == decode(Prefix.MEMBERSHIP, member))
        conditions.append(VirtualKey.membership_id.is_not(None))
    async with tenant_transaction(caller.tenant) as session:
        total = await session.scalar(select(func.count()).select_from(VirtualKey).where(*conditions))
        rows = await session.scalars(
            select(VirtualKey).where(*conditions).order_by(VirtualKey.id.desc()).limit(limit).offset((page - 1) * limit)
        )
        return KeyPage(await _with_spend(session, rows.all(), moment), total or 0)


async def show_key(caller: Caller, public_id: str) -> ShownKey:
    """One key. Raises NotFound."""
    async with tenant_transaction(caller.tenant) as session:
        return await shown(session, await load_key(session, caller, public_id))


async def change_key(caller: Caller, public_id: str, changes: dict[str, Any]) -> ShownKey:
    """Changes columns of an active key: label, scopes, expires_at and the fields of KeySettings.

    What it may no longer do, keys attenuated from it may not either. Raises RoleRequired, NotFound, InvalidInput,
    KeyTransitionNotAllowed, Forbidden, KeyIsLimited, and AttenuationWidens where an attenuated key would get more.
    """
    caller.require(Role.DEVELOPER)
    if "scopes" in changes:
        changes["scopes"] = check_scopes(changes["scopes"])
    _check_expiry(changes.get("expires_at"))
    async with tenant_transaction(caller.tenant) as session:
        key = await load_key(session, caller, public_id)
        # Those that share its budgets and those below it change with it, so all are locked before anything is decided:
        # in the order of their ids, since a replacement is younger than what it replaced, a child than its parent.
        await session.execute(
            select(VirtualKey.id).where(*_sharing(key)).order_by(VirtualKey.id).with_for_update(key_share=True)
        )
        family = await lock_family(session, caller.tenant, key.id)
        key = await load_key(session, caller, public_id, for_change=True)
        require_active(key)
        await require_unlimited(session, caller)
        await require_power_over(session, caller, key)
        if key.replaced_by is not None:
            raise KeyTransitionNotAllowed
        if "scopes" in changes and not cover_all(caller.scopes, changes["scopes"]):
            raise Forbidden("A key gets no scope that its maker's credential does not have.")
        if key.parent_key_id is not None:
            _refuse_widening(key, changes)
        changed = {name: value for name, value in changes.items() if getattr(key, name) != value}
        for name, value in changed.items():
            setattr(key, name, value)
        if changed:
            await _apply(session, key, changed, family)
            await record(session, caller, key, "virtual_key.updated", changed=",".join(sorted(changed)), **told(key))
        return await shown(session, key)


async def _apply(session: AsyncSession, key: VirtualKey, changed: dict[str, Any], family: Sequence[UUID]) -> None:
    """Writes a changed key with what follows from it: its budgets, its children, every process's memory of it."""
    await session.flush()
    limits = {name: changed[name] for name in _LIMITS & changed.keys()}
    if limits:
        # Keys that share the budgets agree on what these are.
        await session.execute(
            update(VirtualKey).where(*_sharing(key)).values(**limits).execution_options(synchronize_session=False)
        )
        await set_key_limits(session, key)
    if changed.keys() & {"scopes", "allowed_models", "expires_at"}:
        await _narrow(session, key, family)
    if changed.keys() - {"label", "department_id"}:
        for one in family:
            await announce(session, KEY, one)
        await touch_organization(session, key.organization_id)


def _sharing(key: VirtualKey) -> list[ColumnElement[bool]]:
    """Conditions on the keys that use the same budgets: the key's chain of rotations."""
    of_chain = or_(VirtualKey.id == key.limits_id, VirtualKey.limits_of == key.limits_id)
    return [VirtualKey.organization_id == key.organization_id, of_chain]


async def _narrow(session: AsyncSession, key: VirtualKey, family: Sequence[UUID]) -> None:
    """Takes from every key below `key` what that no longer has. `family` is locked, parents first."""
    rows = await session.scalars(
        select(VirtualKey)
        .where(VirtualKey.organization_id == key.organization_id, VirtualKey.id.in_(family))
        .order_by(VirtualKey.id)
    )
    above = {key.id: key}
    for child in rows.all():
        parent = above.get(child.parent_key_id) if child.parent_key_id else None
        if child.id == key.id or parent is None:
            continue
        above[child.id] = child
        child.scopes = intersection(child.scopes, parent.scopes)
        if not models_within(child.allowed_models, parent.allowed_models):
            child.allowed_models = models_of_both(child.allowed_models, parent.allowed_models)
        if parent.expires_at is not None and (child.expires_at is None or child.expires_at > parent.expires_at):
            child.expires_at = parent.expires_at
    await session.flush()


def _refuse_widening(key: VirtualKey, changes: dict[str, Any]) -> None:
    expires_at = changes.get("expires_at", key.expires_at)
    if (
        not cover_all(key.scopes, changes.get("scopes", ()))
        or not models_within(changes.get("allowed_models", key.allowed_models), key.allowed_models)
        or expires_at is None
        or (key.expires_at is not None and expires_at > key.expires_at)
    ):
        raise AttenuationWidens


async def revoke_key(caller: Caller, public_id: str, reason: str | None = None) -> ShownKey:
    """Stops a key and every key attenuated from it, everywhere, as this returns; repeating it changes nothing.

    Raises RoleRequired and NotFound.
    """
    caller.require(Role.DEVELOPER)
    async with tenant_transaction(caller.tenant) as session:
        key = await load_key(session, caller, public_id)
        await _revoke(session, caller, key, reason)
        return await shown(session, await load_key(session, caller, public_id))


async def delete_key(caller: Caller, public_id: str) -> None:
    """Revokes a key, if need be, and drops it from lists; traces and the audit log keep its id.

    Raises RoleRequired and NotFound.
    """
    caller.require(Role.DEVELOPER)
    async with tenant_transaction(caller.tenant) as session:
        key = await load_key(session, caller, public_id)
        await _revoke(session, caller, key, None)
        key = await load_key(session, caller, public_id, for_change=True)
        key.deleted_at = now()
        await session.flush()
        await record(session, caller, key, "virtual_key.deleted")


async def _revoke(session: AsyncSession, caller: Caller, key: VirtualKey, reason: str | None) -> None:
    stopped = await revoke_virtual_key(session, caller.tenant, key.id)
    if stopped:
        attributes: dict[str, Any] = {"keys": len(stopped)} | ({"reason": reason} if reason else {})
        await record(session, caller, key, "virtual_key.revoked", **attributes)


async def shown(session: AsyncSession, key: VirtualKey, plaintext: str | None = None) -> ShownKey:
    """A key with what it has spent."""
    (one,) = await _with_spend(session, [key], now())
    return msgspec.structs.replace(one, plaintext=plaintext)


async def _with_spend(session: AsyncSession, keys: Sequence[VirtualKey], moment: datetime) -> list[ShownKey]:
    money = [limits_of_row(key, key.limits_id)[0].series for key in keys]
    standing = await ledger.find_standing(session, keys[0].organization_id, money, moment=moment) if keys else []
    return [ShownKey(key, now_.spent) for key, now_ in zip(keys, standing, strict=True)]


async def record(
    session: AsyncSession, caller: Caller, key: VirtualKey, action: str, **attributes: str | int | None
) -> None:
    """Appends a change of a key to the audit log: last in its transaction."""
    await audit.append(
        session,
        caller.tenant,
        action=action,
        actor=caller.subject,
        subject=encode(Prefix.VIRTUAL_KEY, key.id),
        attributes={name: value for name, value in attributes.items() if value is not None},
    )


def told(key: VirtualKey) -> dict[str, str | int | None]:
    """What the audit log tells of a key that was made or changed: never its label's or tags' text."""
    return {
        "scopes": " ".join(key.scopes),
        "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
        "budget_micros": key.budget_micros,
        "budget_period": key.budget_period,
        "rate_limit_rpm": key.rate_limit_rpm,
        "rate_limit_tpm": key.rate_limit_tpm,
        "allowed_models": len(key.allowed_models),
    }


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and not timedelta(0) < expires_at - now() < _LONGEST_LIFE:
        raise InvalidInput.of("expiresAt", "must be in the future, at most 100 years ahead")


def _has(status: KeyStatus, moment: datetime) -> Any:
    expired = VirtualKey.expires_at <= moment
    match status:
        case KeyStatus.REVOKED:
            return VirtualKey.revoked_at.is_not(None)
        case KeyStatus.EXPIRED:
            return and_(VirtualKey.revoked_at.is_(None), expired)
        case _:
            return and_(VirtualKey.revoked_at.is_(None), or_(VirtualKey.expires_at.is_(None), ~expired))
