"""The database under a benchmark: what it is, the plan limits out of the way, and a long past written into it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import ledger
from bailiwick.identity import Caller, Credential
from bailiwick.invocations.batches import write
from bailiwick.invocations.records import record, sha256_hex
from bailiwick.invocations.requests import Admission, Charge, Decision, Inspection, Settlement, Status, Usage
from bailiwick.kernel import database, ids

DURABILITY = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
BATCH = 500
LEASE_SECONDS = 300
MANY = 10**13
"""Runs, or micro-dollars for them, that no benchmark uses up."""


def embedded_url(data_dir: Path) -> str:
    """A superuser's URL of the embedded server of a running installation. Raises FileNotFoundError when none runs."""
    return (data_dir / "database.url").read_text().strip()


def organization_uuid(public_id: str) -> UUID:
    """The UUID of an organisation as the API names it. Raises ValueError."""
    found = ids.decode(ids.Prefix.ORGANIZATION, public_id)
    return found if found is not None else UUID(public_id)


async def database_facts(url: str) -> tuple[str, dict[str, str]]:
    """Version of the server, and those of its settings that decide whether a commit is on disk."""
    connection = await asyncpg.connect(url)
    try:
        version = str(await connection.fetchval("show server_version")).split()[0]
        return version, {name: str(await connection.fetchval(f"show {name}")) for name in DURABILITY}
    finally:
        await connection.close()


async def raise_limits(url: str, organization_id: UUID) -> None:
    """Lets a provisioned organisation run as often as it likes: a grant to its key, and more runs in its period."""
    opened = database.Database(url)
    try:
        async with AsyncSession(opened.engine) as session, session.begin():
            await database.narrow(session, organization_id)
            for budget in (await session.scalars(select(ledger.Budget))).all():
                await ledger.set_limit(session, organization_id, budget.id, MANY)
            keys = select(ledger.Account).where(
                ledger.Account.kind == "virtual_key", ledger.Account.closed_at.is_(None)
            )
            for account in (await session.scalars(keys)).all():
                await ledger.grant(session, organization_id, account.id, MANY, "benchmark")
    finally:
        await opened.close()


async def load_history(url: str, organization_id: UUID, rows: int, advance: Callable[[int], None]) -> None:
    """Writes `rows` completed runs as the server writes them: admitted and settled, charged and chained, in batches.

    They repeat who called and what paid in the newest run of the organisation, which must have one. `advance` is told
    how many more are written. Raises LookupError without such a run.
    """
    connection = await database.Database(url).connect()
    try:
        caller, charge, amount, target = await newest_run(connection, organization_id)
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            items = [
                Admission(
                    id=ids.uuid7(),
                    caller=caller,
                    organization_id=organization_id,
                    charge=charge,
                    amount_micros=amount,
                    kind="agent_run",
                    target_kind="template",
                    target_name=target,
                )
                for _ in range(count)
            ]
            settlements = [completed(item, start + place) for place, item in enumerate(items)]
            async with connection.transaction():
                for batch in (items, settlements):
                    for answer in await write(connection, batch, lease_seconds=LEASE_SECONDS):
                        if isinstance(answer, Exception):
                            raise answer
            advance(count)
    finally:
        await connection.close()


async def newest_run(
    connection: "asyncpg.Connection[asyncpg.Record]", organization_id: UUID
) -> tuple[Caller, Charge, int, str]:
    """Who called, what paid, how much was held, and the agent, in an organisation's newest completed run."""
    await connection.execute("select set_config('bailiwick.organization_id', $1, false)", str(organization_id))
    row = await connection.fetchrow(
        "select v.subject, v.membership_id, v.virtual_key_id, v.target_name, h.debit_account_id, h.credit_account_id,"
        " h.amount, h.budget_ids, o.version from invocations v"
        " join holds h on h.organization_id = v.organization_id and h.id = v.hold_id"
        " join organizations o on o.id = v.organization_id"
        " where v.organization_id = $1 and v.status = 'completed' order by v.id desc limit 1",
        organization_id,
    )
    if row is None:
        raise LookupError("the organisation has no completed run to repeat")
    caller = Caller(
        credential=Credential.ACCESS_TOKEN,
        organization_id=organization_id,
        organization_name=None,
        subject=row["subject"],
        membership_id=row["membership_id"],
    )
    charge = Charge(
        organization_version=row["version"],
        virtual_key_id=row["virtual_key_id"],
        account_id=row["debit_account_id"],
        sink_account_id=row["credit_account_id"],
        budget_ids=row["budget_ids"],
    )
    return caller, charge, row["amount"], row["target_name"]


def completed(admission: Admission, number: int) -> Settlement:
    """The end of a run that found nothing and cost what was held."""
    return record(
        call_kind=admission.kind,
        admission=admission,
        main_text=f"ticket {number}",
        inspection=Inspection(Decision.BYPASS, (), ()),
        usage=Usage(model="rules", cost_micros=admission.amount_micros),
        output_hash=sha256_hex(f"answer {number}"),
        status=Status.COMPLETED,
        error_code=None,
        latency_ms=1,
    ).settlement


async def settle_down(url: str, organization_id: UUID, *, patience_seconds: float = 180) -> None:
    """Lets the database finish what the history caused: statistics, a checkpoint, and the tree over the audit log."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("vacuum (analyze)", timeout=600)
        await connection.execute("checkpoint", timeout=600)
        behind = (
            "select h.size > coalesce(t.size, 0) from audit_heads h left join audit_trees t using (organization_id)"
            " where h.organization_id = $1"
        )
        for _ in range(int(patience_seconds)):  # without a background worker it stays behind, and costs nothing
            if not await connection.fetchval(behind, organization_id):
                break
            await asyncio.sleep(1)
    finally:
        await connection.close()
