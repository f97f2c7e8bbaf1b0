"""Virtual keys: `vk_<32 hex>_<workspace id>`, shown once, kept as a hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.process import KEY, announce
from bailiwick.identity.tables import VirtualKey
from bailiwick.kernel.crypto import hash_token
from bailiwick.kernel.errors import NotFound
from bailiwick.kernel.ids import Prefix, encode, uuid7

_PREFIX_LENGTH = 12

_REVOKE = text(
    "with recursive family as ("
    "  select id from virtual_keys where organization_id = :organization_id and id = :key_id"
    "  union select child.id from virtual_keys child join family on child.parent_key_id = family.id"
    "   where child.organization_id = :organization_id)"
    " update virtual_keys set revoked_at = now() where organization_id = :organization_id"
    "  and id in (select id from family) and revoked_at is null returning id"
)


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
) -> tuple[VirtualKey, str]:
    """A new key and its plaintext, which is not kept. `key_id` is for a caller who opened the key's account before.

    The caller appends to the audit log.
    """
    plaintext = f"vk_{secrets.token_hex(16)}_{encode(Prefix.ORGANIZATION, organization_id)}"
    row = await session.scalar(
        insert(VirtualKey)
        .values(
            organization_id=organization_id,
            id=key_id or uuid7(),
            membership_id=membership_id,
            parent_key_id=parent_key_id,
            label=label,
            key_prefix=plaintext[:_PREFIX_LENGTH],
            key_hash=hash_token(plaintext),
            scopes=list(scopes),
            expires_at=expires_at,
            account_id=account_id,
        )
        .returning(VirtualKey)
    )
    assert row is not None  # noqa: S101  an INSERT without ON CONFLICT returns its row or raises
    return row, plaintext


async def revoke_virtual_key(session: AsyncSession, organization_id: UUID, key_id: UUID) -> list[UUID]:
    """Stops a key and every key attenuated from it, at once and everywhere; the ids of those that still worked.

    Repeating it changes nothing. The caller appends to the audit log. Raises NotFound.
    """
    parameters = {"organization_id": organization_id, "key_id": key_id}
    stopped: list[UUID] = list(await session.scalars(_REVOKE, parameters))
    for one in stopped:
        await announce(session, KEY, one)
    if not stopped and not await session.scalar(
        select(func.count()).where(VirtualKey.organization_id == organization_id, VirtualKey.id == key_id)
    ):
        raise NotFound
    return stopped
