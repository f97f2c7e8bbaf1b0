"""`bailiwick migrate`."""

from __future__ import annotations

from bailiwick.cli.serve import DataDir, configure, open_database


def migrate(*, data_dir: DataDir = None) -> None:
    """Brings the database to the present schema; `serve` does so by itself."""
    with open_database(configure(data_dir=data_dir)):
        print("The database has the present schema.")
