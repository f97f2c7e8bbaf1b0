"""The list of traces against a list made by hand: bounds, filters, pages and totals, whatever stands in the way."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bailiwick.billing.periods import Period
from bailiwick.billing.usage import usage_in
from bailiwick.identity import Caller, Credential
from bailiwick.invocations import Decision, Trace, TraceStatus, get_trace, list_traces, utility
from bailiwick.invocations.batches import write
from bailiwick.invocations.errors import TraceNotFound
from bailiwick.invocations.refusals import Refusal
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction

FIRST = datetime(2026, 3, 1, 21, 30, tzinfo=UTC)
KEYS = [ids.uuid7() for _ in range(3)]
MODELS = ["fast", "gpt-4o", "fast-2026"]

_INSERT = text(
    "insert into invocations (organization_id, id, kind, target_kind, target_name, subject, status, decision,"
    " requested_model, model, session_name, virtual_key_id, input_tokens, output_tokens) values (:organization_id, :id,"
    " :kind, 'model', :target_name, 'usr_1', :status, :decision, :requested_model, :model, :session_name,"
    " :virtual_key_id, :input_tokens, :output_tokens)"
)
_HOLD = text(
    "insert into holds (organization_id, id, ledger, debit_account_id, credit_account_id, amount, kind, details,"
    " lease_expires_at) values (:organization_id, :id, 'usd_micros', :id, :id, 1, 'invocation',"
    " cast(:details as jsonb), now())"
)
_OF_ANOTHER = [
    text("select * from invocations_under_way(:mine)"),
    text("select * from invocations_trace_page(:mine, 0, 1000, null, null, null, null, null, 0, 9)"),
]
_COUNT = text("select invocations_count_traces(cast(:organization_ids as uuid[]), cast(:ids as uuid[]))")


def a_row(chance: random.Random, organization_id: UUID) -> dict[str, Any]:
    """An invocation of some moment within four days; many stand close to an hour's or a day's border."""
    moment = FIRST + timedelta(milliseconds=chance.randrange(4 * 86_400_000))
    if chance.random() < 0.4:
        border = moment.replace(hour=chance.choice([0, moment.hour]), minute=0, second=0, microsecond=0)
        moment = border + timedelta(milliseconds=chance.choice([-1, 0, 1]))
    status = chance.choices(list(TraceStatus), [3, 8, 2, 2, 1, 1, 2])[0]
    decision = {
        "started": None,
        "completed": chance.choice(["BYPASS", "BYPASS", "ENHANCE", "HIJACK"]),
        "failed": "BYPASS",
        "cancelled": "BYPASS",
    }.get(status, "KILL")
    ended = status not in ("started", "refused", "lost")
    kind = chance.choice(["chat", "agent_run"])
    return {
        "organization_id": organization_id,
        "id": UUID(int=ids.uuid_at(moment).int | chance.getrandbits(74)),
        "kind": kind,
        "target_name": chance.choice(MODELS),
        "input_tokens": chance.randrange(50),
        "output_tokens": chance.randrange(50),
        "status": status.value,
        "decision": decision,
        "requested_model": chance.choice([None, "alias"]) if ended and kind == "chat" else None,
        "model": chance.choice([*MODELS, None]) if ended else None,
        "session_name": chance.choice(["s1", None]),
        "virtual_key_id": chance.choice([*KEYS, None]),
    }


def crowded(chance: random.Random, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as if all had been made in one hour, and most were of one kind: too many to be listed."""
    hour = FIRST + timedelta(hours=7)
    one = {
        "status": "completed",
        "decision": "BYPASS",
        "requested_model": None,
        "model": "fast",
        "virtual_key_id": None,
    }
    return [
        row
        | {"id": UUID(int=ids.uuid_at(hour + timedelta(seconds=chance.randrange(-1799, 1799))).int | n)}
        | ({**one, "target_name": "fast", "kind": "chat"} if n % 8 else {})
        for n, row in enumerate(rows, 1)
    ]


async def store(rows: list[dict[str, Any]]) -> None:
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        for row in rows:
            if row["status"] == "started":
                details = {name: row[name] for name in ("kind", "target_name", "session_name", "virtual_key_id")}
                details |= {"target_kind": "model", "subject": "usr_1"}
                await session.execute(
                    _HOLD,
                    {
                        "organization_id": row["organization_id"],
                        "id": row["id"],
                        "details": json.dumps(details, default=str),
                    },
                )
        ended = [row for row in rows if row["status"] != "started"]
        await session.execute(_INSERT, ended)
        for start in range(0, len(ended), 50):
            part = ended[start : start + 50]
            await session.execute(
                _COUNT,
                {"organization_ids": [row["organization_id"] for row in part], "ids": [row["id"] for row in part]},
            )


