"""An invocation's row is written once, when it has ended; until then its hold is all there is of it."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"

UPGRADE = r"""
-- Functions are applied after this, as they stand; these have other arguments now.
drop function if exists invocations_admit;
drop function if exists invocations_admit_same;
drop function if exists invocations_settle;
drop function if exists invocations_settle_one;

-- A hold has the id of its invocation.
alter type invocation_call drop attribute hold_id, add attribute context text;
alter type invocation_settlement drop attribute hold_id;

-- What the owner of a hold will need when it is closed: of an invocation, what was called, who called, and how.
alter table holds add column details jsonb;

set local role bailiwick_system;
-- What is under way without an open hold ends here: nobody else would end it.
with lost as (
  update invocations v
     set status = 'lost', decision = 'KILL', error_code = 'LEASE_EXPIRED', finished_at = clock_timestamp()
   where v.status = 'started'
     and not exists (select from holds h where h.organization_id = v.organization_id and h.id = v.hold_id
                        and h.state = 'open' and h.kind = 'invocation')
  returning v.organization_id, v.id, v.target_name, v.virtual_key_id)
insert into trace_counts as c (organization_id, span_hours, start_hour, status, decision, requested_model, routed_model,
                               virtual_key_id, traces)
select organization_id, span_hours,
       ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / (3600000 * span_hours) * span_hours, 'lost',
       'KILL', left(target_name, 256), '', coalesce(virtual_key_id, '00000000-0000-0000-0000-000000000000'), count(*)
  from lost cross join (values (1), (24)) as span (span_hours) group by 1, 2, 3, 4, 5, 6, 7, 8
on conflict on constraint trace_counts_pkey do update set traces = c.traces + excluded.traces, ids = null;

update holds h
   set id = v.id, reference = null,
       details = jsonb_build_object('kind', v.kind, 'target_kind', v.target_kind, 'target_name', v.target_name,
                                    'subject', v.subject, 'membership_id', v.membership_id,
                                    'virtual_key_id', v.virtual_key_id, 'session_name', v.session_name)
  from invocations v
 where h.state = 'open' and h.kind = 'invocation' and v.organization_id = h.organization_id
   and v.hold_id = h.id and v.status = 'started';
-- A hold without a row is one for something else: what it is for, nobody can tell.
update holds set kind = 'unknown' where state = 'open' and kind = 'invocation' and details is null;
reset role;
delete from invocations where status = 'started';

alter table invocations alter column status drop default;
revoke update on invocations from bailiwick_app, bailiwick_system;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
