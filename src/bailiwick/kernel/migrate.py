"""Brings a database to the present schema, unattended: Alembic's versions, then every SQL function as it stands.

Tables change in `migrations/versions`, forward only. Functions are replaced as a whole from the packages' `sql/`
folders, so that each has one source, a file that carries its name.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config

# Packages whose sql/ folder holds functions; later ones may call earlier ones.
FUNCTION_PACKAGES = ("kernel", "identity", "ledger", "audit", "invocations", "billing", "logsources")
_LOCK = 0x62_61_69_6C  # "bail": processes that start together migrate one after the other


def migrations_dir() -> Path:
    """The folder of migrations: in the installed package, else in the checkout."""
    package = Path(str(resources.files("bailiwick")))
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"


def alembic_config(url: str) -> Config:
    """Alembic's configuration for one database."""
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.attributes["url"] = url
    return config


def function_files() -> list[Path]:
    """The SQL function files in the order in which they are applied."""
    package = Path(str(resources.files("bailiwick")))
    return [path for name in FUNCTION_PACKAGES for path in sorted((package / name / "sql").glob("*.sql"))]


def migrate(url: str) -> None:
    """Brings the database at `url` to the present schema. The URL's role must own the schema and may create roles."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        try:
            command.upgrade(alembic_config(url), "head")
            with connection.transaction():
                for path in function_files():
                    connection.execute(path.read_bytes())
            connection.execute("select bailiwick_ensure_partitions()")
        finally:
            connection.execute("select pg_advisory_unlock(%s)", (_LOCK,))
