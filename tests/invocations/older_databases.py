"""Databases as an older release left them, for tests of what a migration makes of their rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from alembic import command

from bailiwick.kernel.database import APPLICATION_ROLE, SYSTEM_ROLE
from bailiwick.kernel.migrate import alembic_config
from tests.conftest import drop, with_database


@contextmanager
def older_database(server_url: str, revision: str) -> Iterator[str]:
    """The URL of a new database of a revision, with partitions since 2026, of an owner that is no superuser. The two
    roles have to be there: `template_database` makes them."""
    name = f"older_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'create role "{name}" login createrole'.encode())
        admin.execute(f'grant {APPLICATION_ROLE}, {SYSTEM_ROLE} to "{name}" with admin option'.encode())
        admin.execute(f'create database "{name}" owner "{name}"'.encode())
    parts = urlsplit(with_database(server_url, name))
    url = urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rsplit('@', 1)[-1]}"))
    try:
        command.upgrade(alembic_config(url), revision)
        with psycopg.connect(url) as connection:
            connection.execute("select bailiwick_ensure_partitions('2026-01-01')")
        yield url
    finally:
        drop(server_url, url)
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(f'drop role "{name}"'.encode())
