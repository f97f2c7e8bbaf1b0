"""Grants: what a plan gives an account, from the organisation's source of grants, and takes back when it ends."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.ledger.accounts import get_account, lock_accounts, open_account
from bailiwick.ledger.errors import AccountNotFound
from bailiwick.ledger.tables import Account, Transfer
from bailiwick.ledger.transfers import transfer

SOURCE_KIND = "plan_grants"


async def grant(
    session: AsyncSession,
    organization_id: UUID,
    account_id: UUID,
    amount: int,
    kind: str,
    *,
    reference: str | None = None,
    transfer_id: UUID | None = None,
) -> Transfer:
    """Credits `amount` (> 0, in the account's unit) out of the organisation's source of grants, which has no floor.

    Raises AccountNotFound and what `transfer` raises but InsufficientFunds.
    """
    account = await get_account(session, organization_id, account_id)
    source = await _source(session, organization_id, account.ledger)
    return await transfer(
        session,
        organization_id,
        debit_account_id=source.id,
        credit_account_id=account_id,
        amount=amount,
        kind=kind,
        reference=reference,
        transfer_id=transfer_id,
    )


async def withdraw_remaining(
    session: AsyncSession, organization_id: UUID, account_id: UUID, kind: str, *, reference: str | None = None
) -> Transfer | None:
    """Moves what is neither spent nor held (above 0 and above the floor) back to the source; None when that is nothing.

    Raises AccountNotFound, AccountClosed.
    """
    account = await get_account(session, organization_id, account_id)
    source = await _source(session, organization_id, account.ledger)
    locked = (await lock_accounts(session, organization_id, {account_id, source.id})).get(account_id)
    if locked is None:
        raise AccountNotFound
    amount = locked.balance - locked.held - max(locked.floor or 0, 0)
    if amount <= 0:
        return None
    return await transfer(
        session,
        organization_id,
        debit_account_id=account_id,
        credit_account_id=source.id,
        amount=amount,
        kind=kind,
        reference=reference,
    )


async def _source(session: AsyncSession, organization_id: UUID, ledger: str) -> Account:
    return await open_account(
        session, organization_id, ledger=ledger, kind=SOURCE_KIND, owner_id=organization_id, floor=None
    )
