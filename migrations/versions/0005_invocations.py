"""Invocations."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

UPGRADE = r"""
select 1;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
