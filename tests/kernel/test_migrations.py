"""The migrated database: as the tables say, whoever migrates it and how often; every tenant table protected."""

from __future__ import annotations

import importlib
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.types import TypeEngine

import bailiwick
from bailiwick.kernel import migrate
from bailiwick.kernel.database import APPLICATION_ROLE, SYSTEM_ROLE, Base
from tests.conftest import clone, drop, with_database

# Used through SQL alone: kernel's own, Alembic's, and what only SQL functions write.
_WITHOUT_CLASS = {
    "alembic_version",
    "idempotency_keys",
    "outbox_events",
    "partitioned_tables",
    "rate_windows",
}


@pytest.fixture(scope="module")
def migrated(server_url: str, template_database: str) -> Iterator[str]:
    """A migrated database for tests that only look."""
    url = clone(server_url, template_database)
    yield url
    drop(server_url, url)


def _rows(url: str, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, parameters or None).fetchall()


def _all_tables() -> set[str]:
    """Imports every package's tables; the names of those that hold rows."""
    root = Path(bailiwick.__file__).parent
    for path in root.glob("*/tables.py"):
        importlib.import_module(f"bailiwick.{path.parent.name}.tables")
    return set(Base.metadata.tables)


def test_the_classes_and_the_migrated_tables_are_alike(migrated: str) -> None:
    declared = _all_tables()
    existing = {
        name
        for (name,) in _rows(
            migrated,
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
            " and not relispartition",
        )
    }
    assert existing - declared <= _WITHOUT_CLASS
    engine = create_engine(migrated.replace("postgresql://", "postgresql+psycopg://", 1))

    def is_compared(_item: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
        # Constraints, indexes and partitions are the migrations' own; classes say the columns.
        return not (kind == "table" and reflected and name not in declared) and kind in ("table", "column")

    def is_another_type(
        _context: object, _inspected: object, _declared: object, found: TypeEngine[Any], said: TypeEngine[Any]
    ) -> bool | None:
        # A domain is the type that it is over, and a rule of the database's.
        if not isinstance(found, DOMAIN):
            return None
        return not isinstance(found.data_type, type(said))

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": is_another_type, "include_object": is_compared, "target_metadata": Base.metadata},
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


_SHAPE = """
select 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull::text
  from pg_attribute join pg_class c on c.oid = attrelid
 where relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped
union all select 'function', oid::regprocedure::text, proowner::regrole::text, prosrc, proacl::text
  from pg_proc where pronamespace = 'public'::regnamespace
   and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
union all select 'relation', c.oid::regclass::text, relowner::regrole::text, relacl::text, relforcerowsecurity::text
  from pg_class c where relnamespace = 'public'::regnamespace
union all select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), ''
  from pg_constraint where connamespace = 'public'::regnamespace
union all select 'policy', polrelid::regclass::text, polname, pg_get_expr(polqual, polrelid), polcmd::text
  from pg_policy
union all select 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), ''
  from pg_trigger where not tgisinternal
"""
_OF_A_MONTH = re.compile(r"_y\d{4}m\d\d")


def _shape(url: str) -> set[tuple[str, ...]]:
    """All that migrations make. A month's partitions look like any other's: in which months there are some is a matter
    of when the database was made."""
    return {tuple(_OF_A_MONTH.sub("_of_a_month", str(value)) for value in row) for row in _rows(url, _SHAPE)}


def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = _shape(database_url)
    migrate.migrate(database_url)
    assert _shape(database_url) == before


def test_two_processes_may_migrate_at_once(server_url: str, migrated: str) -> None:
    name = migrated.rsplit("/", 1)[1].split("?", maxsplit=1)[0] + "_race"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'create database "{name}"'.encode())
    url = with_database(server_url, name)
    try:
        processes = [multiprocessing.get_context("spawn").Process(target=migrate.migrate, args=(url,)) for _ in "12"]
        for process in processes:
            process.start()
        for process in processes:
            process.join(150)
        assert [process.exitcode for process in processes] == [0, 0]
        assert _shape(url) == _shape(migrated)
    finally:
        drop(server_url, url)


def test_every_table_of_tenants_forces_row_level_security(migrated: str) -> None:
    tables = _rows(
        migrated,
        "select c.relname, c.relrowsecurity and c.relforcerowsecurity, array(select polname::text from pg_policy where"
        " polrelid = c.oid order by 1) from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " and a.attname = 'organization_id' where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and not c.relispartition",
    )
    assert len(tables) >= 20
    for name, is_forced, policies in tables:
        assert is_forced, name
        assert policies in (["system", "tenant"], ["system"]), name
    reachable = _rows(
        migrated,
        "select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and not (c.relrowsecurity and c.relforcerowsecurity)"
        " and has_table_privilege(%s, c.oid, 'select, insert, update, delete')",
        APPLICATION_ROLE,
    )
    assert reachable == [], "the application reaches these without row-level security"


def test_the_application_role_owns_nothing_and_bypasses_nothing(migrated: str) -> None:
    flags = _rows(
        migrated,
        "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin from pg_roles"
        " where rolname in (%s, %s) order by 1",
        APPLICATION_ROLE,
        SYSTEM_ROLE,
    )
    assert flags == [(name, False, False, False, False, False) for name in (APPLICATION_ROLE, SYSTEM_ROLE)]
    owned = _rows(
        migrated,
        "select 1 from pg_class where relowner = %s::regrole union all"
        " select 1 from pg_proc where proowner = %s::regrole",
        APPLICATION_ROLE,
        APPLICATION_ROLE,
    )
    assert owned == []
    assert _rows(migrated, "select has_schema_privilege(%s, 'public', 'create')", APPLICATION_ROLE) == [(False,)]
    unsafe = _rows(
        migrated,
        "select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace and prosecdef"
        " and (proconfig is null or not exists (select from unnest(proconfig) c where c like 'search_path=%'))",
    )
    assert unsafe == [], "a security definer function without a search_path of its own"
