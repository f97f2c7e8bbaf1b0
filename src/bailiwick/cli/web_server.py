"""The web server of an installation: one process that listens and watches, and the worker processes that answer.

Uvicorn on uvloop: a request is parsed on the thread that runs it and handed to no other (docs/decisions/0012). What it
lacks is added here: bounds on the head of a request, and on the time that its body takes; and an answer goes out in one
piece.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from bailiwick.cli.problems import told_in_a_line
from bailiwick.kernel.disconnect import EXTENSION, Disconnect
from bailiwick.settings import Settings, settings

if TYPE_CHECKING:
    from bailiwick.app import Application

MOST_HEAD_BYTES: Final = 64 * 1024
"""Request line and header fields of one request."""
MOST_TARGET_BYTES: Final = 32 * 1024
"""Path and query."""
MOST_HEADER_FIELDS: Final = 100
_KEEP_ALIVE_SECONDS: Final = 75
_HEALTH_SECONDS: Final = 30
_BACKLOG: Final = 2048


class _AnswerTransport(asyncio.Transport):
    """A connection as one answer writes to it: the head goes out with what follows it at once, which takes one system
    call instead of two and wakes the client once; alone when nothing has followed before the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Writes the next piece; the first is the head."""
        if self._head is None:
            self._head = data
            self._loop.call_soon(self._write_head)
        elif self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        else:
            self._transport.write(data)

    def _write_head(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Closes the connection once all is written."""
        self._write_head()
        self._transport.close()


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose head is too large (414, 431), or whose head or body comes too slowly (408)."""

    head_seconds = 30.0
    """From a connection's, or a request's, first moment until its head is whole."""
    _head_bytes = 0
    _is_in_head = True
    _timer: asyncio.TimerHandle | None = None
    _refusal: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._disconnect = Disconnect()
        self._extensions: dict[str, dict[object, object]] = {EXTENSION: {"connection": self._disconnect}}
        self._timer = self.loop.call_later(self.head_seconds, self._refuse, 408)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._forget_timer()
        super().connection_lost(exc)
        self._disconnect.happened()

    def data_received(self, data: bytes) -> None:
        """Takes the next bytes of the connection."""
        if self._refusal is not None:
            return
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
        super().data_received(data)
        if self._refusal is None and self._is_in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refusal = 431 if self.headers else 414
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self._timer is None:
            # Mostly a request comes in one piece, and needs no timer.
            if self._is_in_head:
                self._timer = self.loop.call_later(self.head_seconds, self._refuse, 408)
            elif self.cycle is not None and self.cycle.more_body:
                self._timer = self.loop.call_later(settings().body_timeout_seconds, self._refuse_body)

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head, self._head_bytes = False, 0
        self._forget_timer()
        if len(self.url) > MOST_TARGET_BYTES:
            self._refusal = 414
        elif len(self.headers) > MOST_HEADER_FIELDS:
            self._refusal = 431
        if self._refusal is None:
            super().on_headers_complete()
            self.cycle.transport = _AnswerTransport(self.transport, self.loop)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._forget_timer()
        if self._refusal is None:
            super().on_message_complete()
            if not self.pipeline:  # a large body has paused it; that the client leaves is to be noticed
                self.flow.resume_reading()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        self._forget_timer()
        self._refusal = status
        if self.transport.is_closing():
            return
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _refuse_body(self) -> None:
        if self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408)


class _Supervisor(Multiprocess):
    def __init__(self, config: Config, sockets: list[socket.socket], keep_alive: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._keep_alive = keep_alive
        self._has_started = False

    @property
    def has_failed(self) -> bool:
        """Whether it ends because a worker could not start, as any other would not."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)

    def keep_subprocess_alive(self) -> None:
        """Replaces what has died, twice a second."""
        if self.has_failed:
            self.should_exit.set()
            return
        self._keep_alive()
        # The check of a worker that dies while it starts would wait for an answer until it is over.
        self._has_started = self._has_started or all(process.is_ready(timeout=0) for process in self.processes)
        if self._has_started or not all(process.process.is_alive() for process in self.processes):
            super().keep_subprocess_alive()

    def terminate_all(self) -> None:
        """Tells the workers to stop. Who connects from now on is refused, not kept waiting."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def application() -> Application:
    """The application, for a worker process. What an operator has to put right ends the server, and not in a traceback
    or in one worker after the other."""
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    with told_in_a_line(STARTUP_FAILURE):
        from bailiwick.app import create_app

        return create_app()


def _end_with_the_supervisor() -> None:
    """Stops this worker when its supervisor was killed: nobody else would, and it would go on answering at an address
    that the next start could not have."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)


def run_web_server(configured: Settings, bound: socket.socket, keep_alive: Callable[[], None]) -> None:
    """Listens on a bound socket and runs as many workers as configured until told to stop (SIGTERM, Ctrl-C); one that
    dies is replaced. Workers told to stop take no new request and end those in flight. `keep_alive` is called twice a
    second. Ends the process with status 1 when a worker cannot start."""
    config = Config(
        "bailiwick.cli.web_server:application",
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
        supervisor = _Supervisor(config, [bound], keep_alive)
        supervisor.run()
    if supervisor.has_failed:
        sys.exit(1)
