"""Posting over kept HTTP/1.1 connections (RFC 9112), for the calls that are made most: of models and agents.

It does what those need and no more (docs/decisions/0017): no redirects, no cookies, no compression, no proxy. Parsing
is llhttp's (`httptools`), connecting aiohappyeyeballs', and who may be connected to is decided by `resolve`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import httptools
import msgspec
from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

_IDLE_SECONDS = 15.0
"""How long a connection is kept that nobody uses; many servers keep one for little longer."""
_MOST_HEAD_BYTES = 64 * 1024
_MOST_BUFFERED_BYTES = 256 * 1024
"""Of one answer that nobody has read yet; the server is made to wait then."""

Resolve = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]


class BrokenOff(Exception):
    """There is no connection, or it ended before the answer did; the message says how."""


class NotConnected(BrokenOff):
    """There is no connection: nothing was sent."""


class UnusableUrl(ValueError):
    """It is not one of HTTP."""


class _Place(msgspec.Struct, frozen=True):
    """Where to connect to."""

    host: str
    port: int
    is_tls: bool


@lru_cache(maxsize=1024)
def _parsed(url: str) -> tuple[_Place, bytes]:
    """Of a URL: where to connect to, and the first lines of a request. Raises UnusableUrl."""
    try:
        parts = URL(url)
    except ValueError:
        raise UnusableUrl from None
    if parts.scheme not in ("http", "https") or not parts.raw_host or not parts.port:
        raise UnusableUrl
    bracketed = f"[{parts.raw_host}]" if ":" in parts.raw_host else parts.raw_host
    host = bracketed if parts.is_default_port() else f"{bracketed}:{parts.port}"
    lines = (
        f"POST {parts.raw_path_qs} HTTP/1.1",
        f"host: {host}",
        "user-agent: bailiwick",
        "accept: */*",
        "accept-encoding: identity",
    )
    return _Place(parts.raw_host, parts.port, parts.scheme == "https"), _lines(lines)


def _lines(lines: Sequence[str]) -> bytes:
    """Lines of a head. Raises ValueError when one of them has a line end in it."""
    text = "".join([f"{line}\r\n" for line in lines])
    if text.count("\r") != len(lines) or text.count("\n") != len(lines) or "\0" in text:
        raise ValueError("a header field with a line end")
    return text.encode("latin-1")


class Answer:
    """An answer that has begun: its status, its headers (lower-case names; repeated ones joined by commas), and its
    body as it comes. Whoever does not read it to its end must close it."""

    def __init__(self, connection: _Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_begun = False
        self.is_complete = False
        self.error: BaseException | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._connection = connection
        self._loop = loop
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None

    async def readany(self) -> bytes:
        """What has come of the body since; empty at its end. Raises BrokenOff, and TimeoutError at the deadline."""
        while not self._pieces:
            if self.is_complete:
                return b""
            await self.changed()
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        if not self.is_complete:  # else the connection is another call's by now
            self._connection.resume()
        return content

    def close(self) -> None:
        """Hangs up, unless the answer has been received to its end."""
        if not self.is_complete:
            self.failed(BrokenOff("closed"))
            self._connection.abort()

    async def changed(self) -> None:
        """Waits for something to come. Raises as `readany`."""
        self._raise()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        self._raise()

    def _raise(self) -> None:
        """Raises what ended it, once all is read that came before."""
        if self.error is not None and not self._pieces:
            raise self.error

    def received(self, piece: bytes) -> None:
        """Keeps a piece of the body until it is read."""
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > _MOST_BUFFERED_BYTES:
            self._connection.pause()

    def wake(self) -> None:
        """Wakes who waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ended(self) -> None:
        """Notes that nothing more will come."""
        self.is_complete = True
        if self.timer is not None:
            self.timer.cancel()

    def failed(self, error: BaseException) -> None:
        """Notes that nothing more will come, though it should."""
        if self.error is None and not self.is_complete:
            self.error = error
            if self.timer is not None:
                self.timer.cancel()
            self.wake()

    def time_out(self) -> None:
        """Ends it at its deadline."""
        self.failed(TimeoutError())
        self._connection.abort()


