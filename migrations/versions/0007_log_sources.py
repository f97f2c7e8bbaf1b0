"""Log sources, their events, stored secrets."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

UPGRADE = r"""
-- Secrets that an organisation keeps here, sealed with a key derived from the installation key; `key_id` tells which.
create table stored_secrets (
  organization_id uuid not null references organizations (id),
  name text not null check (name ~ '^[A-Za-z0-9._-]{1,255}$'),
  sealed bytea not null,
  key_id text not null,
  version integer not null default 1 check (version > 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, name)
);
select bailiwick_protect('stored_secrets');

-- `claim` is the fetch that is under way, until `claimed_until`; clearing it makes that fetch's outcome void.
create table log_sources (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  source_type text not null check (source_type in ('m365_unified_audit', 'google_workspace_admin', 'gcp_cloud_audit',
                                                   'splunk_hec', 'azure_sentinel', 'custom_webhook')),
  display_name text not null check (length(display_name) between 1 and 200),
  config jsonb not null check (jsonb_typeof(config) = 'object'),
  secret_ref text check (secret_ref ~ '^[A-Za-z0-9_-]{1,255}$'),
  enabled boolean not null default true,
  cursor jsonb,
  last_fetched_at timestamptz,
  fetch_error text,
  failures integer not null default 0 check (failures >= 0),
  due_at timestamptz not null default now(),
  claim uuid,
  claimed_until timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  check ((claim is null) = (claimed_until is null))
);
create unique index log_sources_id on log_sources (id);
create index log_sources_due on log_sources (due_at) where enabled and source_type <> 'custom_webhook';
select bailiwick_protect('log_sources');

-- Events of log sources. The id is made of the event's own time and a digest of source and event id, so that ids sort
-- as the events happened and the same event has the same id.
create table log_events (
  organization_id uuid not null,
  id uuid not null,
  source_id uuid not null,
  event_id text not null check (length(event_id) between 1 and 255),
  at timestamptz not null,
  action text not null,
  actor text not null,
  target text not null,
  outcome text not null check (outcome in ('success', 'failure', 'unknown')),
  attributes jsonb not null,
  received_at timestamptz not null default now(),
  primary key (organization_id, id)
) partition by range (id);
create index log_events_event on log_events (organization_id, source_id, event_id);
select bailiwick_protect('log_events', 'select, insert, delete');
insert into partitioned_tables values ('log_events');
"""


def upgrade() -> None:
    op.execute(UPGRADE)
