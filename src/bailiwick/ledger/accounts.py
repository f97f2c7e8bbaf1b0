"""Accounts: open, find, lock, close.

Locks are taken in the order holds, accounts, budgets, audit heads, and by (organization_id, id) within each, so that
concurrent use cases wait for each other and never in a circle.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Update, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.ids import uuid7
from bailiwick.ledger.errors import AccountInUse, AccountNotFound
from bailiwick.ledger.tables import Account, Hold, HoldState

# Rows are read as they are now, also when this session has seen them before.
FRESH = {"populate_existing": True}


async def open_account(
    session: AsyncSession, organization_id: UUID, *, ledger: str, kind: str, owner_id: UUID, floor: int | None
) -> Account:
    """The owner's account of this kind, opened at a balance of 0 if there was none.

    `floor` (in the ledger's unit; None: no lower bound) counts for a new account only; one that stands keeps its own. A
    closed one is opened again.
    """
    values = {"ledger": ledger, "kind": kind, "owner_id": owner_id, "floor": floor}
    opened: Account | None = await session.scalar(
        insert(Account)
        .values(organization_id=organization_id, id=uuid7(), **values)
        .on_conflict_do_nothing(index_elements=["organization_id", "ledger", "kind", "owner_id"])
        .returning(Account)
    )
    if opened is not None:
        return opened
    account = await find_account(session, organization_id, ledger=ledger, kind=kind, owner_id=owner_id)
    if account is None:  # cannot be: accounts are never deleted
        raise AccountNotFound
    if account.closed_at is not None:
        await session.execute(_one(organization_id, account.id).values(closed_at=None))
        account = await get_account(session, organization_id, account.id)
    return account


async def get_account(session: AsyncSession, organization_id: UUID, account_id: UUID) -> Account:
    """One account as it stands. Raises AccountNotFound."""
    account = await session.get(Account, (organization_id, account_id), populate_existing=True)
    if account is None:
        raise AccountNotFound
    return account


async def find_account(
    session: AsyncSession, organization_id: UUID, *, ledger: str, kind: str, owner_id: UUID
) -> Account | None:
    """The owner's account of this kind, if there is one."""
    account: Account | None = await session.scalar(
        select(Account)
        .where(
            Account.organization_id == organization_id,
            Account.ledger == ledger,
            Account.kind == kind,
            Account.owner_id == owner_id,
        )
        .execution_options(**FRESH)
    )
    return account


async def lock_accounts(
    session: AsyncSession, organization_id: UUID, account_ids: Collection[UUID]
) -> dict[UUID, Account]:
    """Locks accounts against any change of their amounts until the transaction ends; those found, by id.

    A use case that makes several transfers locks all their accounts with one call first, so that the order holds.
    """
    rows = await session.scalars(
        select(Account)
        .where(Account.organization_id == organization_id, Account.id.in_(account_ids))
        .order_by(Account.id)
        .with_for_update(key_share=True)  # FOR NO KEY UPDATE: rows that refer to the account need not wait
        .execution_options(**FRESH)
    )
    return {account.id: account for account in rows}


async def close_account(session: AsyncSession, organization_id: UUID, account_id: UUID) -> None:
    """Closes an account that is empty and has no open hold on either side; closing twice changes nothing.

    Raises AccountNotFound, AccountInUse.
    """
    account = (await lock_accounts(session, organization_id, [account_id])).get(account_id)
    if account is None:
        raise AccountNotFound
    expected = await session.scalar(
        select(
            exists().where(
                Hold.organization_id == organization_id,
                Hold.state == HoldState.OPEN,
                or_(Hold.debit_account_id == account_id, Hold.credit_account_id == account_id),
            )
        )
    )
    if account.balance or account.held or expected:
        raise AccountInUse
    if account.closed_at is None:
        await session.execute(_one(organization_id, account_id).values(closed_at=func.now()))


def _one(organization_id: UUID, account_id: UUID) -> Update:
    return update(Account).where(Account.organization_id == organization_id, Account.id == account_id)
