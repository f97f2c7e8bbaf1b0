"""What identity keeps in one process: verified callers, signing keys, external issuers' keys."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.caller_cache import CallerCache
from bailiwick.identity.issuers import Issuer
from bailiwick.identity.signing_keys import TOPIC, KeyRing
from bailiwick.kernel.crypto import SealBroken
from bailiwick.kernel.database import after_commit
from bailiwick.kernel.errors import Misconfigured
from bailiwick.kernel.notify import notify
from bailiwick.kernel.runtime import Runtime, runtime

# Topics of notifications; their argument is the UUID of what changed.
SESSION, KEY, ORGANIZATION = "session", "key", "organization"


class ProcessState:
    """The state of one runtime; it listens for what other processes change."""

    def __init__(self, of: Runtime) -> None:
        self.runtime = of
        self.callers = CallerCache()
        self.key_ring = KeyRing()
        self.issuers = {configured.issuer: Issuer(configured) for configured in of.settings.oidc_issuers}
        self.listening = of.listener.ready
        for topic in (SESSION, KEY, ORGANIZATION):
            of.listener.subscribe(topic, self._changed)
        of.listener.subscribe(TOPIC, lambda _: self.key_ring.forget())

    def _changed(self, argument: str | None) -> None:
        try:
            subject = UUID(argument) if argument else None
        except ValueError:
            subject = None
        if subject is None:
            self.callers.clear()
        else:
            self.callers.drop(subject)


_current: ProcessState | None = None


def process_state() -> ProcessState:
    """The state that belongs to the running runtime, made at its first use."""
    global _current
    of = runtime()
    if _current is None or _current.runtime is not of:
        _current = ProcessState(of)
    return _current


async def announce(session: AsyncSession, topic: str, subject: UUID) -> None:
    """Makes every process forget callers of a session, key or organization: this one as the transaction commits."""
    await notify(session, topic, str(subject))

    async def drop_here() -> None:
        process_state().callers.drop(subject)

    after_commit(session, drop_here)


async def start() -> None:
    """Makes this process ready: it listens for revocations, and a signing key exists. Raises Misconfigured."""
    try:
        await process_state().key_ring.active()
    except SealBroken:
        raise Misconfigured(
            "BAILIWICK_MASTER_KEY, or master.key in the data folder: not the key that this database was sealed with"
        ) from None
