"""Accounts, transfers, holds, budgets."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

UPGRADE = r"""
-- Amounts are integers in the ledger's smallest unit: micro-dollars or whole credits. `floor` null: no lower bound.
create table accounts (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  ledger text not null check (ledger in ('usd_micros', 'credits')),
  kind text not null,
  owner_id uuid not null,
  balance bigint not null default 0,
  held bigint not null default 0 check (held >= 0),
  floor bigint,
  created_at timestamptz not null default now(),
  closed_at timestamptz,
  primary key (organization_id, id),
  check (floor is null or balance - held >= floor)
) with (fillfactor = 50);
create unique index accounts_owner on accounts (organization_id, ledger, kind, owner_id);
select bailiwick_protect('accounts', 'select, insert, update');

-- Moves `amount` from the debited to the credited account: two entries that sum to zero. Never changed.
create table transfers (
  organization_id uuid not null,
  id uuid not null,
  ledger text not null,
  debit_account_id uuid not null,
  credit_account_id uuid not null,
  amount bigint not null check (amount > 0),
  kind text not null,
  hold_id uuid,
  reference text,
  corrects_id uuid,
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  check (debit_account_id <> credit_account_id)
) partition by range (id);
-- With the amount, so that a running balance is summed from the index alone.
create index transfers_debit on transfers (organization_id, debit_account_id, id) include (amount);
create index transfers_credit on transfers (organization_id, credit_account_id, id) include (amount);
create index transfers_corrections on transfers (organization_id, corrects_id) where corrects_id is not null;
select bailiwick_protect('transfers', 'select, insert');
create trigger transfers_append_only before update or delete on transfers
  for each row execute function bailiwick_refuse_change();
insert into partitioned_tables values ('transfers');

-- A cap on what a scope may use in a period. A hold reserves part of it, a post spends it. `lowered_from`: the highest
-- limit that it had, when that was lowered; what was used before may stand above the new one, nothing is added.
create table budgets (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  scope text not null check (scope in ('organization', 'member', 'virtual_key', 'session', 'agent')),
  scope_id uuid not null,
  unit text not null check (unit in ('usd_micros', 'runs', 'tokens')),
  period text not null check (period in ('once', 'day', 'month', 'billing')),
  period_start timestamptz not null,
  period_end timestamptz,
  limit_amount bigint not null check (limit_amount >= 0),
  lowered_from bigint,
  spent bigint not null default 0 check (spent >= 0),
  held bigint not null default 0 check (held >= 0),
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  check (spent + held <= greatest(limit_amount, lowered_from))
) with (fillfactor = 50);
create unique index budgets_window on budgets (organization_id, scope, scope_id, unit, period, period_start);
select bailiwick_protect('budgets', 'select, insert, update');

-- A pending transfer: reserves `amount` on the debited account until it is posted (at most that), voided or expires.
-- `budget_ids`: budgets that it reserves too, each in the budget's own unit (money: amount; runs: one; tokens: tokens);
-- `posted_*`: what each of those spent when it was posted.
create table holds (
  organization_id uuid not null,
  id uuid not null,
  ledger text not null,
  debit_account_id uuid not null,
  credit_account_id uuid not null,
  amount bigint not null check (amount >= 0),
  tokens bigint not null default 0 check (tokens >= 0),
  budget_ids uuid[] not null default '{}',
  state text not null default 'open' check (state in ('open', 'posted', 'voided', 'expired')),
  posted_amount bigint check (posted_amount between 0 and amount),
  posted_tokens bigint check (posted_tokens between 0 and tokens),
  posted_runs smallint check (posted_runs in (0, 1)),
  kind text not null,
  reference text,
  lease_expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  closed_at timestamptz,
  primary key (organization_id, id)
) partition by range (id);
create index holds_open on holds (lease_expires_at) where state = 'open';
select bailiwick_protect('holds', 'select, insert, update');
insert into partitioned_tables values ('holds');
"""


def upgrade() -> None:
    op.execute(UPGRADE)
