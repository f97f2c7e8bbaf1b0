"""`/api/v1/keys`: virtual keys, which call models through the gateway as the member who made them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from bailiwick import identity, invocations
from bailiwick.api.control.people import CamelCase, moment
from bailiwick.identity import Attenuated, Caller, DayOfUsage, KeySettings, KeyStatus, Role, ShownKey
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import Prefix, encode

_MICROS = 1_000_000
Label = Annotated[str, Meta(min_length=1, max_length=128)]
Usd = Annotated[float, Meta(ge=0, le=1_000_000_000)]
PerMinute = Annotated[int, Meta(ge=1, le=2_147_483_647)]
Models = Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=200)]
Tags = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=256)]], Meta(max_length=32)
]
Department = Annotated[str, Meta(max_length=128)]
CacheSeconds = Annotated[int, Meta(ge=0, le=604_800)]
Zoned = Annotated[datetime, Meta(tz=True)]


class KeyPatch(CamelCase, kw_only=True):
    """VirtualKeyPatch, and beyond it: tokens per minute, the budget's period, expiry, tags for attributing cost, and
    for how long answers to the same request are repeated (0: never). What is given is changed; null takes it away."""

    label: Label | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    budget_usd: Usd | UnsetType | None = UNSET
    allowed_models: Models | UnsetType = UNSET
    rate_limit_rpm: PerMinute | UnsetType | None = UNSET
    department_id: Department | UnsetType | None = UNSET
    rate_limit_tpm: PerMinute | UnsetType | None = UNSET
    budget_period: Literal["day", "month", "once"] | UnsetType = UNSET
    expires_at: Zoned | UnsetType | None = UNSET
    metadata: Tags | UnsetType = UNSET
    cache_seconds: CacheSeconds | UnsetType = UNSET

    def columns(self) -> dict[str, Any]:
        """What is given, as identity calls it."""
        given: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET
        }
        if "budget_usd" in given:
            usd = given.pop("budget_usd")
            given["budget_micros"] = None if usd is None else round(usd * _MICROS)
        if "metadata" in given:
            given["details"] = given.pop("metadata")
        return given


class KeyCreate(KeyPatch, kw_only=True):
    """VirtualKeyCreate with the members of KeyPatch. At most one of `expiresInDays` and `expiresAt`."""

    label: Label
    scopes: list[str] = msgspec.field(default_factory=lambda: ["*"])
    expires_in_days: Annotated[int, Meta(ge=1, le=365)] | UnsetType = UNSET


class KeyRevoke(CamelCase):
    """Why."""

    reason: Annotated[str, Meta(max_length=500)] | None = None


class KeyRotate(CamelCase):
    """For how long the old key goes on (beyond the contract)."""

    grace_seconds: Annotated[int, Meta(ge=0, le=identity.MOST_GRACE_SECONDS)] = 0


class KeyAttenuate(CamelCase):
    """What the child may do, and for how long."""

    requested_caps: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)]
    ttl_seconds: Annotated[int, Meta(ge=60, le=86_400)] = 3600


class KeyView(CamelCase, kw_only=True, omit_defaults=False):
    """components/schemas/VirtualKey, with what KeyPatch adds; VirtualKeyCreated when `key` is there."""

    key_id: str
    key_prefix: str
    label: str
    scopes: list[str]
    status: str
    member_id: str | UnsetType
    parent_key_id: str | None
    replaced_by_key_id: str | None
    budget_usd: float | None
    budget_period: str
    spent_usd: float
    allowed_models: list[str]
    rate_limit_rpm: int | None
    rate_limit_tpm: int | None
    cache_seconds: int
    department_id: str | None
    metadata: dict[str, Any]
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    created_at: str
    key: str | UnsetType = UNSET

    @classmethod
    def of(cls, shown: ShownKey) -> KeyView:
        """A key."""
        key = shown.key
        return cls(
            key_id=encode(Prefix.VIRTUAL_KEY, key.id),
            key_prefix=key.key_prefix,
            label=key.label,
            scopes=key.scopes,
            status=identity.status_of(key, now()).value,
            member_id=encode(Prefix.MEMBERSHIP, key.membership_id) if key.membership_id else UNSET,
            parent_key_id=encode(Prefix.VIRTUAL_KEY, key.parent_key_id) if key.parent_key_id else None,
            replaced_by_key_id=encode(Prefix.VIRTUAL_KEY, key.replaced_by) if key.replaced_by else None,
            budget_usd=None if key.budget_micros is None else key.budget_micros / _MICROS,
            budget_period=key.budget_period,
            spent_usd=shown.spent_micros / _MICROS,
            allowed_models=key.allowed_models,
            rate_limit_rpm=key.rate_limit_rpm,
            rate_limit_tpm=key.rate_limit_tpm,
            cache_seconds=key.cache_seconds,
            department_id=key.department_id,
            metadata=key.details,
            expires_at=moment(key.expires_at),
            last_used_at=moment(key.last_used_at),
            revoked_at=moment(key.revoked_at),
            created_at=rfc3339(key.created_at),
            key=shown.plaintext or UNSET,
        )


class KeyList(CamelCase):
    """A page of keys."""

    items: list[KeyView]
    total: int
    page: int
    limit: int


class Deleted(CamelCase):
    """Done."""

    deleted: bool = True


class AttenuatedView(CamelCase):
    """A child key; `attenuationChainId` is the first key of its chain."""

    child_key: str
    child_key_id: str
    attenuation_chain_id: str
    granted_caps: list[str]
    expires_at: str | None

    @classmethod
    def of(cls, made: Attenuated) -> AttenuatedView:
        """A key that was just made."""
        return cls(
            child_key=made.plaintext,
            child_key_id=encode(Prefix.VIRTUAL_KEY, made.key.id),
            attenuation_chain_id=encode(Prefix.VIRTUAL_KEY, made.chain_id),
            granted_caps=made.key.scopes,
            expires_at=moment(made.key.expires_at),
        )


class DayView(CamelCase):
    """One UTC day."""

    date: str
    cost_usd: float
    input_tokens: int
    output_tokens: int
    trace_count: int

    @classmethod
    def of(cls, day: DayOfUsage) -> DayView:
        """A day with calls."""
        return cls(
            date=day.day.isoformat(),
            cost_usd=day.cost_micros / _MICROS,
            input_tokens=day.input_tokens,
            output_tokens=day.output_tokens,
            trace_count=day.traces,
        )


class UsageView(CamelCase):
    """What a key and the keys attenuated from it used; days without a call are left out."""

    key_id: str
    total_cost_usd: float
    trace_count: int
    days: list[DayView]


@get("/api/v1/keys", operation_id="governance_list_keys")
async def list_keys(
    caller: NamedDependency[Caller],
    *,
    status: Annotated[Literal["ACTIVE", "EXPIRED", "REVOKED"] | None, QueryParameter()] = None,
    member_id: Annotated[str | None, QueryParameter(name="memberId")] = None,
    page: Annotated[int, QueryParameter(ge=1, le=1_000_000_000)] = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
) -> KeyList:
    """Newest first, without secrets; below ADMIN one's own."""
    found = await identity.list_keys(
        caller, status=None if status is None else KeyStatus(status), member=member_id, page=page, limit=limit
    )
    return KeyList([KeyView.of(shown) for shown in found.keys], found.total, page, limit)


