"""`bailiwick kill-switch`: the operator stops everything, or what belongs to one organisation, and lets it go again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from cyclopts import App

from bailiwick.cli.processes import with_runtime
from bailiwick.cli.serve import DataDir

if TYPE_CHECKING:  # a command starts without what it does not need
    from bailiwick.invocations import Switch

app = App(name="kill-switch", help="Stops calls at once and in every process, streams under way included.")

_ACTOR = "operator"
Result = TypeVar("Result")


def _run(data_dir: Path | None, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    from bailiwick.kernel.errors import BailiwickError

    try:
        return with_runtime(data_dir, work)
    except BailiwickError as refused:
        sys.exit(refused.message)


def _organization(public_id: str) -> UUID:
    from bailiwick.kernel import ids

    identifier = ids.decode(ids.Prefix.ORGANIZATION, public_id)
    if identifier is None:
        sys.exit(f"{public_id} is no id of an organisation")
    return identifier


def _line(organization_id: UUID | None, switch: Switch) -> str:
    from bailiwick.kernel import ids
    from bailiwick.kernel.clock import rfc3339

    organization = "" if organization_id is None else ids.encode(ids.Prefix.ORGANIZATION, organization_id)
    what = " ".join(word for word in (switch.scope.value, switch.target, organization) if word)
    return f"{switch.public_id}\t{what}\t{rfc3339(switch.engaged_at)} by {switch.engaged_by}: {switch.reason}"


@app.command
def engage(
    reason: str,
    *,
    organization: str | None = None,
    agent: str | None = None,
    key: str | None = None,
    data_dir: DataDir = None,
) -> None:
    """Stops everything on this installation; with an organisation, that, or one of its agents or keys.

    Parameters
    ----------
    reason
        Why; everyone who may see the switch reads it.
    organization
        Public id of the organisation (ws_...).
    agent
        Name of one of its agents.
    key
        Public id of one of its keys (vk_..., ak_...).
    """
    from bailiwick import identity, invocations
    from bailiwick.invocations import SwitchScope
    from bailiwick.kernel.database import tenant_transaction
    from bailiwick.kernel.errors import NotFound

    if (agent and key) or ((agent or key) and organization is None):
        sys.exit("an agent or a key is named together with its organisation, and not both at once")
    scope = SwitchScope.AGENT if agent else SwitchScope.KEY if key else SwitchScope.ORGANIZATION
    identifier = None if organization is None else _organization(organization)

    async def work() -> Switch:
        if identifier is None:
            return await invocations.engage_everything(reason, actor=_ACTOR)
        async with tenant_transaction(identifier) as session:
            try:
                await identity.get_organization(session, identifier)
            except NotFound:
                raise NotFound(f"There is no organisation {organization}.") from None
        return await invocations.engage_switch_for(
            identifier, scope=scope, target=agent or key, reason=reason, actor=_ACTOR
        )

    print(_line(identifier, _run(data_dir, work)))


@app.command
def lift(switch: str, *, organization: str | None = None, data_dir: DataDir = None) -> None:
    """Ends a switch: what it stopped may run again.

    Parameters
    ----------
    switch
        Its id (ks_...).
    organization
        Public id of its organisation (ws_...); looked up when it is not given.
    """
    from bailiwick import invocations

    identifier = None if organization is None else _organization(organization)

    async def work() -> Switch:
        owner = identifier
        if owner is None:
            engaged = await invocations.engaged_everywhere()
            owner = next((owner for owner, one in engaged if one.public_id == switch), None)
        if owner is None:
            return await invocations.lift_everything(switch, actor=_ACTOR)
        return await invocations.lift_switch_for(owner, switch, actor=_ACTOR)

    print(f"{_run(data_dir, work).public_id}: lifted")


@app.command(name="list")
def list_(*, data_dir: DataDir = None) -> None:
    """Lists the switches that are engaged, of every organisation."""
    from bailiwick import invocations

    for organization_id, switch in _run(data_dir, invocations.engaged_everywhere):
        print(_line(organization_id, switch))
