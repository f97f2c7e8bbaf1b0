"""Organisations with accounts to move money between."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text

from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import Ledger, open_account


class Purse(msgspec.Struct, frozen=True):
    """An organisation with a wallet (floor 0), a revenue account and a source without floor, all in micro-dollars."""

    organization_id: UUID
    wallet_id: UUID
    revenue_id: UUID
    source_id: UUID


async def make_organization(name: str = "Acme") -> UUID:
    """An organisation's row, as sign-up makes it."""
    organization_id = uuid7()
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        await session.execute(
            text("insert into organizations (id, name, slug, plan_tier) values (:id, :name, :slug, 'free')"),
            {"id": organization_id, "name": name, "slug": str(organization_id)},
        )
    return organization_id


async def make_purse() -> Purse:
    """A new organisation with empty accounts."""
    organization_id = await make_organization()
    async with tenant_transaction(organization_id) as session:
        accounts = [
            await open_account(
                session, organization_id, ledger=Ledger.USD_MICROS, kind=kind, owner_id=organization_id, floor=floor
            )
            for kind, floor in (("wallet", 0), ("revenue", None), ("plan_grants", None))
        ]
    return Purse(organization_id, *(account.id for account in accounts))


@pytest.fixture
async def purse(db: Database) -> Purse:
    """A new organisation with empty accounts."""
    return await make_purse()
