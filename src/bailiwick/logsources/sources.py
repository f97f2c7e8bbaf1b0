"""Log sources of an organization: list, create, update, delete (contract hosted-agents, tag log-sources)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from bailiwick import audit
from bailiwick.identity import Caller
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import Prefix, uuid7
from bailiwick.logsources.config import REQUIRED_FIELD, check_config, check_text
from bailiwick.logsources.errors import LogSourceForeign, LogSourceNotFound
from bailiwick.logsources.events import Scalar
from bailiwick.logsources.tables import LogSource
from bailiwick.secrets import SecretReferenceInvalid, check_reference

_MAX_NAME = 200


class Source(msgspec.Struct, frozen=True):
    """A log source as it may be shown: the name of its secret, never the secret."""

    id: UUID
    source_type: str
    display_name: str
    config: Mapping[str, Scalar]
    secret_ref: str | None
    enabled: bool
    last_fetched_at: datetime | None
    fetch_error: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def public_id(self) -> str:
        return ids.encode(Prefix.LOG_SOURCE, self.id)


_COLUMNS = tuple(getattr(LogSource, name) for name in Source.__struct_fields__)


async def list_sources(caller: Caller) -> Sequence[Source]:
    """Every source of the caller's organization, oldest first."""
    query = select(*_COLUMNS).where(LogSource.organization_id == caller.tenant).order_by(LogSource.id)
    async with tenant_transaction(caller.tenant) as session:
        return [_source(row) for row in await session.execute(query)]


async def create_source(
    caller: Caller, *, source_type: str, display_name: str, config: Mapping[str, Scalar], secret_ref: str | None
) -> Source:
    """Register a source, enabled and due at once. InvalidInput names what is wrong."""
    if source_type not in REQUIRED_FIELD:
        raise InvalidInput.of("sourceType", "is not a type of log source")
    _check_name(display_name)
    if secret_ref is not None:
        try:
            check_reference(secret_ref)
        except SecretReferenceInvalid as error:
            raise InvalidInput.of("secretRef", error.message) from None
    check_config(source_type, config)
    statement = (
        insert(LogSource)
        .values(
            organization_id=caller.tenant,
            id=uuid7(),
            source_type=source_type,
            display_name=display_name,
            config=dict(config),
            secret_ref=secret_ref,
        )
        .returning(*_COLUMNS)
    )
    async with tenant_transaction(caller.tenant) as session:
        source = _source((await session.execute(statement)).one())
        await audit.append(
            session,
            caller.tenant,
            action="log_source.created",
            actor=caller.subject,
            subject=source.public_id,
            attributes={"source_type": source_type},
        )
    return source


async def update_source(
    caller: Caller,
    public_id: str,
    *,
    display_name: str | None = None,
    config: Mapping[str, Scalar] | None = None,
    enabled: bool | None = None,
) -> Source:
    """Change what is given. A new `config` begins the source anew: its cursor belonged to the old one.

    A fetch under way is void when config or enabled changes. LogSourceNotFound, also for another organization's source;
    InvalidInput.
    """
    if display_name is None and config is None and enabled is None:
        raise InvalidInput("Give at least one of displayName, config and enabled.")
    if display_name is not None:
        _check_name(display_name)
    source_id = _decode(public_id)
    mine = (LogSource.organization_id == caller.tenant, LogSource.id == source_id)
    async with tenant_transaction(caller.tenant) as session:
        before = (await session.execute(select(*_COLUMNS).where(*mine).with_for_update(key_share=True))).first()
        if before is None:
            raise LogSourceNotFound
        changes: dict[str, object] = {}
        if display_name is not None:
            changes["display_name"] = display_name
        if config is not None:
            check_config(before.source_type, config)
            if dict(config) != before.config:
                changes |= {"config": dict(config), "cursor": None, "fetch_error": None, **_VOID}
        if enabled is not None and enabled != before.enabled:
            changes |= {"enabled": enabled, **_VOID}
        # The contract promises a later updated_at, and shows milliseconds.
        later = func.greatest(func.clock_timestamp(), before.updated_at + timedelta(milliseconds=1))
        changed = await session.execute(
            update(LogSource).where(*mine).values(**changes, updated_at=later).returning(*_COLUMNS)
        )
        source = _source(changed.one())
        await audit.append(
            session,
            caller.tenant,
            action="log_source.updated",
            actor=caller.subject,
            subject=public_id,
            attributes={"enabled": source.enabled, "changed": ",".join(sorted(changes.keys() & _SHOWN))},
        )
    return source


async def delete_source(caller: Caller, public_id: str) -> None:
    """Remove the registration; its secret, and the events fetched so far, stay. LogSourceNotFound for an unknown id,
    LogSourceForeign for another organization's source, which is left as it is."""
    source_id = _decode(public_id)
    async with tenant_transaction(caller.tenant) as session:
        removed = await session.execute(
            delete(LogSource)
            .where(LogSource.organization_id == caller.tenant, LogSource.id == source_id)
            .returning(LogSource.source_type)
        )
        row = removed.first()
        if row is not None:
            await audit.append(
                session,
                caller.tenant,
                action="log_source.deleted",
                actor=caller.subject,
                subject=public_id,
                attributes={"source_type": row.source_type},
            )
            return
    async with system_transaction(CrossTenantUse.LOG_SOURCE_OWNER) as session:
        if await session.scalar(select(LogSource.id).where(LogSource.id == source_id)) is not None:
            raise LogSourceForeign
    raise LogSourceNotFound


# Makes the outcome of a fetch under way void, and has the source fetched again at once.
_VOID = {"claim": None, "claimed_until": None, "failures": 0, "due_at": func.clock_timestamp()}
_SHOWN = {"display_name", "config", "enabled"}


def _source(row: Row[tuple[object, ...]]) -> Source:
    return Source(**row._mapping)


def _check_name(display_name: str) -> None:
    if not 1 <= len(display_name) <= _MAX_NAME:
        raise InvalidInput.of("displayName", f"must be 1-{_MAX_NAME} characters")
    check_text("displayName", display_name)


def _decode(public_id: str) -> UUID:
    source_id = ids.decode(Prefix.LOG_SOURCE, public_id)
    if source_id is None:
        raise LogSourceNotFound
    return source_id
