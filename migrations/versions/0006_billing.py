"""Tenants, subscriptions, Stripe events."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

UPGRADE = r"""
select 1;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
