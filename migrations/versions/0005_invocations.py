"""Invocations and the counts of their lists."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

UPGRADE = r"""
-- One governed call of an agent or a model: written as `started` at admission, completed at settlement.
create table invocations (
  organization_id uuid not null,
  id uuid not null,
  kind text not null,
  target_kind text not null,
  target_name text not null,
  subject text not null,
  membership_id uuid,
  virtual_key_id uuid,
  session_name text,
  hold_id uuid,
  status text not null default 'started'
    check (status in ('started', 'completed', 'blocked', 'failed', 'cancelled', 'lost', 'refused')),
  decision text check (decision in ('BYPASS', 'ENHANCE', 'HIJACK', 'KILL')),
  error_code text,
  provider text,
  model text,
  input_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  cost_micros bigint not null default 0,
  latency_ms integer,
  first_token_ms integer,
  findings jsonb,
  input_hash text,
  output_hash text,
  audit_id uuid,
  finished_at timestamptz,
  primary key (organization_id, id)
) partition by range (id);
create index invocations_session on invocations (organization_id, session_name, id) where session_name is not null;
select bailiwick_protect('invocations', 'select, insert, update');
insert into partitioned_tables values ('invocations');

-- How many audited runs each list of runs has: kept by settlement, so that a page's total costs one row.
create table run_counts (
  organization_id uuid not null references organizations (id),
  agent_id text not null,
  runs bigint not null,
  primary key (organization_id, agent_id)
) with (fillfactor = 50);
select bailiwick_protect('run_counts', 'select, insert, update');
"""


def upgrade() -> None:
    op.execute(UPGRADE)
