"""What audit entries are found by is written with them, and a head remembers the hash before its last."""

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

-- The hash that the last entry links to, so that one statement moves a head on and tells it.
alter table audit_heads add column linked_hash bytea;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