class _Connection(asyncio.Protocol):
    """One connection, which has at most one answer under way."""

    def __init__(self, client: HttpClient, place: _Place) -> None:
        self.idle_since = 0.0
        self.is_lost = False
        self._client = client
        self._place = place
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._head_bytes = 0
        self._ends_with_connection = True
        self._is_paused = False

    async def post(self, head: bytes, body: bytes, deadline: float) -> Answer:
        """Sends a request; the answer, once its head is there. Raises BrokenOff and TimeoutError."""
        loop = self._client.loop
        answer = self._answer = Answer(self, loop)
        self._head_bytes = 0
        self._ends_with_connection = True
        if self._transport is None or self.is_lost:
            raise NotConnected("the connection was closed")
        self._transport.write(head + body)
        answer.timer = loop.call_at(deadline, answer.time_out)
        try:
            while not answer.has_begun:
                await answer.changed()
        except BaseException:
            answer.close()
            raise
        return answer

    def pause(self) -> None:
        """Takes no more for now."""
        if not self._is_paused and self._transport is not None and not self.is_lost:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Takes more again."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            if not self.is_lost:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Closes the connection at once."""
        self.is_lost = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._client.opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._client.lost(self, self._place)
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if exc is None and answer.has_begun and self._ends_with_connection:
            answer.ended()
            answer.wake()
        else:
            answer.failed(BrokenOff("the connection was closed" if exc is None else type(exc).__name__))

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nobody has asked anything
            self.abort()
            return
        if not answer.has_begun:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up(answer, "not an answer of HTTP/1.1")
            return
        if not answer.has_begun and self._head_bytes > _MOST_HEAD_BYTES:
            self._give_up(answer, "its head is too large")
        elif answer.has_begun:
            answer.wake()

    def _give_up(self, answer: Answer, reason: str) -> None:
        answer.failed(BrokenOff(reason))
        self.abort()

    # httptools

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        if self._answer is None:  # a second answer to one request: the next call would take it for its own
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, its value trimmed."""
        if self._answer is not None:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            fields = self._answer.headers
            fields[key] = f"{fields[key]}, {text}" if key in fields else text

    def on_headers_complete(self) -> None:
        """The end of the head, of an interim answer (RFC 9110 §15.2) as well."""
        answer = self._answer
        if answer is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            answer.headers.clear()
            return
        fields = answer.headers
        self._ends_with_connection = "content-length" not in fields and "transfer-encoding" not in fields
        if fields.get("content-encoding", "identity") != "identity":
            self._give_up(answer, "it is compressed, which was not asked for")
            return
        answer.status = status
        answer.has_begun = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body, of one chunk at most."""
        if self._answer is not None and self._answer.has_begun:
            self._answer.received(body)

    def on_message_complete(self) -> None:
        """The end of an answer, if that was not an interim one."""
        answer = self._answer
        if answer is None or not answer.has_begun:
            return
        self._answer = None
        answer.ended()
        answer.wake()
        if self._parser.should_keep_alive() and answer.error is None:
            self.resume()
            self._client.keep(self, self._place)
        elif self._transport is not None:
            self.is_lost = True
            self._transport.close()


class HttpClient:
    """Posts over connections that it keeps for further calls. To be used and closed on one event loop.

    `resolve(host, port)` answers the addresses that may be connected to, or raises what the caller of `post` gets.
    """

    def __init__(self, resolve: Resolve, *, tls: ssl.SSLContext | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.opened: set[_Connection] = set()
        self._resolve = resolve
        self._tls = tls
        self._idle: dict[_Place, list[_Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_seconds: float,
        connect_seconds: float,
        sent: Callable[[], None] | None = None,
    ) -> Answer:
        """Posts once; the answer once its head is there, its body unread. `timeout_seconds` bound the whole exchange,
        reading included. `sent` is called when there is a connection for the request.

        Raises UnusableUrl, ValueError for what is no header field, NotConnected when nothing was sent, BrokenOff and
        TimeoutError, and what `resolve` raises.
        """
        place, first = _parsed(url)
        fields = [f"{name}: {value}" for name, value in headers.items()]
        head = first + _lines([*fields, f"content-length: {len(body)}", ""])
        deadline = self.loop.time() + timeout_seconds
        connection = self._kept(place)
        if connection is None:
            try:
                async with asyncio.timeout(min(connect_seconds, timeout_seconds)):
                    connection = await self._connect(place)
            except TimeoutError:
                if self.loop.time() >= deadline:
                    raise
                raise NotConnected("no connection in time") from None
        if sent is not None:
            sent()
        return await connection.post(head, body, deadline)

    def _kept(self, place: _Place) -> _Connection | None:
        """The connection that was used last, of those that were used lately."""
        kept = self._idle.get(place)
        while kept:
            connection = kept.pop()
            if connection.is_lost:
                continue
            if connection.idle_since >= self.loop.time() - _IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self, place: _Place) -> _Connection:
        try:
            addresses = await self._resolve(place.host, place.port)
            sock = await start_connection(addresses, happy_eyeballs_delay=0.25, loop=self.loop)
            tls: dict[str, Any] = {"ssl": self._context(), "server_hostname": place.host} if place.is_tls else {}
            _, connection = await self.loop.create_connection(lambda: _Connection(self, place), sock=sock, **tls)
        except OSError as error:
            raise NotConnected(type(error).__name__) from None
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:  # reading the system's authorities takes some milliseconds
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def keep(self, connection: _Connection, place: _Place) -> None:
        """Keeps a connection whose answer has ended."""
        connection.idle_since = self.loop.time()
        self._idle.setdefault(place, []).append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(_IDLE_SECONDS, self._close_old)

    def lost(self, connection: _Connection, place: _Place) -> None:
        """Forgets a connection that was closed."""
        self.opened.discard(connection)
        kept = self._idle.get(place)
        if kept is not None and connection in kept:
            kept.remove(connection)

    def _close_old(self) -> None:
        """Closes what nobody has used for long, and looks again as long as something is kept."""
        before = self.loop.time() - _IDLE_SECONDS
        for place, kept in list(self._idle.items()):
            for connection in [one for one in kept if one.idle_since <= before]:
                connection.abort()
            self._idle[place] = [one for one in kept if one.idle_since > before]
            if not self._idle[place]:
                del self._idle[place]
        self._sweep = self.loop.call_later(_IDLE_SECONDS, self._close_old) if self._idle else None

    async def close(self) -> None:
        """Closes every connection, those in use too."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for connection in list(self.opened):
            connection.abort()
        await asyncio.sleep(0)  # lets the transports close before the loop ends
