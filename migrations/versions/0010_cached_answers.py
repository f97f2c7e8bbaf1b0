"""Answers of models that are repeated to exactly the same request."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

UPGRADE = r"""
-- `request_hash`: SHA-256 of all that decides the answer. `content`: what went out, sealed. The rest is what the call
-- used then. A row is good until `expires_at`, or sooner when the key's `cache_seconds` was lowered since.
create table cached_answers (
  organization_id uuid not null,
  virtual_key_id uuid not null,
  request_hash bytea not null check (length(request_hash) = 32),
  kind text not null,
  is_stream boolean not null,
  content bytea not null,
  provider text not null,
  model text not null,
  input_tokens bigint not null,
  output_tokens bigint not null,
  cached_tokens bigint,
  reasoning_tokens bigint,
  cost_micros bigint not null check (cost_micros >= 0),
  created_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (organization_id, virtual_key_id, request_hash),
  foreign key (organization_id, virtual_key_id) references virtual_keys on delete cascade
);
alter table cached_answers alter column content set storage external;  -- what is sealed does not compress
create index cached_answers_expiry on cached_answers (expires_at);
select bailiwick_protect('cached_answers');

create function cached_answers_forget() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
  delete from cached_answers where organization_id = new.organization_id and virtual_key_id = new.id;
  return null;
end $$;
create trigger cached_answers_forget after update of cache_seconds, revoked_at, deleted_at on virtual_keys
  for each row when (
    (new.cache_seconds = 0 and old.cache_seconds > 0)
    or (new.revoked_at is not null and old.revoked_at is null)
    or (new.deleted_at is not null and old.deleted_at is null))
  execute function cached_answers_forget();
"""


def upgrade() -> None:
    op.execute(UPGRADE)
