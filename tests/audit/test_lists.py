"""Lists of a log read about what they answer, whatever else the log holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import event, text

from bailiwick import audit
from bailiwick.audit import Chain
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction

_FILL = text(
    "insert into audit_entries (organization_id, id, sequence, chain, prev_hash, row_hash, body)"
    " select :organization_id, bailiwick_uuid7(), n, case when n % 500 = 0 then :rare else :common end, '', '', '{}'"
    " from generate_series(1, 5000) as n"
)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


async def _rows_read(db: Database, organization_id: UUID, statements: list[tuple[str, Any]]) -> int:
    """How many rows the statements take from tables, those included that they pass over."""
    found = 0
    async with tenant_transaction(organization_id) as session:
        connection = await session.connection()
        for statement, parameters in statements:
            explained = await connection.exec_driver_sql(f"explain (analyze, format json) {statement}", parameters)
            answer = explained.scalar_one()
            (plan,) = json.loads(answer) if isinstance(answer, str) else answer
            for node in _nodes(plan["Plan"]):
                if "Relation Name" in node:
                    found += int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    return found


@pytest.mark.parametrize(("rare", "common"), [("activity", "runs"), ("runs", "activity")])
async def test_the_rare_entries_of_a_log_are_found_without_the_others(
    db: Database, database_url: str, rare: Chain, common: Chain
) -> None:
    organization_id = ids.uuid7()
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        await session.execute(_FILL, {"organization_id": organization_id, "rare": rare, "common": common})
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute("analyze audit_entries")
    statements: list[tuple[str, Any]] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        if "audit_entries" in statement:
            statements.append((statement, parameters))

    event.listen(db.engine.sync_engine, "before_cursor_execute", keep)
    page = await audit.list_entries(organization_id, chain=rare, limit=20)
    event.remove(db.engine.sync_engine, "before_cursor_execute", keep)
    assert [entry.chain for entry in page.entries] == [rare] * 10
    assert len(statements) == 1
    assert await _rows_read(db, organization_id, statements) == 10