Filter = tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]


def some_filters(chance: random.Random) -> list[Filter]:
    """Arguments of the list, and what each lets through."""
    moment = FIRST + timedelta(milliseconds=chance.randrange(4 * 86_400_000))
    moment = chance.choice([moment, moment.replace(minute=0, second=0, microsecond=0), moment.replace(microsecond=700)])
    later = moment + timedelta(milliseconds=chance.choice([0, 1, 900_000, 3_600_000, 90_000_000]))
    decision = chance.choice(list(Decision))
    model = chance.choice([*MODELS, "alias", "none"])
    status = chance.choice(list(TraceStatus))
    key = chance.choice(KEYS)
    every: list[Filter] = [
        ({"since": moment}, lambda row: ids.time_of(row["id"]) > moment),
        ({"until": later}, lambda row: ids.time_of(row["id"]) <= later),
        ({"decision": decision}, lambda row: (row["decision"] or "BYPASS") == decision),
        ({"model": model}, lambda row: model in (row["requested_model"] or row["target_name"], row["model"])),
        ({"status": status}, lambda row: row["status"] == status),
        (
            {"virtual_key_id": ids.encode(ids.Prefix.VIRTUAL_KEY, key)},
            lambda row: row["virtual_key_id"] == key,
        ),
        ({"session_name": "s1"}, lambda row: row["session_name"] == "s1"),
    ]
    return chance.sample(every, chance.choice([0, 1, 1, 2, 3]))


