"""Limits of virtual keys: money, requests and tokens per minute; rotation; usage by key."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

UPGRADE = r"""
-- `limits_of`: the first of a chain of rotations, whose budgets the later keys go on using; null: the key itself.
-- `replaced_by`: the key that a rotation put in its place. `budget_micros` null: no ceiling.
alter table virtual_keys
  add column limits_of uuid,
  add column replaced_by uuid,
  add column budget_micros bigint check (budget_micros >= 0),
  add column budget_period text not null default 'month' check (budget_period in ('day', 'month', 'once')),
  add column rate_limit_tpm integer check (rate_limit_tpm > 0),
  add column cache_seconds integer not null default 0 check (cache_seconds >= 0),
  add column department_id text;
create index virtual_keys_membership on virtual_keys (organization_id, membership_id, id) where deleted_at is null;
create index virtual_keys_limits on virtual_keys (organization_id, limits_of) where limits_of is not null;

-- A limit per minute is one row, whose window begins anew in place with the first use after its end: there is nothing
-- to clean up. A hold counts in the window that it was placed in (`holds.created_at >= period_start`). `requests` count
-- as spent once they are admitted, whatever becomes of them.
alter table budgets drop constraint budgets_unit_check, drop constraint budgets_period_check;
alter table budgets
  add constraint budgets_unit_check check (unit in ('usd_micros', 'runs', 'tokens', 'requests')),
  add constraint budgets_period_check check (period in ('once', 'minute', 'day', 'month', 'billing')),
  add constraint budgets_minute_check check (period <> 'minute' or period_end is not null),
  add constraint budgets_requests_check check (unit <> 'requests' or (period = 'minute' and held = 0));
create unique index budgets_minute on budgets (organization_id, scope, scope_id, unit) where period = 'minute';

create index invocations_virtual_key on invocations (organization_id, virtual_key_id, id)
  where virtual_key_id is not null;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
