"""Transfers: move an amount at once, or take an earlier move back by its opposite."""

from __future__ import annotations

from uuid import UUID

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger.accounts import FRESH, lock_accounts
from bailiwick.ledger.errors import (
    AccountClosed,
    AccountNotFound,
    InsufficientFunds,
    LedgerMismatch,
    NotCorrectable,
    TransferConflict,
    TransferNotFound,
)
from bailiwick.ledger.tables import Account, Transfer

_UNIQUE_VIOLATION = "23505"


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a transfer says; two transfers with one id must say the same."""

    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    kind: str
    reference: str | None
    corrects_id: UUID | None = None


async def transfer(
    session: AsyncSession,
    organization_id: UUID,
    *,
    debit_account_id: UUID,
    credit_account_id: UUID,
    amount: int,
    kind: str,
    reference: str | None = None,
    transfer_id: UUID | None = None,
) -> Transfer:
    """Moves `amount` (> 0, in the accounts' unit) from the debited to the credited account.

    `transfer_id` (a UUIDv7) makes it idempotent: the same transfer again yields the first one and moves nothing.
    Raises InvalidInput, TransferConflict, AccountNotFound, AccountClosed, LedgerMismatch, InsufficientFunds.
    """
    if amount <= 0:
        raise InvalidInput.of("amount", "must be above 0")
    if debit_account_id == credit_account_id:
        raise InvalidInput.of("credit_account_id", "must be another account than the debited one")
    content = _Content(
        debit_account_id=debit_account_id,
        credit_account_id=credit_account_id,
        amount=amount,
        kind=kind,
        reference=reference,
    )
    accounts = await lock_accounts(session, organization_id, {debit_account_id, credit_account_id})
    if transfer_id is not None:
        # Read under the locks: a concurrent twin has committed by now or has not begun.
        known = await session.get(Transfer, (organization_id, transfer_id))
        if known is not None:
            if any(getattr(known, name) != value for name, value in msgspec.structs.asdict(content).items()):
                raise TransferConflict
            return known
    return await _move(session, organization_id, accounts, transfer_id or uuid7(), content)


async def correct_transfer(
    session: AsyncSession, organization_id: UUID, transfer_id: UUID, *, reference: str | None = None
) -> Transfer:
    """Takes a transfer back by its opposite, which points to it; a second correction yields the first.

    Raises TransferNotFound, NotCorrectable for a correction, and what `transfer` raises: the money may be gone.
    """
    wrong = await get_transfer(session, organization_id, transfer_id)
    if wrong.corrects_id is not None:
        raise NotCorrectable
    accounts = await lock_accounts(session, organization_id, {wrong.debit_account_id, wrong.credit_account_id})
    made: Transfer | None = await session.scalar(
        select(Transfer).where(Transfer.organization_id == organization_id, Transfer.corrects_id == transfer_id)
    )
    if made is not None:
        return made
    content = _Content(
        debit_account_id=wrong.credit_account_id,
        credit_account_id=wrong.debit_account_id,
        amount=wrong.amount,
        kind="correction",
        reference=reference,
        corrects_id=transfer_id,
    )
    return await _move(session, organization_id, accounts, uuid7(), content)


async def get_transfer(session: AsyncSession, organization_id: UUID, transfer_id: UUID) -> Transfer:
    """One transfer. Raises TransferNotFound."""
    found = await session.get(Transfer, (organization_id, transfer_id))
    if found is None:
        raise TransferNotFound
    return found


async def _move(
    session: AsyncSession,
    organization_id: UUID,
    accounts: dict[UUID, Account],
    transfer_id: UUID,
    content: _Content,
) -> Transfer:
    """Writes a transfer between two accounts that are locked."""
    debited, credited = accounts.get(content.debit_account_id), accounts.get(content.credit_account_id)
    if debited is None or credited is None:
        raise AccountNotFound
    if debited.closed_at is not None or credited.closed_at is not None:
        raise AccountClosed
    if debited.ledger != credited.ledger:
        raise LedgerMismatch
    amount = content.amount
    paid = await session.scalar(
        update(Account)
        .where(
            Account.organization_id == organization_id,
            Account.id == debited.id,
            Account.floor.is_(None) | (Account.balance - Account.held - amount >= Account.floor),
        )
        .values(balance=Account.balance - amount)
        .returning(Account)
        .execution_options(**FRESH)
    )
    if paid is None:
        raise InsufficientFunds(account_id=debited.id, needed=amount, available=debited.available or 0)
    await session.scalar(
        update(Account)
        .where(Account.organization_id == organization_id, Account.id == credited.id)
        .values(balance=Account.balance + amount)
        .returning(Account)
        .execution_options(**FRESH)
    )
    values = {"organization_id": organization_id, "id": transfer_id, "ledger": debited.ledger}
    try:
        written = await session.scalars(
            insert(Transfer).values(values | msgspec.structs.asdict(content)).returning(Transfer)
        )
        return written.one()
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION:  # a twin between other accounts: other locks
            raise TransferConflict from error
        raise
