"""Idempotency keys: one request, one effect, one answer, however often it is sent.

A key counts for an organisation, a caller and an operation. Its row is written first, in the transaction of the work
and under its lock, and the answer is stored in the same transaction: a second request with the key waits for the first
and then finds the answer; when the first rolled back, the second runs.
Compare draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.errors import Conflict


class IdempotencyConflict(Conflict):
    """This idempotency key was used with another request."""

    code = "IDEMPOTENCY_CONFLICT"


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer that the first request with a key got."""

    status: int
    body: bytes


_CLAIM = text(
    "insert into idempotency_keys (organization_id, caller, operation, key, request_hash)"
    " values (:organization_id, :caller, :operation, :key, :request_hash) on conflict do nothing returning 1"
)
_FIND = text(
    "select request_hash, status, body from idempotency_keys where organization_id = :organization_id"
    " and caller = :caller and operation = :operation and key = :key"
)
_STORE = text(
    "update idempotency_keys set status = :status, body = :body where organization_id = :organization_id"
    " and caller = :caller and operation = :operation and key = :key"
)


class IdempotentRequest(msgspec.Struct, frozen=True):
    """One request under a key."""

    organization_id: UUID
    caller: str
    operation: str
    key: str

    def _identity(self) -> dict[str, object]:
        return msgspec.structs.asdict(self)

    async def claim(self, session: AsyncSession, request_body: bytes) -> StoredAnswer | None:
        """Claims the key in the transaction of the work; the stored answer when it was used before.

        Raises IdempotencyConflict when it was used with another body.
        """
        digest = hashlib.sha256(request_body).digest()
        if await session.scalar(_CLAIM, self._identity() | {"request_hash": digest}):
            return None
        row = (await session.execute(_FIND, self._identity())).one()
        if row.request_hash != digest:
            raise IdempotencyConflict
        return StoredAnswer(row.status, row.body)

    async def store(self, session: AsyncSession, answer: StoredAnswer) -> None:
        """Stores the answer with the work."""
        await session.execute(_STORE, self._identity() | {"status": answer.status, "body": answer.body})
