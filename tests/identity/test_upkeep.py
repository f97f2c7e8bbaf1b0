"""What has had its use is removed, and nothing else."""

from __future__ import annotations

import psycopg
import pytest

from bailiwick import identity
from bailiwick.identity import Founder
from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import Unauthenticated

_TABLES = ("sessions", "refresh_tokens", "email_verifications", "mails")


def _counts(connection: psycopg.Connection[tuple[int]]) -> list[int]:
    return [
        connection.execute(f"select count(*) from {table}".encode()).fetchall()[0][0]  # noqa: S608
        for table in _TABLES
    ]


async def test_ended_sessions_and_old_tokens_go_and_live_ones_stay(db: Database) -> None:
    old = await identity.sign_up(Founder(email="old@example.com", password="passw0rd", name="Old"))
    await identity.refresh(old.tokens.refresh_token)
    live = await identity.sign_up(Founder(email="live@example.com", password="passw0rd", name="Live"))
    with psycopg.connect(db.url, autocommit=True) as connection:
        await identity.delete_expired()
        assert _counts(connection) == [2, 3, 2, 2]
        of_old = (old.member.user_id,)
        connection.execute("update sessions set expires_at = now() - interval '31 days' where user_id = %s", of_old)
        connection.execute(
            "update refresh_tokens r set expires_at = now() - interval '8 days' from sessions s"
            " where s.id = r.session_id and s.user_id = %s",
            of_old,
        )
        connection.execute(
            "update email_verifications set expires_at = now() - interval '8 days' where user_id = %s", of_old
        )
        connection.execute("update mails set sent_at = now() - interval '31 days' where recipient = 'old@example.com'")
        await identity.delete_expired()
        assert _counts(connection) == [1, 1, 1, 1]
    with pytest.raises(Unauthenticated):
        await identity.authenticate(old.tokens.access_token)
    await identity.refresh(live.tokens.refresh_token)