@post("/api/v1/keys", operation_id="governance_create_key", status_code=201, min_role=Role.DEVELOPER)
async def create_key(caller: NamedDependency[Caller], data: JSONBody[KeyCreate]) -> KeyView:
    """Issues a key; its plaintext is in this answer and nowhere else."""
    await invocations.require_not_stopped(caller)
    given = data.columns()
    days = given.pop("expires_in_days", None)
    expires_at = given.pop("expires_at", None)
    if days is not None and expires_at is not None:
        raise InvalidInput.of("expiresAt", "cannot be given with expiresInDays")
    shown = await identity.issue_key(
        caller,
        label=given.pop("label"),
        scopes=given.pop("scopes"),
        expires_at=expires_at if days is None else now() + timedelta(days=days),
        settings=KeySettings(**given),
    )
    return KeyView.of(shown)


@get("/api/v1/keys/{key_id:str}", operation_id="governance_get_key")
async def get_key(caller: NamedDependency[Caller], key_id: FromPath[str]) -> KeyView:
    """One key without its secret."""
    return KeyView.of(await identity.show_key(caller, key_id))


@patch("/api/v1/keys/{key_id:str}", operation_id="governance_update_key", min_role=Role.DEVELOPER)
async def update_key(caller: NamedDependency[Caller], key_id: FromPath[str], data: JSONBody[KeyPatch]) -> KeyView:
    """Changes an active key, for every process at once."""
    return KeyView.of(await identity.change_key(caller, key_id, data.columns()))


