"""Holds: an amount is placed aside, then posted (up to it), voided, or given back when its lease is over.

Each use case locks the hold, then the account, then the budgets. Invocations do the same for whole batches
(`invocations/sql/`); this is for everything else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger.accounts import FRESH, get_account, lock_accounts
from bailiwick.ledger.errors import (
    AccountClosed,
    AccountNotFound,
    BudgetExceeded,
    BudgetNotFound,
    HoldClosed,
    HoldConflict,
    HoldNotFound,
    InsufficientFunds,
    LedgerMismatch,
)
from bailiwick.ledger.rate_limits import begin_windows, counts
from bailiwick.ledger.tables import Account, Budget, BudgetUnit, Hold, HoldState, Ledger, Transfer

_UNIQUE_VIOLATION = "23505"


class ExpiredHold(msgspec.Struct, frozen=True):
    """A hold that the sweeper gave back; `reference` says what it was for."""

    organization_id: UUID
    hold_id: UUID
    ledger: str
    debit_account_id: UUID
    amount: int
    kind: str
    reference: str | None
    lease_expires_at: datetime


async def place_hold(
    session: AsyncSession,
    organization_id: UUID,
    *,
    debit_account_id: UUID,
    credit_account_id: UUID,
    amount: int,
    kind: str,
    lease_expires_at: datetime,
    budget_ids: Collection[UUID] = (),
    tokens: int = 0,
    reference: str | None = None,
    hold_id: UUID | None = None,
) -> Hold:
    """Reserves `amount` (>= 0, in the account's unit) and each budget's part of it until the lease is over.

    A budget of money counts `amount`, of runs and requests one, of tokens `tokens`. `hold_id` (a UUIDv7) makes it
    idempotent: the same hold again yields the first, in whatever state it is now. Nothing is written when it raises:
    InvalidInput, HoldConflict, AccountNotFound, BudgetNotFound, AccountClosed, LedgerMismatch, InsufficientFunds,
    BudgetExceeded.
    """
    if amount < 0 or tokens < 0:
        raise InvalidInput.of("amount" if amount < 0 else "tokens", "must be 0 or more")
    if debit_account_id == credit_account_id:
        raise InvalidInput.of("credit_account_id", "must be another account than the debited one")
    content: dict[str, object] = {
        "debit_account_id": debit_account_id,
        "credit_account_id": credit_account_id,
        "amount": amount,
        "tokens": tokens,
        "budget_ids": sorted(set(budget_ids)),
        "kind": kind,
        "reference": reference,
    }
    account = (await lock_accounts(session, organization_id, [debit_account_id])).get(debit_account_id)
    if hold_id is not None:
        known = await session.get(Hold, (organization_id, hold_id), populate_existing=True)
        if known is not None:
            if any(getattr(known, name) != value for name, value in content.items()):
                raise HoldConflict
            return known
    if account is None:
        raise AccountNotFound
    budgets = await _lock_budgets(session, organization_id, set(budget_ids))
    if len(budgets) != len(set(budget_ids)):
        raise BudgetNotFound
    payee = await get_account(session, organization_id, credit_account_id)
    moment = await begin_windows(session, budgets)
    _refuse(account, payee, budgets, amount=amount, tokens=tokens)

    # The rows are locked, so what was read still holds; the tables' CHECKs would refuse it otherwise.
    await _change_account(session, organization_id, account.id, balance=0, held=amount)
    for budget in budgets:
        part = _part(budget.unit, amount=amount, tokens=tokens, runs=1)
        is_request = budget.unit == BudgetUnit.REQUESTS
        await _change_budget(session, budget, held=0 if is_request else part, spent=part if is_request else 0)
    values = {"organization_id": organization_id, "id": hold_id or uuid7(), "ledger": account.ledger, **content}
    values |= {"lease_expires_at": lease_expires_at, "created_at": moment or func.now()}
    try:
        written = await session.scalars(insert(Hold).values(values).returning(Hold))
        return written.one()
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION:  # a twin on another account: another lock
            raise HoldConflict from error
        raise


async def post_hold(
    session: AsyncSession,
    organization_id: UUID,
    hold_id: UUID,
    *,
    amount: int,
    tokens: int | None = None,
    runs: int = 1,
    transfer_id: UUID | None = None,
) -> Hold:
    """Charges `amount` of a hold (0 up to what it reserved) by one transfer, none for 0, and gives the rest back.

    `tokens` (default: all reserved) and `runs` (0 or 1) are spent from budgets of those units. Posting the same amount
    again changes nothing. A hold past its lease may be posted as long as the sweeper has not given it back.
    Raises HoldNotFound, InvalidInput, HoldClosed.
    """
    hold = await _lock_hold(session, organization_id, hold_id)
    spent_tokens = hold.tokens if tokens is None else tokens
    if hold.state == HoldState.POSTED and (hold.posted_amount, hold.posted_runs) == (amount, runs):
        return hold
    if hold.state != HoldState.OPEN:
        raise HoldClosed(hold_id=hold_id, state=hold.state)
    if not (0 <= amount <= hold.amount and 0 <= spent_tokens <= hold.tokens and runs in (0, 1)):
        raise InvalidInput.of("amount", f"must be within what was held: {hold.amount}, {hold.tokens} tokens, 1 run")
    closed = await _close(
        session, hold, HoldState.POSTED, posted_amount=amount, posted_tokens=spent_tokens, posted_runs=runs
    )
    await lock_accounts(session, organization_id, [hold.debit_account_id, hold.credit_account_id])
    await _change_account(session, organization_id, hold.debit_account_id, balance=-amount, held=-hold.amount)
    await _change_account(session, organization_id, hold.credit_account_id, balance=amount, held=0)
    await _free_budgets(session, closed)
    if amount:
        await session.execute(
            insert(Transfer).values(
                organization_id=organization_id,
                id=transfer_id or uuid7(),
                ledger=hold.ledger,
                debit_account_id=hold.debit_account_id,
                credit_account_id=hold.credit_account_id,
                amount=amount,
                kind=hold.kind,
                hold_id=hold_id,
                reference=hold.reference,
            )
        )
    return closed


async def void_hold(session: AsyncSession, organization_id: UUID, hold_id: UUID) -> Hold:
    """Gives a hold's whole amount back; voiding twice changes nothing. Raises HoldNotFound, HoldClosed."""
    return await _give_back(session, organization_id, hold_id, HoldState.VOIDED)


async def expire_hold(session: AsyncSession, organization_id: UUID, hold_id: UUID) -> Hold:
    """Gives one hold back whose lease is over, as the sweeper would.

    Raises HoldNotFound, HoldClosed, and InvalidInput while the lease runs.
    """
    return await _give_back(session, organization_id, hold_id, HoldState.EXPIRED)


async def expire_holds(limit: int = 500) -> list[ExpiredHold]:
    """Gives back up to `limit` holds of every organisation whose lease is over, in one transaction; what expired.

    Holds that someone is closing at this moment are passed over. Call again until it yields fewer than `limit`.
    """
    async with system_transaction(CrossTenantUse.SWEEP) as session:
        rows = await session.execute(text("select * from ledger_expire_holds(:limit)"), {"limit": limit})
        return [ExpiredHold(**row) for row in rows.mappings()]


async def get_hold(session: AsyncSession, organization_id: UUID, hold_id: UUID) -> Hold:
    """One hold as it stands. Raises HoldNotFound."""
    hold = await session.get(Hold, (organization_id, hold_id), populate_existing=True)
    if hold is None:
        raise HoldNotFound
    return hold


def _refuse(account: Account, payee: Account, budgets: Sequence[Budget], *, amount: int, tokens: int) -> None:
    """Raises unless the locked rows hold what a hold would reserve."""
    if account.closed_at is not None or payee.closed_at is not None:
        raise AccountClosed
    money_budgets = any(budget.unit == BudgetUnit.USD_MICROS for budget in budgets)
    if account.ledger != payee.ledger or (money_budgets and account.ledger != Ledger.USD_MICROS):
        raise LedgerMismatch
    if account.available is not None and account.available < amount:
        raise InsufficientFunds(account_id=account.id, needed=amount, available=account.available)
    for budget in budgets:
        needed = _part(budget.unit, amount=amount, tokens=tokens, runs=1)
        if budget.left < needed:
            raise BudgetExceeded(budget_id=budget.id, unit=budget.unit, needed=needed, remaining=max(0, budget.left))


def _part(unit: str, *, amount: int, tokens: int, runs: int) -> int:
    """What a budget of this unit counts."""
    match unit:
        case BudgetUnit.RUNS | BudgetUnit.REQUESTS:
            return runs
        case BudgetUnit.TOKENS:
            return tokens
        case _:
            return amount


async def _give_back(session: AsyncSession, organization_id: UUID, hold_id: UUID, state: HoldState) -> Hold:
    hold = await _lock_hold(session, organization_id, hold_id)
    if hold.state == state:
        return hold
    if hold.state != HoldState.OPEN:
        raise HoldClosed(hold_id=hold_id, state=hold.state)
    if state is HoldState.EXPIRED and hold.lease_expires_at > now():
        raise InvalidInput.of("hold_id", "its lease is not over")
    closed = await _close(session, hold, state, posted_amount=0, posted_tokens=0, posted_runs=0)
    await _change_account(session, organization_id, hold.debit_account_id, balance=0, held=-hold.amount)
    await _free_budgets(session, closed)
    return closed


async def _lock_hold(session: AsyncSession, organization_id: UUID, hold_id: UUID) -> Hold:
    hold = await session.scalar(
        select(Hold)
        .where(Hold.organization_id == organization_id, Hold.id == hold_id)
        .with_for_update()
        .execution_options(**FRESH)
    )
    if hold is None:
        raise HoldNotFound
    return hold


async def _close(
    session: AsyncSession, hold: Hold, state: HoldState, *, posted_amount: int, posted_tokens: int, posted_runs: int
) -> Hold:
    closed = await session.scalars(
        update(Hold)
        .where(Hold.organization_id == hold.organization_id, Hold.id == hold.id)
        .values(state=state, closed_at=func.clock_timestamp())
        .values(posted_amount=posted_amount, posted_tokens=posted_tokens, posted_runs=posted_runs)
        .returning(Hold)
        .execution_options(**FRESH)
    )
    return closed.one()


async def _lock_budgets(session: AsyncSession, organization_id: UUID, budget_ids: Collection[UUID]) -> Sequence[Budget]:
    if not budget_ids:
        return []
    rows = await session.scalars(
        select(Budget)
        .where(Budget.organization_id == organization_id, Budget.id.in_(budget_ids))
        .order_by(Budget.id)
        .with_for_update(key_share=True)
        .execution_options(**FRESH)
    )
    return rows.all()


async def _free_budgets(session: AsyncSession, closed: Hold) -> None:
    """Takes a closed hold's parts out of its budgets' reserves and adds what it spent."""
    for budget in await _lock_budgets(session, closed.organization_id, closed.budget_ids):
        if not counts(budget, closed.created_at):
            continue
        held = _part(budget.unit, amount=closed.amount, tokens=closed.tokens, runs=1)
        spent = _part(
            budget.unit,
            amount=closed.posted_amount or 0,
            tokens=closed.posted_tokens or 0,
            runs=closed.posted_runs or 0,
        )
        await _change_budget(session, budget, held=-held, spent=spent)


async def _change_account(
    session: AsyncSession, organization_id: UUID, account_id: UUID, *, balance: int, held: int
) -> None:
    await session.scalars(
        update(Account)
        .where(Account.organization_id == organization_id, Account.id == account_id)
        .values(balance=Account.balance + balance, held=Account.held + held)
        .returning(Account)
        .execution_options(**FRESH)
    )


async def _change_budget(session: AsyncSession, budget: Budget, *, held: int, spent: int) -> None:
    await session.scalars(
        update(Budget)
        .where(Budget.organization_id == budget.organization_id, Budget.id == budget.id)
        .values(held=Budget.held + held, spent=Budget.spent + spent)
        .returning(Budget)
        .execution_options(**FRESH)
    )
