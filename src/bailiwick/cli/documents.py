"""What this installation serves, takes and refuses: `bailiwick openapi`, `settings`, `errors`, `commands`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

from litestar import Litestar

from bailiwick.cli.serve import DataDir, configure


@contextlib.asynccontextmanager
async def _nothing(_api: Litestar) -> AsyncIterator[None]:
    yield


def openapi(*, data_dir: DataDir = None) -> None:
    """Prints the OpenAPI document."""
    from bailiwick.api import build_api
    from bailiwick.api.openapi import document

    print(json.dumps(document(build_api(configure(data_dir=data_dir), lifespan=_nothing)), indent=2))


def settings_reference(*, markdown: bool = False) -> None:
    """Lists every setting with its environment variable, type, default and meaning.

    Parameters
    ----------
    markdown
        As the page of the reference documentation.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from bailiwick.cli.settings_reference import reference, reference_markdown

    if markdown:
        print(reference_markdown(), end="")
        return
    console = Console()
    for group, rows in reference():
        variable = Column("Variable", no_wrap=True)  # a name that is cut short or broken is of no use
        table = Table(
            variable, "Type", "Default", "Meaning", title=group, title_justify="left", expand=True, box=SIMPLE_HEAD
        )
        for row in rows:
            table.add_row(row.variable, row.type, row.default, row.meaning)
        console.print(table)


def errors_reference(*, markdown: bool = False) -> None:
    """Lists every error code with its HTTP status and meaning.

    Parameters
    ----------
    markdown
        As the page of the reference documentation.
    """
    from rich.console import Console
    from rich.table import Table

    from bailiwick.cli.errors_reference import reference, reference_markdown

    if markdown:
        print(reference_markdown(), end="")
        return
    table = Table("Status", "Code", "Meaning", expand=True)
    for row in reference():
        table.add_row(str(row.status), row.code, "\n".join(row.meanings))
    Console().print(table)


def commands_reference() -> None:
    """Prints every command with its parameters, as the page of the reference documentation."""
    from bailiwick.cli.commands_reference import reference_markdown

    print(reference_markdown(), end="")
