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
alter type invocation_call drop attribute hold_id;
alter type invocation_settlement drop attribute hold_id;

-- What the owner of a hold will need when it is closed: of an invocation, what was called, who called, and how.
alter table holds add column details jsonb;

set local role bailiwick_system;
update holds h
   set id = v.id, reference = null,
       details = jsonb_build_object('kind', v.kind, 'target_kind', v.target_kind, 'target_name', v.target_name,
                                    'subject', v.subject, 'membership_id', v.membership_id,
                                    'virtual_key_id', v.virtual_key_id, 'session_name', v.session_name)
  from invocations v
 where h.state = 'open' and h.kind = 'invocation' and v.organization_id = h.organization_id
   and v.hold_id = h.id and v.status = 'started';
reset role;
delete from invocations where status = 'started';

alter table invocations alter column status drop default;
revoke update on invocations from bailiwick_app, bailiwick_system;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
