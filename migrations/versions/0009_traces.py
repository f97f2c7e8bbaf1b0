"""What traces show of an invocation, the counts of their list, and kill switches."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

UPGRADE = r"""
alter table invocations
  add column requested_model text,
  add column cached_tokens bigint,
  add column reasoning_tokens bigint,
  add column cache_hit boolean,
  add column cache_savings_micros bigint,
  add column raw_cost_micros bigint,
  add column decision_id uuid,
  add column context jsonb;

-- How many ended invocations began in each hour and in each day (`span_hours` 1 and 24; `start_hour` counts from the
-- Unix epoch, by their id), by all that the list of traces is filtered by. Kept by whoever ends an invocation, so that
-- a total is a short sum and a page is found without reading the pages before it. `routed_model` is '' and
-- `virtual_key_id` zero where there is none.
create table trace_counts (
  organization_id uuid not null,
  span_hours smallint not null check (span_hours in (1, 24)),
  start_hour integer not null,
  status text not null,
  decision text not null,
  requested_model text not null,
  routed_model text not null,
  virtual_key_id uuid not null,
  traces bigint not null,
  primary key (organization_id, span_hours, start_hour, status, decision, requested_model, routed_model, virtual_key_id)
) with (fillfactor = 50);
select bailiwick_protect('trace_counts', 'select, insert, update');

-- A switch stops what it names until it is lifted: `target` is a key's public id (and `key_id` its UUID), an agent's
-- name, or null for the whole organisation.
create table kill_switches (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  scope text not null check (scope in ('key', 'agent', 'organization')),
  target text,
  key_id uuid,
  reason text not null,
  engaged_by text not null,
  engaged_at timestamptz not null default now(),
  lifted_by text,
  lifted_at timestamptz,
  primary key (organization_id, id),
  check ((target is null) = (scope = 'organization') and (key_id is not null) = (scope = 'key')),
  check ((lifted_at is null) = (lifted_by is null))
);
create unique index kill_switches_engaged on kill_switches (organization_id, scope, target)
  nulls not distinct where lifted_at is null;
select bailiwick_protect('kill_switches', 'select, insert, update');

-- Switches that stop everything on this installation; every organisation may see them.
create table installation_kill_switches (
  id uuid primary key,
  reason text not null,
  engaged_by text not null,
  engaged_at timestamptz not null default now(),
  lifted_by text,
  lifted_at timestamptz,
  check ((lifted_at is null) = (lifted_by is null))
);
create unique index installation_kill_switches_engaged on installation_kill_switches ((true)) where lifted_at is null;
select bailiwick_protect_system('installation_kill_switches', 'select, insert, update');
create policy visible on installation_kill_switches for select to bailiwick_app using (true);
grant select on installation_kill_switches to bailiwick_app;

-- Functions are applied after this, as they stand; these have other arguments now.
drop function if exists invocations_settle(
  uuid[], uuid[], uuid[], uuid[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[], integer[],
  integer[], text[], text[], text[], uuid[], text[], text[], uuid[], text[], text[], text[]);

set local role bailiwick_system;
insert into trace_counts
select organization_id, span_hours,
       ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / (3600000 * span_hours) * span_hours, status,
       coalesce(decision, 'BYPASS'), left(target_name, 256), left(coalesce(model, ''), 256),
       coalesce(virtual_key_id, '00000000-0000-0000-0000-000000000000'), count(*)
  from invocations cross join (values (1), (24)) as span (span_hours)
 where status <> 'started' group by 1, 2, 3, 4, 5, 6, 7, 8;
reset role;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
