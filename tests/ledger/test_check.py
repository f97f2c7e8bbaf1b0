"""The checker finds what somebody changed behind the application's back, and names it."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import LedgerProblem, Problem, check, correct_transfer, post_hold
from tests.ledger.conftest import Purse
from tests.ledger.test_holds import budget, hold
from tests.ledger.test_transfers import fund, pay

# What is changed as a superuser, with triggers and constraints out of the way, and what must be found.
TAMPERED = {
    "balance": ("update accounts set balance = balance + 1 where id = %(wallet)s", "balance_differs", "wallet"),
    "both balances": (
        "update accounts set balance = balance + case id when %(wallet)s then 1 else -1 end"
        " where id in (%(wallet)s, %(revenue)s)",
        "balance_differs",
        "wallet",
    ),
    "sum": ("update accounts set balance = balance + 1 where id = %(wallet)s", "ledger_not_zero", None),
    "held": ("update accounts set held = held + 1 where id = %(wallet)s", "held_differs", "wallet"),
    "floor": ("update accounts set floor = 900 where id = %(wallet)s", "below_floor", "wallet"),
    "account gone": ("delete from accounts where id = %(revenue)s", "transfer_account_wrong", "transfer"),
    "account of another ledger": (
        "update accounts set ledger = 'credits' where id = %(revenue)s",
        "transfer_account_wrong",
        "transfer",
    ),
    "hold's account of another ledger": (
        "update accounts set ledger = 'credits' where id = %(revenue)s",
        "hold_account_wrong",
        "open",
    ),
    "transfer's amount": (
        "update transfers set amount = amount + 1 where id = %(transfer)s",
        "balance_differs",
        "wallet",
    ),
    "transfer's account": (
        "update transfers set credit_account_id = %(source)s where id = %(transfer)s",
        "balance_differs",
        "revenue",
    ),
    "transfer's ledger": (
        "update transfers set ledger = 'credits' where id = %(transfer)s",
        "transfer_account_wrong",
        "transfer",
    ),
    "transfer gone": ("delete from transfers where id = %(transfer)s", "balance_differs", "wallet"),
    "transfer added": (
        "insert into transfers (organization_id, id, ledger, debit_account_id, credit_account_id, amount, kind)"
        " values (%(organization)s, %(new)s, 'usd_micros', %(wallet)s, %(revenue)s, 1, 'forged')",
        "balance_differs",
        "wallet",
    ),
    "posted transfer gone": ("delete from transfers where hold_id = %(posted)s", "hold_transfer_differs", "posted"),
    "posted transfer doubled": (
        "insert into transfers select organization_id, %(new)s, ledger, debit_account_id, credit_account_id, amount,"
        " kind, hold_id from transfers where hold_id = %(posted)s",
        "hold_transfer_differs",
        "posted",
    ),
    "posted amount": (
        "update holds set posted_amount = posted_amount - 1 where id = %(posted)s",
        "hold_transfer_differs",
        "posted",
    ),
    "posted hold gone": ("delete from holds where id = %(posted)s", "transfer_hold_missing", "posted"),
    "open hold gone": ("delete from holds where id = %(open)s", "held_differs", "wallet"),
    "open hold's amount": ("update holds set amount = amount + 1 where id = %(open)s", "held_differs", "wallet"),
    "open hold voided by hand": ("update holds set state = 'voided' where id = %(open)s", "held_differs", "wallet"),
    "lease": (
        "update holds set lease_expires_at = now() - interval '1 hour' where id = %(open)s",
        "hold_past_lease",
        "open",
    ),
    "budget spent": ("update budgets set spent = spent - 1 where id = %(budget)s", "budget_spent_differs", "budget"),
    "budget held": ("update budgets set held = held - 1 where id = %(budget)s", "budget_held_differs", "budget"),
    "budget above its limit": (
        "update budgets set limit_amount = 1 where id = %(budget)s",
        "budget_overspent",
        "budget",
    ),
    "budget gone": ("delete from budgets where id = %(budget)s", "hold_budget_missing", "budget"),
    "correction's amount": (
        "update transfers set amount = amount + 1 where corrects_id is not null",
        "correction_wrong",
        "correction",
    ),
    "corrected twice": (
        "insert into transfers select organization_id, %(new)s, ledger, debit_account_id, credit_account_id, amount,"
        " kind, hold_id, reference, corrects_id from transfers where id = %(correction)s",
        "corrected_twice",
        "corrected",
    ),
}


async def books(purse: Purse) -> dict[str, UUID]:
    """Books with one of everything; the ids by name."""
    await fund(purse, 1000)
    budget_id = await budget(purse, "usd_micros", 500)
    transfer_id = await pay(purse, 30)
    corrected = await pay(purse, 5)
    posted = await hold(purse, 100, budget_ids=(budget_id,))
    opened = await hold(purse, 50, budget_ids=(budget_id,))
    async with tenant_transaction(purse.organization_id) as session:
        await post_hold(session, purse.organization_id, posted.id, amount=80)
        correction = await correct_transfer(session, purse.organization_id, corrected)
    return {
        "organization": purse.organization_id,
        "wallet": purse.wallet_id,
        "revenue": purse.revenue_id,
        "source": purse.source_id,
        "budget": budget_id,
        "transfer": transfer_id,
        "corrected": corrected,
        "correction": correction.id,
        "posted": posted.id,
        "open": opened.id,
        "new": uuid7(),
    }


async def test_every_change_behind_its_back_is_found(purse: Purse, database_url: str) -> None:
    ids = await books(purse)
    report = await check()
    assert report.clean
    assert (report.organizations, report.accounts, report.transfers, report.holds, report.budgets) == (1, 3, 5, 2, 1)
    constraints = (
        "select format('alter table %%s drop constraint %%I', conrelid::regclass, conname) from pg_constraint"
        " where contype = 'c' and conparentid = 0 and conrelid in ('accounts'::regclass, 'budgets'::regclass,"
        " 'holds'::regclass)"
    )
    missed = []
    with psycopg.connect(database_url, autocommit=True) as superuser:
        for (statement,) in superuser.execute(constraints.replace("%%", "%")).fetchall():
            superuser.execute(statement)
        tables = ("accounts", "transfers", "holds", "budgets")
        for table in tables:
            copy = sql.SQL("create table {} as table {}")
            superuser.execute(copy.format(sql.Identifier(f"copy_{table}"), sql.Identifier(table)))
        superuser.execute("set session_replication_role = replica")
        for name, (statement, problem, subject) in TAMPERED.items():
            assert superuser.execute(statement.encode(), ids).rowcount > 0, name
            found = await check()
            expected = (Problem(problem), purse.organization_id, ids[subject] if subject else None)
            if expected not in {(one.problem, one.organization_id, one.subject) for one in found.problems}:
                missed.append((name, found.problems))
            for table in tables:
                superuser.execute(sql.SQL("delete from {}").format(sql.Identifier(table)))
                restore = sql.SQL("insert into {} select * from {}")
                superuser.execute(restore.format(sql.Identifier(table), sql.Identifier(f"copy_{table}")))
    assert missed == []
    assert (await check()).clean


async def test_the_report_counts_all_and_lists_the_first(purse: Purse, database_url: str) -> None:
    await fund(purse, 100)
    for _ in range(3):
        await hold(purse, 10)
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute("update holds set lease_expires_at = now() - interval '1 hour'")
    report = await check(examples=2)
    assert report.counts == {Problem.HOLD_PAST_LEASE: 3}
    assert len(report.problems) == 2
    assert not report.clean
    assert isinstance(report.problems[0], LedgerProblem)


async def test_the_application_cannot_change_a_transfer(purse: Purse, database_url: str) -> None:
    await fund(purse, 100)
    with (
        psycopg.connect(database_url, autocommit=True) as superuser,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        superuser.execute("update transfers set amount = 1")
