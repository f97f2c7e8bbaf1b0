"""API keys: `ak_<43 characters>`, shown once, kept as a hash; they act as the member who made them, within scopes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.process import KEY, announce
from bailiwick.identity.tables import ApiKey
from bailiwick.kernel.crypto import hash_token
from bailiwick.kernel.errors import NotFound
from bailiwick.kernel.ids import uuid7

_PREFIX_LENGTH = 12


async def create_api_key(
    session: AsyncSession,
    organization_id: UUID,
    *,
    membership_id: UUID,
    label: str,
    scopes: Sequence[str] = ("*",),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its plaintext, which is not kept. The caller appends to the audit log."""
    plaintext = f"ak_{secrets.token_urlsafe(32)}"
    row = await session.scalar(
        insert(ApiKey)
        .values(
            organization_id=organization_id,
            id=uuid7(),
            membership_id=membership_id,
            label=label,
            key_prefix=plaintext[:_PREFIX_LENGTH],
            key_hash=hash_token(plaintext),
            scopes=list(scopes),
            expires_at=expires_at,
        )
        .returning(ApiKey)
    )
    assert row is not None  # noqa: S101  an INSERT without ON CONFLICT returns its row or raises
    return row, plaintext


async def revoke_api_key(session: AsyncSession, organization_id: UUID, key_id: UUID) -> None:
    """Stops a key at once and everywhere; repeating it changes nothing. Raises NotFound."""
    one = (ApiKey.organization_id == organization_id, ApiKey.id == key_id)
    if not await session.scalar(select(func.count()).where(*one)):
        raise NotFound
    await session.execute(update(ApiKey).where(*one, ApiKey.revoked_at.is_(None)).values(revoked_at=func.now()))
    await announce(session, KEY, key_id)
