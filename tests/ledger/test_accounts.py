"""Accounts: opened once for an owner, closed when empty."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import AccountNotFound, Ledger, close_account, find_account, get_account, open_account
from tests.ledger.conftest import Purse, make_organization


async def test_an_owner_has_one_account_of_a_kind_however_many_open_it(db: Database) -> None:
    organization_id, owner_id = await make_organization(), uuid7()

    async def open_one(floor: int) -> object:
        async with tenant_transaction(organization_id) as session:
            account = await open_account(
                session, organization_id, ledger=Ledger.CREDITS, kind="wallet", owner_id=owner_id, floor=floor
            )
            return account.id

    opened = await asyncio.gather(*(open_one(floor) for floor in (0, 0, -5, 0)))
    assert len(set(opened)) == 1


async def test_another_organisation_does_not_see_it(purse: Purse) -> None:
    other = await make_organization()
    async with tenant_transaction(other) as session:
        with pytest.raises(AccountNotFound):
            await get_account(session, purse.organization_id, purse.wallet_id)
        with pytest.raises(AccountNotFound):
            await get_account(session, other, purse.wallet_id)


async def test_an_empty_account_is_closed_and_opened_again(purse: Purse) -> None:
    mine = purse.organization_id
    async with tenant_transaction(mine) as session:
        await close_account(session, mine, purse.wallet_id)
        await close_account(session, mine, purse.wallet_id)
        closed = await find_account(session, mine, ledger=Ledger.USD_MICROS, kind="wallet", owner_id=mine)
        assert closed is not None
        assert closed.closed_at is not None
        opened = await open_account(session, mine, ledger=Ledger.USD_MICROS, kind="wallet", owner_id=mine, floor=0)
    assert (opened.id, opened.closed_at) == (purse.wallet_id, None)


async def test_the_ledger_is_one_of_those_known(db: Database) -> None:
    organization_id = await make_organization()
    with pytest.raises(DBAPIError, match="ledger_name_check"):
        async with tenant_transaction(organization_id) as session:
            await open_account(
                session, organization_id, ledger="shells", kind="wallet", owner_id=organization_id, floor=0
            )
