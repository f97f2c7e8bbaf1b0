"""What a process has one of: database, installation key, outbound client, settings."""

from __future__ import annotations

import msgspec

from bailiwick.kernel import database
from bailiwick.kernel.crypto import Sealer, load_master_key
from bailiwick.kernel.database import Database
from bailiwick.kernel.notify import Listener
from bailiwick.kernel.outbound import Outbound
from bailiwick.settings import Settings


class Runtime(msgspec.Struct, frozen=True):
    """The parts that use cases reach through `runtime()`."""

    settings: Settings
    database: Database
    outbound: Outbound
    listener: Listener
    master_key: bytes

    def sealer(self, purpose: str) -> Sealer:
        """Seals values for one purpose with a key derived from the installation key."""
        return Sealer(self.master_key, purpose)


_current: Runtime | None = None


def runtime() -> Runtime:
    """The parts of this process. Raises RuntimeError before `start`."""
    if _current is None:
        raise RuntimeError("the process has not started: call bailiwick.kernel.runtime.start first")
    return _current


def start(settings: Settings, database_url: str) -> Runtime:
    """Sets this process up on one database."""
    global _current
    opened = Database(
        database_url,
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=settings.statement_timeout_seconds,
    )
    configured = settings.master_key.get_secret_value() if settings.master_key else None
    _current = Runtime(
        settings=settings,
        database=opened,
        outbound=Outbound(frozenset(settings.outbound_allowed_hosts), proxy_url=settings.outbound_proxy_url),
        listener=Listener(opened),
        master_key=load_master_key(settings.data_dir, configured),
    )
    database.use(opened)
    return _current


async def stop() -> None:
    """Closes what `start` opened."""
    global _current
    if _current is not None:
        await _current.listener.stop()
        await _current.outbound.close()
        await _current.database.close()
        database.use(None)
        _current = None
