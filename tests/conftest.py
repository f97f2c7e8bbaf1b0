"""Real PostgreSQL for every test: one server, a migrated template database, a fresh clone for each test that writes.

`BAILIWICK_TEST_DATABASE_URL` (a superuser's URL) runs the suite on another server than the embedded one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import fasteners
import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from bailiwick.kernel import database, embedded, migrate, runtime
from bailiwick.settings import Settings
from tests.waiting import until

# Neither how fast the machine is nor luck may decide: what is made up is the same in every run. To look for what no run
# has seen yet: `pytest --hypothesis-profile explore`.
hypothesis_settings.register_profile(
    "suite", deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile(
    "explore", hypothesis_settings.get_profile("suite"), derandomize=False, max_examples=1_000
)
hypothesis_settings.load_profile("suite")


def with_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A superuser's URL of the PostgreSQL server that all worker processes of this run share."""
    configured = os.environ.get("BAILIWICK_TEST_DATABASE_URL")
    if configured:
        yield configured
        return
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    server = embedded.start(shared / "data")
    yield embedded.url(server)
    server._cleanup()


@pytest.fixture(scope="session")
def template_database(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with the present schema and no rows, from which clones are made."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    name = f"template_{shared.name.replace('-', '_')}"
    with (
        fasteners.InterProcessLock(Path(shared) / "template.lock"),
        psycopg.connect(server_url, autocommit=True) as admin,
    ):
        known = admin.execute("select datallowconn from pg_database where datname = %s", (name,)).fetchone()
        if known is None:
            admin.execute(f'create database "{name}"'.encode())
            migrate.migrate(with_database(server_url, name))
    return name


def _once_unused(admin: psycopg.Connection, statement: str) -> None:
    """Runs what needs a database that nobody is connected to. PostgreSQL waits for connections that are ending, but for
    five seconds only."""

    def is_done() -> bool:
        try:
            admin.execute(statement.encode())
        except psycopg.errors.ObjectInUse:
            return False
        return True

    until(is_done)


def clone(server_url: str, template: str) -> str:
    """The URL of a new database that equals the template."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        _once_unused(admin, f'create database "{name}" template "{template}"')
    return with_database(server_url, name)


def drop(server_url: str, url: str) -> None:
    """Drops a clone, whoever is still connected."""
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(server_url, autocommit=True) as admin:
        _once_unused(admin, f'drop database if exists "{name}" with (force)')


@pytest.fixture
def database_url(server_url: str, template_database: str) -> Iterator[str]:
    """A fresh database for one test."""
    url = clone(server_url, template_database)
    yield url
    drop(server_url, url)


@pytest.fixture
def settings_for_test(tmp_path: Path) -> Settings:
    """Settings that no environment of the machine can change."""
    # The library hides this parameter from its types.
    return Settings(_env_file=None, data_dir=tmp_path / "data")  # type: ignore[call-arg]


@pytest.fixture
async def db(database_url: str, settings_for_test: Settings) -> AsyncIterator[database.Database]:
    """A fresh database, in use by `tenant_transaction`, `system_transaction` and `runtime()`."""
    started = runtime.start(settings_for_test, database_url)
    yield started.database
    await runtime.stop()
