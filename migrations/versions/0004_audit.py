"""Audit log, tree and checkpoints."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

UPGRADE = r"""
-- The audit log: what happened, in order (`sequence` 0, 1, 2, ... of each organisation), each entry linked to the one
-- before it in its chain by SHA-256. Rows are made by audit_append() alone; no role may change or remove one.
create table audit_entries (
  organization_id uuid not null,
  id uuid not null,
  sequence bigint not null check (sequence >= 0),
  chain text not null check (chain in ('runs', 'activity')),
  prev_hash bytea not null,
  row_hash bytea not null,
  body text not null,
  -- Read out of the hashed body by the database itself, for indexes: row-level security keeps the planner from using an
  -- index over `body::json ->> 'action'`, which is not leakproof.
  action text generated always as (case when chain = 'activity' then body::json ->> 'action' end) stored,
  actor text generated always as (case when chain = 'activity' then body::json ->> 'actor' end) stored,
  agent_id text generated always as (case when chain = 'runs' then body::json ->> 'agent_id' end) stored,
  primary key (organization_id, id)
) partition by range (id);
create index audit_entries_sequence on audit_entries (organization_id, sequence);
create index audit_entries_runs on audit_entries (organization_id, id) where chain = 'runs';
create index audit_entries_agent on audit_entries (organization_id, agent_id, id) where agent_id is not null;
create index audit_entries_action on audit_entries (organization_id, action, id) where action is not null;
create index audit_entries_actor on audit_entries (organization_id, actor, id) where actor is not null;
select bailiwick_protect('audit_entries', 'select');
grant insert on audit_entries to bailiwick_system;
create trigger audit_entries_append_only before update or delete on audit_entries
  for each row execute function bailiwick_refuse_change();
create trigger audit_entries_no_truncate before truncate on audit_entries
  for each statement execute function bailiwick_refuse_change();
insert into partitioned_tables values ('audit_entries');

-- Where each log ends. Locked to append, until the appending transaction ends: so `sequence` has no gaps.
create table audit_heads (
  organization_id uuid primary key,
  size bigint not null default 0 check (size >= 0),
  runs_hash bytea not null default decode(repeat('00', 32), 'hex'),
  activity_hash bytea not null default decode(repeat('00', 32), 'hex')
) with (fillfactor = 50);
select bailiwick_protect('audit_heads', 'select');
grant insert, update on audit_heads to bailiwick_system;

-- How far the Merkle tree over each log has grown, and up to where it is signed.
create table audit_trees (
  organization_id uuid primary key,
  size bigint not null default 0 check (size >= 0),
  signed_size bigint check (signed_size <= size)
) with (fillfactor = 50);
select bailiwick_protect('audit_trees', 'select, insert, update');

-- The tree's hashes, 256 to a tile (C2SP tlog-tiles); derived from audit_entries, and checked against them.
create table audit_tree_tiles (
  organization_id uuid not null,
  level smallint not null check (level >= 0),
  index bigint not null check (index >= 0),
  hashes bytea not null check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0),
  primary key (organization_id, level, index)
);
select bailiwick_protect('audit_tree_tiles', 'select, insert, update');

-- Ed25519 keys that sign checkpoints; the private half is sealed with the installation key.
create table audit_signing_keys (
  organization_id uuid not null,
  key_id bytea not null check (length(key_id) = 4),
  public_key bytea not null check (length(public_key) = 32),
  sealed_private_key bytea not null,
  created_at timestamptz not null default now(),
  retired_at timestamptz,
  primary key (organization_id, key_id)
);
create unique index audit_signing_keys_active on audit_signing_keys (organization_id) where retired_at is null;
select bailiwick_protect('audit_signing_keys', 'select, insert, update');

-- Signed heads of the log, as notes (C2SP tlog-checkpoint). Never changed.
create table audit_checkpoints (
  organization_id uuid not null,
  size bigint not null check (size >= 0),
  root bytea not null check (length(root) = 32),
  key_id bytea not null,
  note text not null,
  created_at timestamptz not null default now(),
  primary key (organization_id, size)
);
select bailiwick_protect('audit_checkpoints', 'select, insert');
create trigger audit_checkpoints_append_only before update or delete on audit_checkpoints
  for each row execute function bailiwick_refuse_change();
"""


def upgrade() -> None:
    op.execute(UPGRADE)
