"""Wallets: what an account's owner sees of it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.kernel import paging
from bailiwick.ledger.accounts import get_account


class Entry(msgspec.Struct, frozen=True):
    """One side of a transfer: `amount` is negative on the debited account, `balance_after` the balance with it."""

    transfer_id: UUID
    counterpart_account_id: UUID
    amount: int
    balance_after: int
    kind: str
    reference: str | None
    hold_id: UUID | None
    corrects_id: UUID | None
    created_at: datetime


class EntryPage(msgspec.Struct, frozen=True):
    """Entries, newest first, and the cursor of the next page (None: this is the last)."""

    entries: list[Entry]
    next_cursor: str | None


# One statement, so one snapshot: the balance and the entries belong together. What is newer than the page is summed
# from the indexes alone (they carry the amount). Each branch stops at the page's size by itself.
_PAGE = text(
    """
with sides as (
  (select id, credit_account_id as counterpart, -amount as amount, kind, reference, hold_id, corrects_id, created_at
     from transfers
    where organization_id = :organization_id and debit_account_id = :account_id and id < :before
    order by id desc limit :count)
  union all
  (select id, debit_account_id, amount, kind, reference, hold_id, corrects_id, created_at
     from transfers
    where organization_id = :organization_id and credit_account_id = :account_id and id < :before
    order by id desc limit :count)
), page as (select * from sides order by id desc limit :count),
newer as (
  select coalesce((select sum(amount) from transfers where organization_id = :organization_id
                      and credit_account_id = :account_id and id >= :before), 0)
       - coalesce((select sum(amount) from transfers where organization_id = :organization_id
                      and debit_account_id = :account_id and id >= :before), 0) as amount
)
select p.id as transfer_id, p.counterpart as counterpart_account_id, p.amount, p.kind, p.reference, p.hold_id,
       p.corrects_id, p.created_at,
       (a.balance - n.amount - coalesce(sum(p.amount) over (order by p.id desc rows between unbounded preceding
                                                            and 1 preceding), 0))::bigint as balance_after
  from page p cross join newer n
  join accounts a on a.organization_id = :organization_id and a.id = :account_id
 order by p.id desc
"""
)
_NEWEST = UUID(int=(1 << 128) - 1)


async def list_entries(
    session: AsyncSession, organization_id: UUID, account_id: UUID, *, limit: int = 50, cursor: str | None = None
) -> EntryPage:
    """Up to `limit` entries of an account after `cursor`, newest first. Raises AccountNotFound, InvalidInput."""
    await get_account(session, organization_id, account_id)
    before = _NEWEST if cursor is None else paging.decode_cursor(cursor)
    parameters = {
        "organization_id": organization_id,
        "account_id": account_id,
        "before": before,
        "count": limit + 1,
    }
    rows = (await session.execute(_PAGE, parameters)).mappings().all()
    entries = [Entry(**row) for row in rows[:limit]]
    more = len(rows) > limit
    return EntryPage(entries, paging.encode_cursor(entries[-1].transfer_id) if more else None)
