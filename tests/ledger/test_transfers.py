"""Transfers: moved once, never below the floor, corrected by their opposite."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import (
    AccountClosed,
    AccountNotFound,
    InsufficientFunds,
    Ledger,
    LedgerMismatch,
    NotCorrectable,
    TransferConflict,
    check,
    close_account,
    correct_transfer,
    get_account,
    grant,
    list_entries,
    open_account,
    transfer,
    withdraw_remaining,
)
from tests.ledger.conftest import Purse, make_organization, make_purse


async def pay(purse: Purse, amount: int, *, transfer_id: UUID | None = None, reference: str | None = None) -> UUID:
    """Moves an amount from the wallet to revenue in its own transaction."""
    async with tenant_transaction(purse.organization_id) as session:
        made = await transfer(
            session,
            purse.organization_id,
            debit_account_id=purse.wallet_id,
            credit_account_id=purse.revenue_id,
            amount=amount,
            kind="test",
            reference=reference,
            transfer_id=transfer_id,
        )
        return made.id


async def fund(purse: Purse, amount: int) -> None:
    """Grants an amount to the wallet."""
    async with tenant_transaction(purse.organization_id) as session:
        await grant(session, purse.organization_id, purse.wallet_id, amount, "plan_grant")


async def balances(purse: Purse) -> tuple[int, int, int]:
    """The balances of wallet, revenue and source."""
    async with tenant_transaction(purse.organization_id) as session:
        wallet, revenue, source = [
            (await get_account(session, purse.organization_id, account_id)).balance
            for account_id in (purse.wallet_id, purse.revenue_id, purse.source_id)
        ]
    return wallet, revenue, source


async def test_money_moves_and_sums_to_zero(purse: Purse) -> None:
    await fund(purse, 100)
    await pay(purse, 70)
    assert await balances(purse) == (30, 70, -100)
    assert (await check()).clean


async def test_a_refused_transfer_changes_nothing_and_its_transaction_can_go_on(purse: Purse) -> None:
    await fund(purse, 100)
    async with tenant_transaction(purse.organization_id) as session:
        with pytest.raises(InsufficientFunds) as refused:
            await transfer(
                session,
                purse.organization_id,
                debit_account_id=purse.wallet_id,
                credit_account_id=purse.revenue_id,
                amount=101,
                kind="test",
            )
        assert (refused.value.needed, refused.value.available) == (101, 100)
        await withdraw_remaining(session, purse.organization_id, purse.wallet_id, "plan_end")
    assert await balances(purse) == (0, 0, 0)


async def test_the_same_id_moves_once_and_other_content_is_refused(purse: Purse) -> None:
    await fund(purse, 100)
    transfer_id = uuid7()
    made = await asyncio.gather(*(pay(purse, 60, transfer_id=transfer_id) for _ in range(5)))
    assert set(made) == {transfer_id}
    assert await balances(purse) == (40, 60, -100)
    for amount, reference in ((61, None), (60, "other")):
        with pytest.raises(TransferConflict):
            await pay(purse, amount, transfer_id=transfer_id, reference=reference)
    assert await balances(purse) == (40, 60, -100)


async def test_one_id_between_other_accounts_is_a_conflict_also_when_raced(purse: Purse) -> None:
    await fund(purse, 100)
    transfer_id = uuid7()

    async def back() -> UUID:
        async with tenant_transaction(purse.organization_id) as session:
            spare = await open_account(
                session, purse.organization_id, ledger=Ledger.USD_MICROS, kind="spare", owner_id=uuid7(), floor=None
            )
            other = await open_account(
                session, purse.organization_id, ledger=Ledger.USD_MICROS, kind="spare", owner_id=uuid7(), floor=None
            )
            made = await transfer(
                session,
                purse.organization_id,
                debit_account_id=spare.id,
                credit_account_id=other.id,
                amount=60,
                kind="test",
                transfer_id=transfer_id,
            )
            return made.id

    results = await asyncio.gather(pay(purse, 60, transfer_id=transfer_id), back(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["TransferConflict", "UUID"]
    assert (await check()).clean


async def test_a_correction_takes_back_once(purse: Purse) -> None:
    await fund(purse, 100)
    wrong = await pay(purse, 70)

    async def take_back(transfer_id: UUID) -> UUID:
        async with tenant_transaction(purse.organization_id) as session:
            return (await correct_transfer(session, purse.organization_id, transfer_id)).id

    corrections = set(await asyncio.gather(*(take_back(wrong) for _ in range(4))))
    assert len(corrections) == 1
    assert await balances(purse) == (100, 0, -100)
    with pytest.raises(NotCorrectable):
        await take_back(corrections.pop())
    assert (await check()).clean


async def test_what_cannot_be_moved(purse: Purse) -> None:
    other = await make_purse()
    mine = purse.organization_id
    async with tenant_transaction(mine) as session:
        credits = await open_account(session, mine, ledger=Ledger.CREDITS, kind="wallet", owner_id=mine, floor=0)
        closed = await open_account(session, mine, ledger=Ledger.USD_MICROS, kind="old", owner_id=mine, floor=0)
        await close_account(session, mine, closed.id)
        for credit_account_id, amount, error in (
            (credits.id, 1, LedgerMismatch),
            (closed.id, 1, AccountClosed),
            (other.wallet_id, 1, AccountNotFound),
            (uuid7(), 1, AccountNotFound),
            (purse.source_id, 1, InvalidInput),
            (purse.wallet_id, 0, InvalidInput),
            (purse.wallet_id, -1, InvalidInput),
        ):
            with pytest.raises(error):
                await transfer(
                    session,
                    mine,
                    debit_account_id=purse.source_id,
                    credit_account_id=credit_account_id,
                    amount=amount,
                    kind="test",
                )
    assert await balances(purse) == (0, 0, 0)


async def test_transfers_both_ways_at_once_do_not_deadlock(purse: Purse) -> None:
    await fund(purse, 100)

    async def there_and_back(number: int) -> None:
        debit, credit = (purse.source_id, purse.revenue_id) if number % 2 else (purse.revenue_id, purse.source_id)
        for _ in range(10):
            async with tenant_transaction(purse.organization_id) as session:
                await transfer(
                    session,
                    purse.organization_id,
                    debit_account_id=debit,
                    credit_account_id=credit,
                    amount=1,
                    kind="test",
                )

    await asyncio.gather(*(there_and_back(number) for number in range(6)))
    assert await balances(purse) == (100, 0, -100)


async def test_a_grant_opens_its_source_once(purse: Purse) -> None:
    organization_id = await make_organization()
    async with tenant_transaction(organization_id) as session:
        wallet = await open_account(
            session, organization_id, ledger=Ledger.CREDITS, kind="wallet", owner_id=uuid7(), floor=0
        )
        grant_id = uuid7()
        for _ in range(2):
            await grant(session, organization_id, wallet.id, 50, "welcome", transfer_id=grant_id)
        assert (await get_account(session, organization_id, wallet.id)).balance == 50
        back = await withdraw_remaining(session, organization_id, wallet.id, "plan_end")
        assert back is not None
        assert back.amount == 50
        assert await withdraw_remaining(session, organization_id, wallet.id, "plan_end") is None
    assert (await check()).clean


async def test_a_wallet_lists_its_entries_with_the_balance_after_each(purse: Purse) -> None:
    await fund(purse, 1000)
    for amount in range(1, 8):
        await pay(purse, amount, reference=f"run {amount}")
    async with tenant_transaction(purse.organization_id) as session:
        entries, cursor = [], None
        while True:
            page = await list_entries(session, purse.organization_id, purse.wallet_id, limit=3, cursor=cursor)
            entries += page.entries
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
    assert [entry.amount for entry in entries] == [-7, -6, -5, -4, -3, -2, -1, 1000]
    assert [entry.balance_after for entry in entries] == [972, 979, 985, 990, 994, 997, 999, 1000]
    assert entries[0].counterpart_account_id == purse.revenue_id
    assert entries[0].reference == "run 7"
