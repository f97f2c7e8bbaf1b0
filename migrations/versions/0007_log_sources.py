"""Log sources, their events, stored secrets."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

UPGRADE = r"""
select 1;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
