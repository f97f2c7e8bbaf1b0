"""An organisation with funded wallets and budgets, and its use cases as calls that answer in one word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, Phase, settings
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.ids import uuid7
from bailiwick.ledger import (
    Hold,
    Ledger,
    Transfer,
    get_account,
    get_budget,
    grant,
    open_account,
    open_budget,
    place_hold,
    post_hold,
    transfer,
    void_hold,
)
from tests.ledger.conftest import make_organization

HOUR = timedelta(hours=1)
WITH_REAL_BOOKS = settings(
    max_examples=20,
    phases=[Phase.generate],  # shrinking an example would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""For properties whose every example makes real books."""


class World(msgspec.Struct):
    """An organisation with funded wallets, a sink, and budgets (money at even places, runs at odd ones)."""

    organization_id: UUID
    wallets: list[UUID]
    sink: UUID
    budgets: list[UUID]

    async def run(self, work: Callable[[AsyncSession], Awaitable[object]]) -> str:
        """Runs one use case in its transaction: ok, or the name of its refusal."""
        try:
            async with tenant_transaction(self.organization_id) as session:
                await work(session)
        except BailiwickError as refusal:
            return type(refusal).__name__
        return "ok"

    async def place(self, hold_id: UUID, wallet: int, amount: int, budgets: tuple[int, ...], lease: timedelta) -> str:
        """Places a hold on a wallet for the sink."""
        return await self.run(
            lambda session: place_hold(
                session,
                self.organization_id,
                debit_account_id=self.wallets[wallet],
                credit_account_id=self.sink,
                amount=amount,
                kind="test",
                lease_expires_at=now() + lease,
                budget_ids=[self.budgets[one] for one in budgets],
                hold_id=hold_id,
            )
        )

    async def post(self, hold_id: UUID, amount: int) -> str:
        """Posts a hold."""
        return await self.run(lambda session: post_hold(session, self.organization_id, hold_id, amount=amount))

    async def void(self, hold_id: UUID) -> str:
        """Voids a hold."""
        return await self.run(lambda session: void_hold(session, self.organization_id, hold_id))

    async def transfer(self, transfer_id: UUID, debit: int, credit: int, amount: int) -> str:
        """Moves an amount between wallets."""
        return await self.run(
            lambda session: transfer(
                session,
                self.organization_id,
                debit_account_id=self.wallets[debit],
                credit_account_id=self.wallets[credit],
                amount=amount,
                kind="test",
                transfer_id=transfer_id,
            )
        )

    async def made(self) -> set[UUID]:
        """The ids of all holds and transfers."""
        async with tenant_transaction(self.organization_id) as session:
            return {*(await session.scalars(select(Hold.id))), *(await session.scalars(select(Transfer.id)))}

    async def amounts(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
        """(balance, held) of each wallet, (spent, held) of each budget, the sink's balance."""
        async with tenant_transaction(self.organization_id) as session:
            wallets = [await get_account(session, self.organization_id, one) for one in self.wallets]
            budgets = [await get_budget(session, self.organization_id, one) for one in self.budgets]
            sink = await get_account(session, self.organization_id, self.sink)
        return [(one.balance, one.held) for one in wallets], [(one.spent, one.held) for one in budgets], sink.balance


async def make_world(balances: list[int], limits: list[int]) -> World:
    """A new organisation with these balances and limits."""
    organization_id = await make_organization()
    async with tenant_transaction(organization_id) as session:
        wallets = []
        for balance in balances:
            opened = await open_account(
                session, organization_id, ledger=Ledger.USD_MICROS, kind="wallet", owner_id=uuid7(), floor=0
            )
            await grant(session, organization_id, opened.id, balance, "plan_grant")
            wallets.append(opened.id)
        sink = await open_account(
            session, organization_id, ledger=Ledger.USD_MICROS, kind="revenue", owner_id=organization_id, floor=None
        )
        budgets = [
            await open_budget(
                session,
                organization_id,
                scope="member",
                scope_id=uuid7(),
                unit="runs" if place % 2 else "usd_micros",
                period="once",
                period_start=now() - HOUR,
                period_end=None,
                limit_amount=limit,
            )
            for place, limit in enumerate(limits)
        ]
    return World(organization_id, wallets, sink.id, [one.id for one in budgets])
