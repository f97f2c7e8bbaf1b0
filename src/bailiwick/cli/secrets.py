"""`bailiwick secret`: the secrets that an organisation refers to by name."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from cyclopts import App

from bailiwick.cli.processes import with_runtime
from bailiwick.cli.serve import DataDir

app = App(name="secret", help="The store of secrets, sealed with the installation key. Values are never shown.")

_ACTOR = "operator"
Result = TypeVar("Result")


def _for_organization(public_id: str, data_dir: Path | None, work: Callable[[UUID], Awaitable[Result]]) -> Result:
    """Runs `work` for an organisation that exists; what it refuses ends the command."""
    from bailiwick import identity
    from bailiwick.kernel import ids
    from bailiwick.kernel.database import tenant_transaction
    from bailiwick.kernel.errors import BailiwickError, NotFound

    identifier = ids.decode(ids.Prefix.ORGANIZATION, public_id)
    if identifier is None:
        sys.exit(f"{public_id} is no id of an organisation")

    async def run() -> Result:
        async with tenant_transaction(identifier) as session:
            try:
                await identity.get_organization(session, identifier)
            except NotFound:
                raise NotFound(f"There is no organisation {public_id}.") from None
        return await work(identifier)

    try:
        return with_runtime(data_dir, run)
    except BailiwickError as refused:
        sys.exit(refused.message)


@app.command
def put(organization: str, name: str, *, data_dir: DataDir = None) -> None:
    """Stores the value read from standard input, or replaces the one of that name.

    Parameters
    ----------
    organization
        Public id of the organisation (ws_...).
    name
        The name to refer to it by: 1-255 letters, digits, '-' or '_'.
    """
    from bailiwick import secrets

    value = secrets.Secret(sys.stdin.read().rstrip("\r\n"))
    stored = _for_organization(
        organization, data_dir, lambda identifier: secrets.put_secret(identifier, name, value, actor=_ACTOR)
    )
    print(f"{name}: version {stored.version}")


@app.command(name="list")
def list_(organization: str, *, data_dir: DataDir = None) -> None:
    """Lists an organisation's secrets by name, with version and time of the last change.

    Parameters
    ----------
    organization
        Public id of the organisation (ws_...).
    """
    from bailiwick import secrets
    from bailiwick.kernel.clock import rfc3339

    for secret in _for_organization(organization, data_dir, secrets.list_secrets):
        print(f"{secret.name}\tversion {secret.version}\t{rfc3339(secret.updated_at)}")


@app.command
def delete(organization: str, name: str, *, data_dir: DataDir = None) -> None:
    """Removes a secret for good.

    Parameters
    ----------
    organization
        Public id of the organisation (ws_...).
    name
        Its name.
    """
    from bailiwick import secrets

    _for_organization(organization, data_dir, lambda identifier: secrets.delete_secret(identifier, name, actor=_ACTOR))
    print(f"{name}: deleted")
