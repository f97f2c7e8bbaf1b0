"""A batch of admissions and settlements: one statement, one round trip, one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from bailiwick.invocations import admission, settlement
from bailiwick.invocations.requests import Admission, Admitted, Settlement
from bailiwick.invocations.statements import Statement

Item = Admission | Settlement
Answer = Admitted | None
"""Of an admission and of a settlement."""


async def write(
    connection: asyncpg.Connection[asyncpg.Record], items: Sequence[Item], *, lease_seconds: int
) -> list[Answer | Exception]:
    """Writes a batch; what returns is on disk, unless the caller's transaction is still open. For each item its answer,
    or the error that `admission.answer` or `settlement.answer` makes of it.

    Settlements go first: what they give back is there for the admissions.
    """
    settlements = [item for item in items if isinstance(item, Settlement)]
    admissions = [item for item in items if isinstance(item, Admission)]
    statement = Statement()
    if settlements and admissions:
        _lock_accounts(statement, settlements, admissions)
    if settlements:
        statement.select("settled", settlement.call(statement, settlements))
    if admissions:
        statement.select("admitted", admission.call(statement, admissions, lease_seconds))
    (row,) = await connection.fetch(statement.text, *statement.arguments)
    settled = iter(row["settled"] if settlements else ())
    admitted = iter(row["admitted"] if admissions else ())
    return [
        settlement.answer(next(settled)) if isinstance(item, Settlement) else admission.answer(next(admitted))
        for item in items
    ]


def _lock_accounts(statement: Statement, settlements: Sequence[Settlement], admissions: Sequence[Admission]) -> None:
    """Locks all accounts in one order, when several pay, before anything else of their organisations: else two
    processes that settle for one and then admit for another would wait for each other.
    """
    settled = [item.admission for item in settlements]
    paying = {(item.organization_id, item.charge.account_id) for item in [*settled, *admissions]}
    if len(paying) > 1:
        paid = {(item.organization_id, item.charge.sink_account_id) for item in settled}
        organization_ids, account_ids = zip(*paying, *paid, strict=True)
        statement.select("locked", statement.call("ledger_lock_accounts", list(organization_ids), list(account_ids)))
