"""`/api/v1/log-sources`: the systems whose audit events the organization reads.

A source sends its secret to the server that its config names, so a VIEWER, who only reads, may not say which.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from bailiwick import logsources
from bailiwick.identity import Caller, Role
from bailiwick.kernel import ids
from bailiwick.kernel.clock import rfc3339

SourceType = Literal[
    "m365_unified_audit",
    "google_workspace_admin",
    "gcp_cloud_audit",
    "splunk_hec",
    "azure_sentinel",
    "custom_webhook",
]
DisplayName = Annotated[str, Meta(min_length=1, max_length=200)]
Config = dict[str, str | int | float | bool | None]


class LogSourceCreate(msgspec.Struct, rename="camel"):
    """`config` holds connection parameters and never a credential; `secretRef` names a secret kept elsewhere."""

    source_type: SourceType
    display_name: DisplayName
    config: Config
    secret_ref: str | UnsetType = UNSET


class LogSourcePatch(msgspec.Struct, rename="camel"):
    """At least one member; `config` is replaced whole."""

    display_name: DisplayName | UnsetType = UNSET
    config: Config | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class LogSourceView(msgspec.Struct, frozen=True):
    """A source as the contract shows it."""

    id: str
    org_id: str
    source_type: str
    display_name: str
    config: dict[str, Any]
    secret_ref: str | None
    enabled: bool
    last_fetched_at: str | None
    fetch_error: str | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, caller: Caller, source: logsources.Source) -> LogSourceView:
        return cls(
            id=source.public_id,
            org_id=caller.organization_name or ids.encode(ids.Prefix.ORGANIZATION, caller.tenant),
            source_type=source.source_type,
            display_name=source.display_name,
            config=dict(source.config),
            secret_ref=source.secret_ref,
            enabled=source.enabled,
            last_fetched_at=None if source.last_fetched_at is None else rfc3339(source.last_fetched_at),
            fetch_error=source.fetch_error,
            created_at=rfc3339(source.created_at),
            updated_at=rfc3339(source.updated_at),
        )


class LogSourceAnswer(msgspec.Struct, frozen=True):
    """One source."""

    source: LogSourceView


class LogSourceList(msgspec.Struct, frozen=True):
    """Every source of the organization."""

    sources: list[LogSourceView]


class Ok(msgspec.Struct, frozen=True):
    """Done."""

    ok: Literal[True] = True


class EventsReceived(msgspec.Struct, frozen=True):
    """How many events the request held, and how many of them were not known yet."""

    received: int
    stored: int


@get("/api/v1/log-sources", operation_id="hosted_list_log_sources")
async def list_log_sources(caller: NamedDependency[Caller]) -> LogSourceList:
    """Oldest first."""
    return LogSourceList([LogSourceView.of(caller, source) for source in await logsources.list_sources(caller)])


@post("/api/v1/log-sources", operation_id="hosted_create_log_source", status_code=201, min_role=Role.DEVELOPER)
async def create_log_source(caller: NamedDependency[Caller], data: JSONBody[LogSourceCreate]) -> LogSourceAnswer:
    """Registers a source, enabled."""
    source = await logsources.create_source(
        caller,
        source_type=data.source_type,
        display_name=data.display_name,
        config=data.config,
        secret_ref=None if data.secret_ref is UNSET else data.secret_ref,
    )
    return LogSourceAnswer(LogSourceView.of(caller, source))


@patch("/api/v1/log-sources/{id:str}", operation_id="hosted_update_log_source", min_role=Role.DEVELOPER)
async def update_log_source(
    caller: NamedDependency[Caller], id: FromPath[str], data: JSONBody[LogSourcePatch]
) -> LogSourceAnswer:
    """Changes display name, config or enabled."""
    source = await logsources.update_source(
        caller,
        id,
        display_name=None if data.display_name is UNSET else data.display_name,
        config=None if data.config is UNSET else data.config,
        enabled=None if data.enabled is UNSET else data.enabled,
    )
    return LogSourceAnswer(LogSourceView.of(caller, source))


@delete(
    "/api/v1/log-sources/{id:str}", operation_id="hosted_delete_log_source", status_code=200, min_role=Role.DEVELOPER
)
async def delete_log_source(caller: NamedDependency[Caller], id: FromPath[str]) -> Ok:
    """Removes the registration; the secret that it names is left alone."""
    await logsources.delete_source(caller, id)
    return Ok()


@post(
    "/api/v1/log-sources/{id:str}/events",
    operation_id="log_source_receive_events",
    status_code=200,
    public=True,
    tags=["log-sources"],
)
async def receive_events(request: Request[Any, Any, Any], id: FromPath[str]) -> EventsReceived:
    """Takes events of a custom webhook: one `{id, action, at, actor?, target?, outcome?, attributes?}` or
    `{events: [...]}` of at most 1,000.

    `Bailiwick-Signature: t=<unix seconds>,v1=<hex>`: HMAC-SHA256, with the source's secret, over `t`, a dot and the raw
    body, at most 300 s old (400 WEBHOOK_SIGNATURE_INVALID). An event id that the source has had before is not stored
    again. 409 LOG_SOURCE_DISABLED; 400 VALIDATION_ERROR, then nothing is stored.
    """
    header = request.headers.get(logsources.SIGNATURE_HEADER, "")
    received = await logsources.receive_events(id, header, await request.body())
    return EventsReceived(received=received.received, stored=received.stored)


ROUTES = [list_log_sources, create_log_source, update_log_source, delete_log_source, receive_events]
