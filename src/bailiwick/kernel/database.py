"""The database: connections, tenant scope, transactions.

The application connects with the role `bailiwick_app`, which owns nothing and is subject to row-level security. A
transaction names its organisation once; a statement that forgets its WHERE then yields nothing, not another
organisation's rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from bailiwick.kernel.cross_tenant import CrossTenantUse

APPLICATION_ROLE = "bailiwick_app"
SYSTEM_ROLE = "bailiwick_system"


class Base(DeclarativeBase):
    """Base of every table. Tables are created by migrations only; a test compares the two."""


class Database:
    """The connections of one process to one database."""

    def __init__(self, url: str, *, pool_size: int = 8, statement_timeout_seconds: int = 30) -> None:
        self.url = url
        self._server_settings = {
            "role": APPLICATION_ROLE,
            "application_name": "bailiwick",
            "timezone": "UTC",
            "statement_timeout": str(statement_timeout_seconds * 1000),
            "idle_in_transaction_session_timeout": "60000",
            "jit": "off",
        }
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=15,
            pool_recycle=1800,
            hide_parameters=True,  # an error's text is logged, and parameters are passwords' hashes, people, content
        )

    async def connect(self, settings: Mapping[str, str] | None = None) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of the application's role, outside the pool; `settings` are PostgreSQL's, for its session."""
        return await asyncpg.connect(
            self.url, server_settings={**self._server_settings, **(settings or {})}, timeout=15
        )

    async def close(self) -> None:
        """Closes the pool."""
        await self.engine.dispose()


_current: Database | None = None


def use(database: Database | None) -> None:
    """Makes `database` the one that transactions of this process run on."""
    global _current
    _current = database


def current() -> Database:
    """The database of this process. Raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no database is configured: call bailiwick.kernel.database.use first")
    return _current


@contextlib.asynccontextmanager
async def _transaction(set_up: str, parameters: dict[str, Any]) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(current().engine, expire_on_commit=False) as session:
        try:
            await session.execute(text(set_up), parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The server ended the connection while it lay in the pool, say when it restarted. Nothing is done yet.
            await session.rollback()
            await session.execute(text(set_up), parameters)
        yield session
        await session.commit()
        # The work after commit is told only once the commit has succeeded.
        callbacks: list[Callable[[], Awaitable[None]]] = session.info.pop("after_commit", [])
    for callback in callbacks:
        await callback()


@contextlib.asynccontextmanager
async def tenant_transaction(organization_id: UUID) -> AsyncIterator[AsyncSession]:
    """One use case's transaction within one organisation: commits at the end, rolls back on any exception.

    `organization_id` comes from a verified credential and from nothing else.
    """
    async with _transaction(
        "select set_config('bailiwick.organization_id', :organization_id, true)",
        {"organization_id": str(organization_id)},
    ) as session:
        yield session


@contextlib.asynccontextmanager
async def system_transaction(use: CrossTenantUse) -> AsyncIterator[AsyncSession]:
    """A transaction that sees every organisation; `use` says why it may (`kernel/cross_tenant.py` lists them all)."""
    del use  # named at the call so that a reader, and a search, finds each one
    async with _transaction("select set_config('role', :role, true)", {"role": SYSTEM_ROLE}) as session:
        yield session


async def narrow(session: AsyncSession, organization_id: UUID) -> None:
    """Sets the organisation of a system transaction, so that tenant code can run within it."""
    await session.execute(
        text("select set_config('bailiwick.organization_id', :organization_id, true)"),
        {"organization_id": str(organization_id)},
    )


# What says that the database cannot be reached or is going away: the same call may succeed a little later.
_GONE = (
    ConnectionError,
    FileNotFoundError,  # of the embedded server's socket
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


def is_unavailable(error: BaseException) -> bool:
    """Whether an exception of a transaction says that the database, or a connection to it, is not to be had now."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_unavailable(error.orig))
    cause = error.__cause__
    return isinstance(error, (*_GONE, PoolTimeout)) or (cause is not None and isinstance(cause, _GONE))


def after_commit(session: AsyncSession, callback: Callable[[], Awaitable[None]]) -> None:
    """Runs `callback` once this session's transaction has committed; never when it rolls back."""
    session.info.setdefault("after_commit", []).append(callback)
