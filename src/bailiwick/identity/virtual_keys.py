"""Virtual keys: `vk_<32 hex>_<workspace id>`, shown once, kept as a hash."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.process import KEY, announce
from bailiwick.identity.tables import VirtualKey
from bailiwick.kernel.crypto import hash_token
from bailiwick.kernel.errors import NotFound
from bailiwick.kernel.ids import Prefix, encode, uuid7

_PREFIX_LENGTH = 12

# The key and every key attenuated from it. Rows are locked in the order of their ids.
_LOCK_FAMILY = text(
    "with recursive family as ("
    "  select id from virtual_keys where organization_id = :organization_id and id = :key_id"
    "  union select child.id from virtual_keys child join family on child.parent_key_id = family.id"
    "   where child.organization_id = :organization_id)"
    " select id from virtual_keys where organization_id = :organization_id and id in (select id from family)"
    " order by id for no key update"
)
_REVOKE = text(
    "update virtual_keys set revoked_at = clock_timestamp() where organization_id = :organization_id"
    "  and id = any(:family) and revoked_at is null returning id"
)


class KeyStatus(StrEnum):
    """What a key is worth at a moment."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may use. `budget_micros` (micro-dollars for each `budget_period`) None: no ceiling."""

    allowed_models: Sequence[str] = ()
    """Empty: every model."""
    budget_micros: int | None = None
    budget_period: str = "month"
    """day, month (both of the UTC calendar) or once."""
    rate_limit_rpm: int | None = None
    rate_limit_tpm: int | None = None
    cache_seconds: int = 0
    """How long an answer to exactly the same request is repeated; 0: never."""
    department_id: str | None = None
    details: Mapping[str, str] = {}
    """Tags for attributing cost."""

    @classmethod
    def of(cls, key: VirtualKey) -> KeySettings:
        """What a key has now."""
        return cls(**{name: getattr(key, name) for name in cls.__struct_fields__})


def status_of(key: VirtualKey, moment: datetime) -> KeyStatus:
    """Revoked before expired."""
    if key.revoked_at is not None:
        return KeyStatus.REVOKED
    return KeyStatus.EXPIRED if key.expires_at is not None and key.expires_at <= moment else KeyStatus.ACTIVE


async def create_virtual_key(
    session: AsyncSession,
    organization_id: UUID,
    *,
    membership_id: UUID | None,
    label: str,
    scopes: Sequence[str] = ("*",),
    expires_at: datetime | None = None,
    account_id: UUID | None = None,
    key_id: UUID | None = None,
    parent_key_id: UUID | None = None,
    limits_of: UUID | None = None,
    settings: KeySettings | None = None,
) -> tuple[VirtualKey, str]:
    """A new key and its plaintext, which is not kept. `key_id` is for a caller who opened the key's account before;
    `limits_of` is the key whose budgets it goes on using.

    The caller appends to the audit log.
    """
    plaintext = f"vk_{secrets.token_hex(16)}_{encode(Prefix.ORGANIZATION, organization_id)}"
    settings = settings or KeySettings()
    columns = msgspec.structs.asdict(settings) | {
        "allowed_models": list(settings.allowed_models),
        "details": dict(settings.details),
    }
    row = await session.scalar(
        insert(VirtualKey)
        .values(
            organization_id=organization_id,
            id=key_id or uuid7(),
            membership_id=membership_id,
            parent_key_id=parent_key_id,
            limits_of=limits_of,
            label=label,
            key_prefix=plaintext[:_PREFIX_LENGTH],
            key_hash=hash_token(plaintext),
            scopes=list(scopes),
            expires_at=expires_at,
            account_id=account_id,
            **columns,
        )
        .returning(VirtualKey)
    )
    assert row is not None  # noqa: S101  an INSERT without ON CONFLICT returns its row or raises
    return row, plaintext


async def read_key_settings(session: AsyncSession, organization_id: UUID, key_id: UUID) -> KeySettings:
    """What a key may use now; of an attenuated one that includes what its parents may not. Raises NotFound."""
    key = await session.get(VirtualKey, (organization_id, key_id), populate_existing=True)
    if key is None:
        raise NotFound
    return KeySettings.of(key)


async def lock_family(session: AsyncSession, organization_id: UUID, key_id: UUID) -> list[UUID]:
    """Locks a key and every key attenuated from it; their ids, parents before children. Raises NotFound."""
    family: list[UUID] = []
    while True:
        # A key that is being attenuated is locked by that: its new child shows only to a statement after the wait.
        found = list(await session.scalars(_LOCK_FAMILY, {"organization_id": organization_id, "key_id": key_id}))
        if not found:
            raise NotFound
        if len(found) == len(family):
            return family
        family = found


async def revoke_virtual_key(session: AsyncSession, organization_id: UUID, key_id: UUID) -> list[UUID]:
    """Stops a key and every key attenuated from it, at once and everywhere; the ids of those that still worked.

    Repeating it changes nothing. The caller appends to the audit log. Raises NotFound.
    """
    family = await lock_family(session, organization_id, key_id)
    stopped: list[UUID] = list(await session.scalars(_REVOKE, {"organization_id": organization_id, "family": family}))
    for one in stopped:
        await announce(session, KEY, one)
    return stopped


async def expire_virtual_key(session: AsyncSession, organization_id: UUID, key_id: UUID, at: datetime) -> None:
    """Lets a key and every key attenuated from it work until `at` and no longer. Raises NotFound."""
    family = await lock_family(session, organization_id, key_id)
    for one in (
        await session.scalars(
            select(VirtualKey)
            .where(VirtualKey.organization_id == organization_id, VirtualKey.id.in_(family))
            .execution_options(populate_existing=True)
        )
    ).all():
        if one.expires_at is None or one.expires_at > at:
            one.expires_at = at
            await announce(session, KEY, one.id)
    await session.flush()
