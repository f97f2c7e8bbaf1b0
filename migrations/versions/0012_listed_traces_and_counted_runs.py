"""Counts of traces list the few of an hour, and count completed agent runs with their tokens."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

UPGRADE = r"""
-- Functions are applied after this, as they stand; this one has another argument now.
drop function if exists invocations_count_traces(uuid[], uuid[], text[], text[], text[], text[], uuid[]);

-- `runs`: how many of the traces are completed agent runs; `run_tokens`: their tokens, in and out. `ids`: the traces
-- themselves, in a row of one hour that counts few.
alter table trace_counts
  add column runs bigint not null default 0,
  add column run_tokens bigint not null default 0,
  add column ids uuid[];

set local role bailiwick_system;
update trace_counts c
   set runs = of_row.runs, run_tokens = of_row.run_tokens, ids = of_row.ids
  from (select v.organization_id, span_hours,
               ('x' || left(replace(v.id::text, '-', ''), 12))::bit(48)::bigint / (3600000 * span_hours) * span_hours
                 as start_hour,
               v.status, coalesce(v.decision, 'BYPASS') as decision,
               left(coalesce(v.requested_model, v.target_name), 256) as requested_model,
               left(coalesce(v.model, ''), 256) as routed_model,
               coalesce(v.virtual_key_id, '00000000-0000-0000-0000-000000000000') as virtual_key_id,
               count(*) filter (where v.kind = 'agent_run' and v.status = 'completed') as runs,
               coalesce(sum(v.input_tokens + v.output_tokens)
                          filter (where v.kind = 'agent_run' and v.status = 'completed'), 0)::bigint as run_tokens,
               case when span_hours = 1 and count(*) <= 64 then array_agg(v.id) end as ids
          from invocations v cross join (values (1), (24)) as span (span_hours)
         where v.status <> 'started' group by 1, 2, 3, 4, 5, 6, 7, 8) as of_row
 where c.organization_id = of_row.organization_id and c.span_hours = of_row.span_hours
   and c.start_hour = of_row.start_hour and c.status = of_row.status and c.decision = of_row.decision
   and c.requested_model = of_row.requested_model and c.routed_model = of_row.routed_model
   and c.virtual_key_id = of_row.virtual_key_id;
reset role;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
