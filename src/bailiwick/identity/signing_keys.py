"""Keys that sign access tokens: made at the first use, sealed with the installation key, rotated, published."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode
from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.tables import SigningKey
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.crypto import Sealer
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.notify import notify
from bailiwick.kernel.runtime import runtime

TOPIC = "signing_keys"
# A retired key verifies what it signed, and stays published for those who cache the set.
_PUBLISHED_AFTER_RETIRING = timedelta(days=1)
# Tokens that name unknown keys cannot make a process read the table more often than this.
_RELOAD_SECONDS = 2.0


class SigningPair(msgspec.Struct, frozen=True):
    """The key that signs at present."""

    id: str
    private: OKPKey


class PublicKey(msgspec.Struct, frozen=True):
    """A key that verifies."""

    id: str
    public: OKPKey

    def as_jwk(self) -> dict[str, Any]:
        """RFC 7517 and 8037."""
        raw = self.public.as_dict(private=False)
        return {"kty": "OKP", "crv": "Ed25519", "x": raw["x"], "kid": self.id, "use": "sig", "alg": "EdDSA"}


def _sealer() -> Sealer:
    return runtime().sealer("signing-keys")


def _public(raw: bytes) -> OKPKey:
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": urlsafe_b64encode(raw).decode()})


async def _make(session: AsyncSession) -> None:
    """Adds an active key unless there is one: the index on active keys decides between two processes."""
    made = Ed25519PrivateKey.generate()
    raw = made.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    identifier = _public(raw).thumbprint()
    private = made.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    await session.execute(
        insert(SigningKey)
        .values(id=identifier, public_key=raw, sealed_private_key=_sealer().seal(private, identifier))
        .on_conflict_do_nothing()
    )


class KeyRing:
    """This process's copy of the signing keys."""

    def __init__(self) -> None:
        self._active: SigningPair | None = None
        self._public: dict[str, PublicKey] = {}
        self._loaded_at = 0.0
        self._lock = asyncio.Lock()

    def forget(self) -> None:
        """Reads the keys anew at the next use."""
        self._active, self._public, self._loaded_at = None, {}, 0.0

    async def _load(self) -> SigningPair:
        oldest = now() - _PUBLISHED_AFTER_RETIRING
        published = (
            select(SigningKey)
            .where(or_(SigningKey.retired_at.is_(None), SigningKey.retired_at > oldest))
            .order_by(SigningKey.created_at.desc())
        )
        async with system_transaction(CrossTenantUse.SIGN_IN) as session:
            rows = (await session.scalars(published)).all()
            if not any(row.retired_at is None for row in rows):
                await _make(session)
                rows = (await session.scalars(published)).all()
        active = next(row for row in rows if row.retired_at is None)
        private = urlsafe_b64encode(_sealer().open(active.sealed_private_key, active.id)).decode()
        public = urlsafe_b64encode(active.public_key).decode()
        pair = SigningPair(active.id, OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "d": private, "x": public}))
        self._public = {row.id: PublicKey(row.id, _public(row.public_key)) for row in rows}
        self._active, self._loaded_at = pair, time.monotonic()
        return pair

    async def active(self) -> SigningPair:
        """The key that signs, made at an installation's first use. Raises SealBroken under another master key."""
        if self._active is not None:
            return self._active
        async with self._lock:
            return self._active or await self._load()

    async def find(self, identifier: str) -> PublicKey | None:
        """The key of this id, if it is one of ours; the table is read again for an unknown one, seldom."""
        if identifier not in self._public and time.monotonic() - self._loaded_at > _RELOAD_SECONDS:
            async with self._lock:
                if time.monotonic() - self._loaded_at > _RELOAD_SECONDS:
                    await self._load()
        return self._public.get(identifier)

    async def published(self) -> list[PublicKey]:
        """The keys that verify, newest first."""
        await self.active()
        return list(self._public.values())

    async def rotate(self) -> None:
        """Retires the active key and makes another; tokens that the old one signed stay valid until they expire."""
        async with system_transaction(CrossTenantUse.SIGN_IN) as session:
            await session.execute(update(SigningKey).where(SigningKey.retired_at.is_(None)).values(retired_at=now()))
            await _make(session)
            await notify(session, TOPIC, "")
        self.forget()
