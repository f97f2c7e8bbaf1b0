"""`/api/v1/kill-switches`: stops a key, an agent or the whole organization at once."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from bailiwick import invocations
from bailiwick.identity import Caller, Role
from bailiwick.kernel.clock import rfc3339

_LAST_PAGE = 2**63 - 1


class KillSwitchCreate(msgspec.Struct, rename="camel"):
    """`targetId`: the id of a key (`vk_...`, `ak_...`) or the name of an agent; absent for `organization`."""

    scope: Literal["key", "agent", "organization"]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    target_id: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType | None = UNSET


class KillSwitchView(msgspec.Struct, frozen=True, rename="camel"):
    """A kill switch, engaged as long as `liftedAt` is null. Scope `everything` is the installation operator's."""

    id: str
    scope: str
    target_id: str | None
    reason: str
    engaged_by: str
    engaged_at: str
    lifted_by: str | None
    lifted_at: str | None

    @classmethod
    def of(cls, switch: invocations.Switch) -> KillSwitchView:
        return cls(
            id=switch.public_id,
            scope=switch.scope.value,
            target_id=switch.target,
            reason=switch.reason,
            engaged_by=switch.engaged_by,
            engaged_at=rfc3339(switch.engaged_at),
            lifted_by=switch.lifted_by,
            lifted_at=None if switch.lifted_at is None else rfc3339(switch.lifted_at),
        )


class KillSwitchList(msgspec.Struct, frozen=True):
    """The organization's switches, newest first; `everything` is the one that stops the whole installation, or null."""

    items: list[KillSwitchView]
    total: int
    page: int
    limit: int
    everything: KillSwitchView | None


@get("/api/v1/kill-switches", operation_id="kill_switch_list", tags=["kill-switches"], min_role=Role.ADMIN)
async def list_kill_switches(
    caller: NamedDependency[Caller],
    *,
    engaged: Annotated[bool | None, QueryParameter(description="only those engaged (true), or lifted (false)")] = None,
    page: Annotated[int, QueryParameter(ge=1, le=_LAST_PAGE)] = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
) -> KillSwitchList:
    """The organization's kill switches, with who engaged and lifted each, when and why."""
    listed = await invocations.list_switches(caller.tenant, page=page, limit=limit, engaged=engaged)
    everything = None if listed.everything is None else KillSwitchView.of(listed.everything)
    return KillSwitchList(
        [KillSwitchView.of(switch) for switch in listed.switches], listed.total, page, limit, everything
    )


@post(
    "/api/v1/kill-switches",
    operation_id="kill_switch_engage",
    tags=["kill-switches"],
    status_code=201,
    min_role=Role.ADMIN,
)
async def engage_kill_switch(caller: NamedDependency[Caller], data: JSONBody[KillSwitchCreate]) -> KillSwitchView:
    """Engages a kill switch. From this answer on no call of what it names is admitted (403 KILL_SWITCH), and every
    process cuts those under way, streams included, within a second: they are settled for what they used, and their
    traces are `blocked` with KILL.

    Scope `key`: calls made with the key or paid by it, and with keys attenuated from it. Scope `agent`: calls of the
    agent, whoever makes them. 409 KILL_SWITCH_ENGAGED when the same is stopped already.
    """
    switch = await invocations.engage_switch(
        caller,
        scope=invocations.SwitchScope(data.scope),
        target=None if data.target_id is UNSET else data.target_id,
        reason=data.reason,
    )
    return KillSwitchView.of(switch)


@delete(
    "/api/v1/kill-switches/{id:str}",
    operation_id="kill_switch_lift",
    tags=["kill-switches"],
    status_code=200,
    min_role=Role.ADMIN,
)
async def lift_kill_switch(caller: NamedDependency[Caller], id: FromPath[str]) -> KillSwitchView:
    """Lifts a kill switch, which stays in the list. Lifting it again changes nothing. 404 E_NOT_FOUND."""
    return KillSwitchView.of(await invocations.lift_switch(caller, id))


ROUTES = [list_kill_switches, engage_kill_switch, lift_kill_switch]
