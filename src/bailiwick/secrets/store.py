"""The organizations' own store: AES-256-GCM (kernel `Sealer`), bound to organization and name.

A row that is moved to another organization or name does not open. `key_id` names the installation key that sealed it,
so that a wrong key is told apart from an altered row, and rows of an old key can be found.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from bailiwick import audit
from bailiwick.kernel.crypto import SealBroken
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.runtime import runtime
from bailiwick.secrets.errors import SecretNotFound, SecretUnavailable
from bailiwick.secrets.tables import StoredSecret
from bailiwick.secrets.values import Secret

MAX_SECRET_BYTES = 64 * 1024
_PURPOSE = "stored-secrets"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)


class SecretInfo(msgspec.Struct, frozen=True):
    """What may be known of a stored secret: never its value, whole or in part."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime


async def put_secret(organization_id: UUID, name: str, secret: Secret, *, actor: str) -> SecretInfo:
    """Store under a new name (version 1), or replace (the next version). A name with a dot is stored, but is no
    reference. InvalidInput for what cannot be a name or value."""
    if not _NAME.fullmatch(name):
        raise InvalidInput.of("key", "must be 1-255 letters, digits, '.', '-' or '_'")
    if not 1 <= len(secret.reveal().encode()) <= MAX_SECRET_BYTES:
        raise InvalidInput.of("value", f"must be 1-{MAX_SECRET_BYTES} bytes")
    sealed = runtime().sealer(_PURPOSE).seal(secret.reveal().encode(), _context(organization_id, name))
    written = {"sealed": sealed, "key_id": key_id()}
    statement = (
        insert(StoredSecret)
        .values(organization_id=organization_id, name=name, **written)
        .on_conflict_do_update(
            index_elements=[StoredSecret.organization_id, StoredSecret.name],
            set_={**written, "version": StoredSecret.version + 1, "updated_at": func.clock_timestamp()},
        )
        .returning(StoredSecret.name, StoredSecret.version, StoredSecret.created_at, StoredSecret.updated_at)
    )
    async with tenant_transaction(organization_id) as session:
        row = (await session.execute(statement)).one()
        await audit.append(
            session,
            organization_id,
            action="secret.stored",
            actor=actor,
            subject=name,
            attributes={"version": row.version},
        )
    return SecretInfo(row.name, row.version, row.created_at, row.updated_at)


async def delete_secret(organization_id: UUID, name: str, *, actor: str) -> None:
    """Remove it for good. SecretNotFound."""
    async with tenant_transaction(organization_id) as session:
        removed = await session.execute(
            delete(StoredSecret)
            .where(StoredSecret.organization_id == organization_id, StoredSecret.name == name)
            .returning(StoredSecret.name)
        )
        if removed.first() is None:
            raise SecretNotFound(name)
        await audit.append(session, organization_id, action="secret.deleted", actor=actor, subject=name)


async def list_secrets(organization_id: UUID) -> Sequence[SecretInfo]:
    """Every secret of the organization by name."""
    query = (
        select(StoredSecret.name, StoredSecret.version, StoredSecret.created_at, StoredSecret.updated_at)
        .where(StoredSecret.organization_id == organization_id)
        .order_by(StoredSecret.name)
    )
    async with tenant_transaction(organization_id) as session:
        return [SecretInfo(*row) for row in await session.execute(query)]


class StoredSecrets:
    """The store as a provider of references."""

    async def read(self, reference: str, organization_id: UUID) -> Secret | None:
        query = select(StoredSecret.sealed, StoredSecret.key_id).where(
            StoredSecret.organization_id == organization_id, StoredSecret.name == reference
        )
        async with tenant_transaction(organization_id) as session:
            row = (await session.execute(query)).first()
        if row is None:
            return None
        try:
            return Secret(runtime().sealer(_PURPOSE).open(row.sealed, _context(organization_id, reference)).decode())
        except SealBroken:
            reason = "it was altered" if row.key_id == key_id() else "it was sealed with another installation key"
            raise SecretUnavailable(reference, reason) from None


def key_id() -> str:
    """A name for the installation key that tells nothing about it."""
    return hmac.new(runtime().master_key, b"bailiwick key id", hashlib.sha256).hexdigest()[:16]


def _context(organization_id: UUID, name: str) -> str:
    # A UUID's text has a fixed length, so the two parts cannot be split in another way.
    return f"{organization_id}:{name}"
