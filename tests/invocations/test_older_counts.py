"""Counts of traces that were made before they listed the few and counted runs: the migration completes them."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder

from bailiwick.kernel import ids
from bailiwick.kernel.migrate import migrate
from tests.invocations.older_databases import older_database
from tests.invocations.test_traces import a_row, crowded

_BEFORE = "0011"
_COUNTED = """
insert into trace_counts (organization_id, span_hours, start_hour, status, decision, requested_model, routed_model,
                          virtual_key_id, traces)
select organization_id, hours,
       ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / (3600000 * hours) * hours, status,
       coalesce(decision, 'BYPASS'), coalesce(requested_model, target_name), coalesce(model, ''),
       coalesce(virtual_key_id, '00000000-0000-0000-0000-000000000000'), count(*)
  from invocations cross join (values (1), (24)) as span (hours) where status <> 'started'
 group by 1, 2, 3, 4, 5, 6, 7, 8
"""


def _place(row: dict[str, Any], hours: int) -> tuple[object, ...]:
    """The key of the counts that a row belongs to."""
    hour = (row["id"].int >> 80) // 3_600_000 // hours * hours
    requested = row["requested_model"] or row["target_name"]
    key = row["virtual_key_id"] or UUID(int=0)
    return row["organization_id"], hours, hour, row["status"], row["decision"], requested, row["model"] or "", key


def test_counts_of_an_older_database_get_their_lists_and_runs(server_url: str, template_database: str) -> None:
    del template_database  # it has made the roles
    chance = random.Random(7)
    rows = []
    for organization_id in (ids.uuid7(), ids.uuid7()):
        rows += [a_row(chance, organization_id) for _ in range(100)]
        rows += crowded(chance, [a_row(chance, organization_id) for _ in range(100)])
    members = [*rows[0], "subject", "target_kind"]
    insert = SQL("insert into invocations ({}) values ({})").format(
        SQL(", ").join(map(Identifier, members)), SQL(", ").join(map(Placeholder, members))
    )
    with older_database(server_url, _BEFORE) as url:
        with psycopg.connect(url) as connection:
            rows_as_stored = [row | {"subject": "usr_1", "target_kind": "model"} for row in rows]
            connection.cursor().executemany(insert, rows_as_stored)
            connection.execute(_COUNTED)
        migrate(url)
        with psycopg.connect(url, row_factory=dict_row) as connection:
            counted = connection.execute("select * from trace_counts").fetchall()
    expected: dict[tuple[object, ...], list[dict[str, Any]]] = defaultdict(list)
    counted_later = set()  # what was under way without a hold is lost since: such counts list nothing
    for row in rows:
        is_started = row["status"] == "started"
        ended = row | {"status": "lost", "decision": "KILL"} if is_started else row
        for hours in (1, 24):
            expected[_place(ended, hours)].append(ended)
            if is_started:
                counted_later.add(_place(ended, hours))
    assert len(counted) == len(expected)
    for found in counted:
        of_row = expected[tuple(found.values())[:8]]
        runs = [row for row in of_row if (row["kind"], row["status"]) == ("agent_run", "completed")]
        assert found["traces"] == len(of_row)
        assert found["runs"] == len(runs)
        assert found["run_tokens"] == sum(row["input_tokens"] + row["output_tokens"] for row in runs)
        is_listed = tuple(found.values())[:8] not in counted_later
        listed = found["span_hours"] == 1 and len(of_row) <= 64 and is_listed
        assert (found["ids"] and sorted(found["ids"])) == (sorted(row["id"] for row in of_row) if listed else None)
    assert any(found["ids"] is None for found in counted if found["span_hours"] == 1)
    assert any(found["runs"] for found in counted)