@delete("/api/v1/keys/{key_id:str}", operation_id="governance_delete_key", status_code=200, min_role=Role.DEVELOPER)
async def delete_key(caller: NamedDependency[Caller], key_id: FromPath[str]) -> Deleted:
    """Revokes a key and drops it from lists."""
    await identity.delete_key(caller, key_id)
    return Deleted()


@post(
    "/api/v1/keys/{key_id:str}/revoke", operation_id="governance_revoke_key", status_code=200, min_role=Role.DEVELOPER
)
async def revoke_key(
    caller: NamedDependency[Caller], key_id: FromPath[str], data: JSONBody[KeyRevoke | None] = None
) -> KeyView:
    """Stops a key and every key attenuated from it, at once."""
    return KeyView.of(await identity.revoke_key(caller, key_id, None if data is None else data.reason))


@post(
    "/api/v1/keys/{key_id:str}/rotate", operation_id="governance_rotate_key", status_code=201, min_role=Role.DEVELOPER
)
async def rotate_key(
    caller: NamedDependency[Caller], key_id: FromPath[str], data: JSONBody[KeyRotate | None] = None
) -> KeyView:
    """Issues a replacement; the old key ends at once, or after `graceSeconds`."""
    await invocations.require_not_stopped(caller)
    grace_seconds = 0 if data is None else data.grace_seconds
    return KeyView.of(await identity.rotate_key(caller, key_id, grace_seconds=grace_seconds))


@post(
    "/api/v1/keys/{key_id:str}/attenuate",
    operation_id="governance_attenuate_key",
    status_code=201,
    min_role=Role.DEVELOPER,
)
async def attenuate_key(
    caller: NamedDependency[Caller], key_id: FromPath[str], data: JSONBody[KeyAttenuate]
) -> AttenuatedView:
    """Issues a child key for a sub-agent."""
    made = await identity.attenuate_key(
        caller, key_id, requested=data.requested_caps, lifetime_seconds=data.ttl_seconds
    )
    return AttenuatedView.of(made)


@get("/api/v1/keys/{key_id:str}/usage", operation_id="governance_key_usage")
async def key_usage(
    caller: NamedDependency[Caller],
    key_id: FromPath[str],
    *,
    since: Annotated[datetime | None, QueryParameter()] = None,
    until: Annotated[datetime | None, QueryParameter()] = None,
) -> UsageView:
    """Spend, tokens and calls per UTC day."""
    days = await identity.key_usage(caller, key_id, since=since, until=until)
    return UsageView(
        key_id=key_id,
        total_cost_usd=sum(day.cost_micros for day in days) / _MICROS,
        trace_count=sum(day.traces for day in days),
        days=[DayView.of(day) for day in days],
    )


ROUTES = [
    list_keys,
    create_key,
    get_key,
    update_key,
    delete_key,
    revoke_key,
    rotate_key,
    attenuate_key,
    key_usage,
]