@pytest.mark.parametrize("seed", range(3))
async def test_every_page_and_total_is_that_of_the_rows(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    mine, other = ids.uuid7(), ids.uuid7()
    rows = [a_row(chance, mine) for _ in range(600)]
    rows += crowded(chance, [a_row(chance, mine) for _ in range(200)])
    await store([*rows, *(a_row(chance, other) for _ in range(100))])
    if seed == 2:  # counts that were made before there were lists, and go on since
        async with system_transaction(CrossTenantUse.VERIFY) as session:
            await session.execute(text("update trace_counts set ids = null where start_hour % 3 = 0"))
        later = [a_row(chance, mine) for _ in range(100)]
        await store(later)
        rows += later
    rows.sort(key=lambda row: row["id"], reverse=True)
    matched = 0
    for _ in range(120):
        filters = some_filters(chance)
        arguments = {name: value for given, _ in filters for name, value in given.items()}
        expected = [row["id"] for row in rows if all(lets(row) for _, lets in filters)]
        matched += bool(expected)
        limit = chance.choice([1, 20, 100])
        offset = chance.choice([0, 0, 1, len(expected) // 2, max(len(expected) - 1, 0), len(expected), 10**12])
        page = await list_traces(mine, limit=limit, offset=offset, **arguments)
        assert page.total == len(expected), arguments
        assert [trace.id for trace in page.traces] == expected[offset : offset + limit], (arguments, offset)
    assert matched > 60
    async with tenant_transaction(mine) as session:
        listed = (await session.scalars(text("select cardinality(ids) from trace_counts where span_hours = 1"))).all()
        assert None in listed  # too many
        assert sum(count is not None for count in listed) > 100


async def test_a_trace_is_found_by_its_id_whether_it_has_ended_or_not_and_by_its_organisation_alone(
    db: Database,
) -> None:
    chance = random.Random(3)
    mine, other = ids.uuid7(), ids.uuid7()
    rows = [a_row(chance, mine) for _ in range(60)]
    await store(rows)
    assert {"started", "completed", "lost"} <= {row["status"] for row in rows}
    for row in rows:
        name = ids.encode(ids.Prefix.TRACE, row["id"])
        trace = await get_trace(mine, name)
        used = {"input_tokens": 0, "output_tokens": 0} if row["status"] == "started" else {}
        assert {member: getattr(trace, member) for member in row} == row | used
        with pytest.raises(TraceNotFound):
            await get_trace(other, name)
        async with tenant_transaction(other) as session:  # as another organisation's caller
            found = await session.scalars(
                text("select id from invocations_found(:mine, cast(:ids as uuid[]))"),
                {"mine": mine, "ids": [row["id"]]},
            )
            assert found.all() == []
    for query in _OF_ANOTHER:
        with pytest.raises(DBAPIError, match="the transaction is not that of organisation"):
            async with tenant_transaction(other) as session:
                await session.execute(query, {"mine": mine})


@pytest.mark.parametrize("seed", range(3))
async def test_runs_and_their_tokens_are_counted_within_any_bounds(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    mine, other = ids.uuid7(), ids.uuid7()
    rows = [a_row(chance, mine) for _ in range(400)] + crowded(chance, [a_row(chance, mine) for _ in range(100)])
    await store([*rows, *(a_row(chance, other) for _ in range(100))])
    hour, day = timedelta(hours=1), timedelta(days=1)
    found = 0
    for _ in range(60):
        start = FIRST + timedelta(milliseconds=chance.randrange(-86_400_000, 4 * 86_400_000))
        start = chance.choice([start, start.replace(minute=0, second=0, microsecond=0)])
        start = chance.choice([start, start.replace(hour=0, minute=0, second=0, microsecond=0)])
        start = start.replace(microsecond=start.microsecond // 1000 * 1000)
        end = start + chance.choice([timedelta(0), hour / 7, hour, 5 * hour, day, 1.7 * day, 40 * day])
        expected: dict[str, tuple[int, int]] = {}
        for row in rows:
            if (row["kind"], row["status"]) == ("agent_run", "completed") and start <= ids.time_of(row["id"]) < end:
                runs, tokens = expected.get(row["target_name"], (0, 0))
                expected[row["target_name"]] = runs + 1, tokens + row["input_tokens"] + row["output_tokens"]
        async with tenant_transaction(mine) as session:
            used = await usage_in(session, mine, Period(start, end))
        assert {agent: (usage.runs, usage.tokens) for agent, usage in used.items()} == expected, (start, end)
        found += bool(expected)
        async with tenant_transaction(other) as session:  # as another organisation's caller
            assert await usage_in(session, mine, Period(start, end)) == {}
    assert found > 30


def a_refusal(organization_id: UUID, trace_id: UUID, target_name: str = "fast") -> Refusal:
    caller = Caller(
        credential=Credential.VIRTUAL_KEY, organization_id=organization_id, organization_name=None, subject="usr_1"
    )
    return Refusal(
        id=trace_id,
        caller=caller,
        kind="chat",
        target_kind="model",
        target_name=target_name,
        virtual_key_id=None,
        session_name="s1",
        error_code="model_not_allowed",
        context=None,
    )


async def test_a_refusal_that_is_written_again_is_counted_once(db: Database) -> None:
    mine, other = ids.uuid7(), ids.uuid7()
    items = [a_refusal(mine, ids.uuid7()), a_refusal(other, ids.uuid7()), a_refusal(mine, ids.uuid7(), "smart")]
    connection = await db.connect()
    try:
        await write(connection, items[:2], lease_seconds=60)
        await write(connection, items, lease_seconds=60)  # as after a lost connection
        await write(connection, items, lease_seconds=60)
    finally:
        await connection.close()
    page = await list_traces(mine, limit=10, offset=0, status=TraceStatus.REFUSED, decision=Decision.KILL)
    assert [trace.id for trace in page.traces] == [items[2].id, items[0].id]
    assert page.total == 2
    assert (await list_traces(mine, limit=10, offset=0, model="smart")).total == 1
    assert (await list_traces(other, limit=10, offset=0)).total == 1
    async with tenant_transaction(mine) as session:
        counted = await session.scalars(text("select sum(traces)::int from trace_counts group by span_hours"))
        assert list(counted) == [2, 2]


def a_trace(**given: Any) -> Trace:
    members: dict[str, Any] = {
        "target_kind": "model",
        "status": "completed",
        "decision": "BYPASS",
        "input_tokens": 100,
        "output_tokens": 100,
        "cost_micros": 100,
    }
    return Trace(**(members | given))


@pytest.mark.parametrize(
    ("given", "classification", "confidence", "waste"),
    [
        ({}, "USEFUL", 0.9, "NONE"),
        ({"decision": "KILL", "status": "blocked"}, "WASTED", 1.0, "TOKEN_WASTE"),
        ({"decision": "KILL", "status": "refused", "input_tokens": 0, "output_tokens": 0}, "WASTED", 1.0, "NONE"),
        ({"cost_micros": 800}, None, 0.6, "MODEL_MISMATCH"),
        ({"cost_micros": 799}, "USEFUL", 0.9, "NONE"),
        ({"cost_micros": 8000, "input_tokens": 500}, "USEFUL", 0.9, "NONE"),
        ({"cost_micros": 8000, "target_kind": "template"}, "USEFUL", 0.9, "NONE"),
        ({"cost_micros": 10_000, "input_tokens": 0, "output_tokens": 0}, "USEFUL", 0.9, "NONE"),
        ({"status": "started", "decision": None}, None, 0.5, "NONE"),
        ({"status": "failed"}, None, 0.5, "NONE"),
    ],
)
def test_what_a_call_was_good_for(
    given: dict[str, Any], classification: str | None, confidence: float, waste: str
) -> None:
    told = utility(a_trace(**given))
    assert (told.classification, told.confidence, told.waste) == (classification, confidence, waste)
