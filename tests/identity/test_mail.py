"""Outgoing mail: stored without a mail server; handed over, and tried again, with one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path

import psycopg
import pytest
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import SMTP

from bailiwick import identity
from bailiwick.kernel.database import Database
from bailiwick.settings import Settings
from tests.api.servers import kept_port


class Mailbox(MessageHandler):
    """A mail server's handler that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.received.append(message)


class MailServer:
    """A mail server on this loop, which can go away and come back at the same port."""

    def __init__(self, port: int) -> None:
        self.mailbox = Mailbox()
        self.port = port
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(self.mailbox, hostname="localhost"), "127.0.0.1", self.port
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


@pytest.fixture
async def mail_server() -> AsyncIterator[MailServer]:
    with kept_port() as port:
        server = MailServer(port)
        await server.start()
        yield server
        await server.stop()


async def _sign_up() -> None:
    await identity.sign_up(identity.Founder(email="ann@example.com", password="passw0rd", name="Ann Ö"))


async def test_without_a_mail_server_mail_is_kept_to_be_read(db: Database) -> None:
    await _sign_up()
    assert await identity.deliver_mails() == 0
    (mail,) = await identity.list_mails()
    assert mail.recipient == "ann@example.com"
    assert "/verify-email?token=" in mail.body
    assert mail.sent_at is None


class TestWithMailServer:
    """With `BAILIWICK_SMTP_URL` set."""

    @pytest.fixture
    def settings_for_test(self, tmp_path: Path, mail_server: MailServer) -> Settings:
        url = f"smtp://127.0.0.1:{mail_server.port}"
        return Settings.model_validate({"data_dir": tmp_path, "smtp_url": url, "mail_from": "Ops <ops@example.com>"})

    async def test_mail_goes_out_after_the_commit_and_leaves_no_token_behind(
        self, db: Database, mail_server: MailServer
    ) -> None:
        await _sign_up()
        await identity.mails_under_way()
        (message,) = mail_server.mailbox.received
        assert message["To"] == "ann@example.com"
        assert message["From"] == "Ops <ops@example.com>"
        payload = message.get_payload(decode=True)
        assert isinstance(payload, bytes)
        assert "/verify-email?token=" in payload.decode()
        (mail,) = await identity.list_mails()
        assert (mail.sent_at is not None, mail.body, mail.attempts) == (True, "", 1)
        assert await identity.deliver_mails() == 0

    async def test_a_mail_server_that_is_away_gets_it_later(self, db: Database, mail_server: MailServer) -> None:
        await mail_server.stop()
        await _sign_up()
        await identity.mails_under_way()
        (mail,) = await identity.list_mails()
        assert (mail.sent_at, mail.attempts) == (None, 1)
        assert mail.last_error
        assert await identity.deliver_mails() == 0, "it waits before the next attempt"
        with psycopg.connect(db.url, autocommit=True) as connection:
            connection.execute("update mails set next_attempt_at = now()")
        await mail_server.start()
        assert await identity.deliver_mails() == 1
        assert len(mail_server.mailbox.received) == 1
