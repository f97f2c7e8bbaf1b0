"""The web server of an installation: one process that listens and watches, and the worker processes that answer.

Uvicorn on uvloop: the request is parsed on the thread that runs it, so that none is handed from thread to thread
(docs/decisions/0015). What it lacks is added here: bounds on the time and the size of a request's head.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from bailiwick.settings import Settings

MOST_HEAD_BYTES: Final = 64 * 1024
"""Request line and header fields of one request."""
HEAD_SECONDS: Final = 30.0
"""From a connection's, or a request's, first moment until its head is whole."""
_KEEP_ALIVE_SECONDS: Final = 75
_HEALTH_SECONDS: Final = 30
_BACKLOG: Final = 2048


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose head is too large (431) or comes too slowly (408)."""

    _head_bytes = 0
    _is_in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes the next bytes of a request."""
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        super().on_message_begin()
        self._is_in_head = True
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._end_head()
        super().on_headers_complete()

    def _end_head(self) -> None:
        self._is_in_head, self._head_bytes = False, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int) -> None:
        self._end_head()
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()


def run_web_server(configured: Settings, bound: socket.socket) -> None:
    """Listens on a bound socket and runs as many workers as configured until told to stop (SIGTERM, Ctrl-C); one that
    dies is replaced. Workers told to stop take no new request and end those in flight."""
    config = Config(
        "bailiwick.app:create_app",
        factory=True,
        interface="asgi3",
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="on",
        workers=configured.workers,
        log_config=None,
        log_level="info" if configured.access_log else "warning",
        access_log=configured.access_log,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=configured.shutdown_seconds,
        timeout_worker_healthcheck=_HEALTH_SECONDS,
    )
    with bound:
        Multiprocess(config, sockets=[bound]).run()
