"""Outgoing mail: written in the transaction of what it tells of; sent after its commit, and again until it is taken.

Without `BAILIWICK_SMTP_URL` mail stays here and is read with `bailiwick mail`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.tables import Mail
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import after_commit, system_transaction
from bailiwick.kernel.ids import uuid7
from bailiwick.kernel.runtime import runtime

_MOST_ATTEMPTS = 12
_LONGEST_WAIT = timedelta(hours=6)
_SEND_SECONDS = 30
_CLAIM = timedelta(minutes=2)
_log = structlog.get_logger(__name__)
_running: set[asyncio.Task[int]] = set()


async def queue_mail(session: AsyncSession, *, recipient: str, subject: str, body: str) -> None:
    """Writes a mail within a system transaction; it is sent right after the commit when a mail server is configured."""
    session.add(Mail(id=uuid7(), recipient=recipient, subject=subject, body=body))
    await session.flush()
    if runtime().settings.smtp_url is not None:
        after_commit(session, _send_soon)


async def _send_soon() -> None:
    # Nobody waits for the mail server; what this misses, the background worker sends.
    task = asyncio.create_task(deliver_mails())
    _running.add(task)
    task.add_done_callback(_running.discard)


async def mails_under_way() -> None:
    """Waits for the sending that requests have begun: before the process stops."""
    if _running:
        await asyncio.wait(set(_running))


def _message(mail: Mail) -> EmailMessage:
    message = EmailMessage()
    message["From"] = runtime().settings.mail_from
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = make_msgid(idstring=mail.id.hex, domain="bailiwick")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    return message


async def _hand_over(mail: Mail, smtp_url: str) -> None:
    server = urlsplit(smtp_url)
    tls = server.scheme == "smtps"
    await aiosmtplib.send(
        _message(mail),
        hostname=server.hostname,
        port=server.port or (465 if tls else 587),
        username=unquote(server.username) if server.username else None,
        password=unquote(server.password) if server.password else None,
        use_tls=tls,
        timeout=_SEND_SECONDS,
    )


async def _claim() -> Mail | None:
    """The mail that is due first, put off for as long as sending it may take: whoever dies leaves it to the next."""
    async with system_transaction(CrossTenantUse.MAIL) as session:
        due = (
            select(Mail.id)
            .where(Mail.sent_at.is_(None), Mail.next_attempt_at <= now(), Mail.attempts < _MOST_ATTEMPTS)
            .order_by(Mail.next_attempt_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return await session.scalar(
            update(Mail)
            .where(Mail.id.in_(due))
            .values(attempts=Mail.attempts + 1, next_attempt_at=now() + _CLAIM)
            .returning(Mail)
        )


async def _deliver_one(smtp_url: str) -> bool:
    """Sends the mail that is due first; False when none is."""
    mail = await _claim()
    if mail is None:
        return False
    outcome: dict[str, object]
    try:
        await _hand_over(mail, smtp_url)
        outcome = {"sent_at": now(), "body": "", "last_error": None}
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        wait = min(timedelta(seconds=15) * 2 ** (mail.attempts - 1), _LONGEST_WAIT)
        reason = f"{type(error).__name__}: {error}"[:500].replace("\0", "")
        outcome = {"last_error": reason, "next_attempt_at": now() + wait}
        _log.warning("mail_not_sent", mail=str(mail.id), attempts=mail.attempts, error=type(error).__name__)
    async with system_transaction(CrossTenantUse.MAIL) as session:
        await session.execute(update(Mail).where(Mail.id == mail.id).values(outcome))
    return True


async def deliver_mails() -> int:
    """Sends what is due, one after the other; how many were tried. The background worker calls it in intervals."""
    smtp_url = runtime().settings.smtp_url
    tried = 0
    while smtp_url is not None and tried < 100 and await _deliver_one(smtp_url.get_secret_value()):
        tried += 1
    return tried


async def list_mails(*, limit: int = 50) -> list[Mail]:
    """The latest mails, newest first, for the operator."""
    async with system_transaction(CrossTenantUse.MAIL) as session:
        return list(await session.scalars(select(Mail).order_by(Mail.id.desc()).limit(limit)))
