"""The proof that the books are right: every contradiction between accounts, transfers, holds and budgets, by name."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import text

from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

DEFAULT_GRACE = timedelta(minutes=5)
"""How long after its lease a hold may still be open: sweeps come at intervals."""


class Problem(StrEnum):
    """What can be wrong; the value is the word in `ledger/sql/check.sql`."""

    LEDGER_NOT_ZERO = "ledger_not_zero"
    BALANCE_DIFFERS = "balance_differs"
    HELD_DIFFERS = "held_differs"
    BELOW_FLOOR = "below_floor"
    HOLD_PAST_LEASE = "hold_past_lease"
    HOLD_ACCOUNT_WRONG = "hold_account_wrong"
    HOLD_TRANSFER_DIFFERS = "hold_transfer_differs"
    HOLD_BUDGET_MISSING = "hold_budget_missing"
    TRANSFER_ACCOUNT_WRONG = "transfer_account_wrong"
    TRANSFER_HOLD_MISSING = "transfer_hold_missing"
    CORRECTION_WRONG = "correction_wrong"
    CORRECTED_TWICE = "corrected_twice"
    BUDGET_HELD_DIFFERS = "budget_held_differs"
    BUDGET_SPENT_DIFFERS = "budget_spent_differs"
    BUDGET_OVERSPENT = "budget_overspent"


MEANINGS = {
    Problem.LEDGER_NOT_ZERO: "the balances of an organisation's accounts in one ledger do not sum to zero",
    Problem.BALANCE_DIFFERS: "an account's balance is not the sum of its transfers",
    Problem.HELD_DIFFERS: "an account's held amount is not the sum of its open holds",
    Problem.BELOW_FLOOR: "an account stands below its floor",
    Problem.HOLD_PAST_LEASE: "a hold is open after its lease (expected and found in Unix seconds)",
    Problem.HOLD_ACCOUNT_WRONG: "a hold's account is missing or of another ledger",
    Problem.HOLD_TRANSFER_DIFFERS: "a hold's transfer is not what the hold posted",
    Problem.HOLD_BUDGET_MISSING: "a budget that holds reserve does not exist",
    Problem.TRANSFER_ACCOUNT_WRONG: "a transfer's account is missing or of another ledger",
    Problem.TRANSFER_HOLD_MISSING: "the hold that a transfer posts does not exist",
    Problem.CORRECTION_WRONG: "a correction is not the opposite of the transfer that it points to",
    Problem.CORRECTED_TWICE: "a transfer was corrected more than once",
    Problem.BUDGET_HELD_DIFFERS: "a budget's held amount is not the sum of its open holds",
    Problem.BUDGET_SPENT_DIFFERS: "a budget's spent amount is not the sum of its posted holds",
    Problem.BUDGET_OVERSPENT: "a budget is above every limit that it ever had",
}


class LedgerProblem(msgspec.Struct, frozen=True):
    """One contradiction; `subject` is the account, transfer, hold or budget (None: the organisation's whole ledger)."""

    problem: Problem
    organization_id: UUID
    subject: UUID | None
    expected: int | None
    found: int | None


class LedgerReport(msgspec.Struct, frozen=True):
    """What was checked (rows of each table) and what was found: all counts, and the first problems of each kind."""

    organizations: int
    accounts: int
    transfers: int
    holds: int
    budgets: int
    counts: dict[Problem, int]
    problems: list[LedgerProblem]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.counts


_ROWS = text(
    "select (select count(*) from organizations) as organizations, (select count(*) from accounts) as accounts,"
    " (select count(*) from transfers) as transfers, (select count(*) from holds) as holds,"
    " (select count(*) from budgets) as budgets"
)


async def check(*, grace: timedelta = DEFAULT_GRACE, examples: int = 100) -> LedgerReport:
    """Checks the books of the whole installation in one snapshot; it may run while the server works.

    Open holds are reported from `grace` after their lease. At most `examples` problems of each kind are listed.
    """
    counts: Counter[Problem] = Counter()
    problems: list[LedgerProblem] = []
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        await session.execute(text("set local statement_timeout = 0"))
        rows = (await session.execute(_ROWS)).mappings().one()
        found = await session.stream(text("select * from ledger_check(:grace)"), {"grace": grace})
        async for row in found:
            problem = Problem(row.problem)
            counts[problem] += 1
            if counts[problem] <= examples:
                problems.append(
                    LedgerProblem(
                        problem,
                        row.organization_id,
                        row.subject,
                        None if row.expected is None else int(row.expected),
                        None if row.found is None else int(row.found),
                    )
                )
    return LedgerReport(**rows, counts=dict(counts), problems=problems)
