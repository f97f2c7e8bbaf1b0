"""Signing in to Google's APIs as a service account."""

from collections.abc import Sequence
from datetime import UTC, datetime

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.calls import Caller, grant_failure
from bailiwick.secrets import GrantFailed, Secret, ServiceAccount, service_account_token


async def service_account_caller(
    session: Outbound,
    provider: str,
    secret: Secret,
    *,
    scopes: Sequence[str],
    now: datetime,
    token_url: str,
    subject: str | None = None,
) -> Caller:
    """A Caller with a fresh token. The secret is a service account key (JSON)."""
    try:
        token = await service_account_token(
            session, ServiceAccount.read(secret), scopes=scopes, now=now, subject=subject, token_url=token_url
        )
    except GrantFailed as failure:
        raise grant_failure(provider, failure) from None
    return Caller(session, provider, secret, Secret(f"Bearer {token.reveal()}"))


def when(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as both Google APIs take it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
