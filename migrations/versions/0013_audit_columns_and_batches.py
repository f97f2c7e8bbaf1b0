"""What audit entries are found by is written with them, a head remembers the hash before its last, batches are rows."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

UPGRADE = r"""
-- Functions are applied after this, as they stand; these have other arguments now.
drop function if exists audit_append_one(uuid, uuid, text, text);
drop function if exists invocations_admit;
drop function if exists invocations_admit_one;
drop function if exists invocations_settle;
drop function if exists invocations_settle_one;

-- Reading them out of the body costs more than all else of an entry: two JSON parsers for each column. Whoever appends
-- knows them; the verification of the stored log compares them with the body.
alter table audit_entries alter column action drop expression if exists;
alter table audit_entries alter column actor drop expression if exists;
alter table audit_entries alter column agent_id drop expression if exists;

-- The items of batches: a row of one array, where an array for each of their columns takes longer at both ends.
create type invocation_caller as (
  organization_id uuid, version bigint, session_id uuid, membership_id uuid, credential_key_id uuid,
  virtual_key_id uuid, account_id uuid, sink_id uuid, subject text, budget_ids uuid[]);
create type invocation_call as (
  caller integer, amount bigint, tokens bigint, id uuid, hold_id uuid, kind text, target_kind text, target_name text,
  session_name text);
create type invocation_settlement as (
  organization_id uuid, id uuid, hold_id uuid, status text, decision text, error_code text, provider text, model text,
  input_tokens bigint, output_tokens bigint, cost bigint, latency integer, first_token integer, findings text,
  input_hash text, output_hash text, audit_id uuid, audit_chain text, audit_body text, audit_action text,
  audit_actor text, event_payload text, run_agent text, requested_model text, cached_tokens bigint,
  reasoning_tokens bigint, cache_hit boolean, cache_savings bigint, raw_cost bigint, decision_id uuid, context text);

-- The hash that the last entry links to, so that one statement moves a head on and tells it.
alter table audit_heads add column linked_hash bytea;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
