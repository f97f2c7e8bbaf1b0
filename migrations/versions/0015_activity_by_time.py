"""The activity of an audit log is listed without reading the runs between."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

UPGRADE = r"""
-- As for runs: of a log that is nearly all runs, a page of activity would else read them all.
create index audit_entries_activity on audit_entries (organization_id, id) where chain = 'activity';
"""


def upgrade() -> None:
    op.execute(UPGRADE)
