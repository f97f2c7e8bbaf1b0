"""Removes what has had its use: expired tokens, ended sessions, sent mail."""

from __future__ import annotations

from sqlalchemy import text

from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction

# Ended sessions stay for a while: a stolen refresh token that comes back late is still told from an unknown one.
_KEPT = (
    ("email_verifications", "expires_at < now() - interval '7 days'"),
    ("refresh_tokens", "expires_at < now() - interval '7 days'"),
    (
        "sessions",
        "coalesce(revoked_at, expires_at) < now() - interval '30 days'"
        " and not exists (select from refresh_tokens r where r.session_id = sessions.id)",
    ),
    ("mails", "sent_at < now() - interval '30 days'"),
)


async def delete_expired() -> None:
    """Safe to run anywhere, any time; once an hour is plenty."""
    for table, had_its_use in _KEPT:
        async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
            await session.execute(text(f"delete from {table} where {had_its_use}"))  # noqa: S608  constants above
