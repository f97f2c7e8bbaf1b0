"""Tenants, subscriptions, Stripe events."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

UPGRADE = r"""
-- An organisation that was provisioned: its plan, its gateway key while it holds one, and the running billing period
-- (start included, end excluded). The row outlives the key.
--   account_id             the key's account, funded with the plan's budget
--   sealed_key             a LiteLLM proxy's key, sealed with the installation key; of our own only hashes are kept
--   granted_micros         granted to the account in this period, less what a smaller plan took back
--   runs_uncounted         runs of this period that the runs budget has not counted: made before it was opened
--   gateway_budget_micros, gateway_period_start    the budget and period that the LiteLLM proxy was last told
create table tenants (
  organization_id uuid primary key references organizations (id),
  id uuid not null,
  plan text not null check (plan in ('free', 'pilot', 'starter', 'pro', 'enterprise')),
  gateway text check (gateway in ('bailiwick', 'litellm')),
  key_id uuid,
  account_id uuid,
  sealed_key bytea,
  sink_account_id uuid not null,
  runs_budget_id uuid not null,
  runs_uncounted integer not null default 0 check (runs_uncounted >= 0),
  granted_micros bigint not null default 0 check (granted_micros >= 0),
  gateway_budget_micros bigint,
  gateway_period_start timestamptz,
  period_start timestamptz not null,
  period_end timestamptz not null check (period_end > period_start),
  period_subscribed boolean not null default false,
  provisioned_at timestamptz,
  deprovisioned_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((key_id is null) = (account_id is null) and (key_id is null) = (gateway is null)),
  check ((sealed_key is not null) = (gateway is not distinct from 'litellm'))
);
create index tenants_period_end on tenants (period_end);
create index tenants_litellm on tenants (organization_id) where gateway = 'litellm';
select bailiwick_protect('tenants', 'select, insert, update');

-- What was begun at a LiteLLM proxy and has no recorded outcome yet: written and committed before the call.
--   issue      a key with alias key_id is being made; past due, the process died, and the key is to be discarded
--   discard    a key that nobody holds is to be deleted
--   revoke     the tenant's key is being deleted; past due, it is deleted again and the record cleared
--   provision  a checkout is owed a key that the gateway did not issue; key_id is the organisation's id
create table gateway_tasks (
  organization_id uuid not null references organizations (id),
  kind text not null check (kind in ('issue', 'discard', 'revoke', 'provision')),
  key_id uuid not null,
  attempts integer not null default 0,
  due_at timestamptz not null,
  created_at timestamptz not null default now(),
  primary key (organization_id, kind, key_id)
);
create index gateway_tasks_due on gateway_tasks (due_at);
select bailiwick_protect('gateway_tasks');

-- What Stripe said of each subscription. A stamp tells when it said so: twice the Unix seconds, plus one unless it was
-- a checkout, which within a second gives way to the subscription's own events. An older event changes nothing that a
-- later one has set. `alive_stamp` is of the latest sign of life, `deleted_stamp` of the end; the later of them counts.
-- `revision` rises with every change: a state that was fetched while it rose is fetched again.
create table subscriptions (
  organization_id uuid not null references organizations (id),
  id text not null,
  customer_id text,
  plan text check (plan in ('free', 'pilot', 'starter', 'pro', 'enterprise')),
  plan_stamp bigint not null default 0,
  status text check (status in ('trialing', 'active', 'past_due', 'canceled', 'unpaid', 'incomplete',
                                'incomplete_expired', 'paused')),
  status_stamp bigint not null default 0,
  period_start timestamptz,
  period_end timestamptz,
  period_stamp bigint not null default 0,
  cancel_at_period_end boolean not null default false,
  cancel_stamp bigint not null default 0,
  first_at bigint not null,
  alive_stamp bigint,
  deleted_stamp bigint,
  revision bigint not null default 0,
  primary key (organization_id, id),
  check ((period_start is null) = (period_end is null))
);
create index subscriptions_id on subscriptions (id);
select bailiwick_protect('subscriptions', 'select, insert, update');

create table stripe_customers (
  id text primary key,
  organization_id uuid not null references organizations (id),
  created_at timestamptz not null default now()
);
select bailiwick_protect_system('stripe_customers');

-- Events received, each once. `waiting`: its customer is not known yet (events may overtake the checkout that names the
-- organisation); its facts are kept, without anything of the customer but the id, and applied once it is.
create table stripe_events (
  id text primary key,
  type text not null,
  created bigint,
  organization_id uuid,
  customer_id text,
  outcome text not null check (outcome in ('applied', 'ignored', 'waiting')),
  facts jsonb,
  received_at timestamptz not null default now(),
  check ((outcome = 'waiting') = (facts is not null))
);
create index stripe_events_waiting on stripe_events (customer_id) where outcome = 'waiting';
create index stripe_events_received on stripe_events (received_at);
select bailiwick_protect_system('stripe_events');
"""


def upgrade() -> None:
    op.execute(UPGRADE)
