"""A batch of admissions, settlements and refusals: one statement, one round trip, one transaction; nearly always."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from bailiwick.invocations import admission, refusals, settlement
from bailiwick.invocations.refusals import Refusal
from bailiwick.invocations.requests import Admission, Admitted, Settlement
from bailiwick.invocations.statements import Statement

Item = Admission | Settlement | Refusal
Answer = Admitted | None
"""Of an admission, and of anything else."""


async def write(
    connection: asyncpg.Connection[asyncpg.Record], items: Sequence[Item], *, lease_seconds: int
) -> list[Answer | Exception]:
    """Writes a batch; what returns is on disk, unless the caller's transaction is still open. For each item its answer,
    or the error that `admission.answer` or `settlement.answer` makes of it.

    Settlements go first: what they give back is there for the admissions. Refusals among admissions are a transaction
    of their own: both count refused calls, each in one order, and one after the other would be in none.
    """
    settlements = [item for item in items if isinstance(item, Settlement)]
    admissions = [item for item in items if isinstance(item, Admission)]
    refused = [item for item in items if isinstance(item, Refusal)]
    if refused and admissions:
        apart = Statement()
        apart.select("refused", refusals.call(apart, refused))
        await connection.execute(apart.text, *apart.arguments)
    statement = Statement()
    if settlements and admissions:
        _lock(statement, settlements, admissions)
    if settlements:
        statement.select("settled", settlement.call(statement, settlements))
    if admissions:
        statement.select("admitted", admission.call(statement, admissions, lease_seconds))
    if refused and not admissions:
        statement.select("refused", refusals.call(statement, refused))
    (row,) = await connection.fetch(statement.text, *statement.arguments)
    settled = iter(row["settled"] if settlements else ())
    admitted = iter(row["admitted"] if admissions else ())

    def answer(item: Item) -> Answer | Exception:
        match item:
            case Settlement():
                return settlement.answer(next(settled))
            case Admission():
                return admission.answer(next(admitted))
            case Refusal():
                return None

    return [answer(item) for item in items]


def _lock(statement: Statement, settlements: Sequence[Settlement], admissions: Sequence[Admission]) -> None:
    """Locks what is settled, all accounts and all budgets in one order before anything else, when several pay or what
    is admitted counts in further budgets: else two processes that settle in one place and then admit in another would
    wait for each other. Payers share budgets: an organization's runs and its model calls have accounts of their own.
    """
    settled = [item.admission for item in settlements]
    paying = {(item.organization_id, item.charge.account_id) for item in [*settled, *admissions]}
    counting = _budgets(settled)
    further = _budgets(admissions) - counting
    if len(paying) > 1 or further:
        paid = {(item.organization_id, item.charge.sink_account_id) for item in settled}
        account_organization_ids, account_ids = zip(*paying, *paid, strict=True)
        lock = statement.call(
            "ledger_lock",
            [item.organization_id for item in settled],
            [item.id for item in settled],
            list(account_organization_ids),
            list(account_ids),
        )
        statement.select("locked", lock)
    if further:
        budget_organization_ids, budget_ids = zip(*counting, *further, strict=True)
        lock = statement.call("ledger_lock_budgets", list(budget_organization_ids), list(budget_ids))
        statement.select("locked_budgets", lock)


def _budgets(admissions: Sequence[Admission]) -> set[tuple[UUID, UUID]]:
    """Where they count: organization and budget. As a process keeps one object for each payer, few are looked at."""
    charges = {(item.organization_id, id(item.charge)): item.charge for item in admissions}
    return {(organization_id, one) for (organization_id, _), charge in charges.items() for one in charge.budget_ids}
