"""The key that signs an organization's checkpoints: made at the first, sealed with the installation key."""

from __future__ import annotations

from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.audit.checkpoint import VerifierKey, origin_of
from bailiwick.audit.tables import AuditSigningKey
from bailiwick.kernel.runtime import runtime

_PURPOSE = "audit checkpoints"


def _context(organization_id: UUID, key_id: bytes) -> str:
    return f"{organization_id}:{key_id.hex()}"


async def signing_key(session: AsyncSession, organization_id: UUID) -> Ed25519PrivateKey:
    """The active private key, made when there is none. The caller holds the lock of the organization's tree."""
    sealer = runtime().sealer(_PURPOSE)
    found = await session.execute(
        select(AuditSigningKey.key_id, AuditSigningKey.sealed_private_key).where(
            AuditSigningKey.organization_id == organization_id, AuditSigningKey.retired_at.is_(None)
        )
    )
    if row := found.first():
        opened = sealer.open(row.sealed_private_key, _context(organization_id, row.key_id))
        return Ed25519PrivateKey.from_private_bytes(opened)
    made = Ed25519PrivateKey.generate()
    public_key = made.public_key().public_bytes_raw()
    key_id = VerifierKey(origin_of(organization_id), public_key).key_id
    await session.execute(
        insert(AuditSigningKey).values(
            organization_id=organization_id,
            key_id=key_id,
            public_key=public_key,
            sealed_private_key=sealer.seal(made.private_bytes_raw(), _context(organization_id, key_id)),
        )
    )
    return made


async def verifier_keys(session: AsyncSession, organization_id: UUID) -> dict[bytes, VerifierKey]:
    """Every key that has signed checkpoints of this log, by key id."""
    rows = await session.execute(
        select(AuditSigningKey.key_id, AuditSigningKey.public_key).where(
            AuditSigningKey.organization_id == organization_id
        )
    )
    origin = origin_of(organization_id)
    return {row.key_id: VerifierKey(origin, row.public_key) for row in rows}
