"""The load generator's loop: non-blocking sockets under one poller, as little work per request as Python allows.

Run as `python -m bailiwick.bench.closed_loop`: a LoadPlan in JSON on standard input, a LoadResult on standard output.
"""

import gc
import re
import select
import socket
import sys
import time
from array import array
from collections import Counter
from itertools import cycle

import msgspec

from bailiwick.bench.load import LoadPlan, LoadResult, Quantiles

RECEIVE_BYTES = 262_144
UNTIL_CLOSED = -1
CHUNKED = -2
MOST_ERRORS = 200
"""A load that fails this often is stopped: what it would measure is the failure."""

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
TRANSFER_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
CONNECTION_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class MalformedError(Exception):
    """The bytes received are no HTTP/1.1 response."""


class Head:
    """What the loop must know of a response's head. `length` is a byte count, CHUNKED or UNTIL_CLOSED."""

    __slots__ = ("closes", "length", "status")

    def __init__(self, raw: bytes) -> None:
        if not raw.startswith(b"HTTP/1.") or not raw[9:12].isdigit():
            raise MalformedError
        self.status = int(raw[9:12])
        self.closes = CONNECTION_CLOSE.search(raw) is not None
        if TRANSFER_CHUNKED.search(raw):
            self.length = CHUNKED
        elif match := CONTENT_LENGTH.search(raw):
            self.length = int(match[1])
        else:
            self.length = 0 if self.status in (204, 304) else UNTIL_CLOSED


class Connection:
    """One keep-alive connection with at most one request in flight."""

    __slots__ = ("body_start", "chunk_at", "first_byte_at", "head", "received", "sent_at", "socket")

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.clear()

    def clear(self) -> None:
        self.received = b""
        self.head: Head | None = None
        self.body_start = 0
        self.chunk_at = 0
        self.first_byte_at = 0
        self.sent_at = 0

    def send(self, request: bytes, now: int) -> None:
        self.sent_at = now
        sent = self.socket.send(request)
        if sent < len(request):  # larger than the socket's buffer: rare, so simply wait for it
            self.socket.setblocking(True)
            self.socket.sendall(request[sent:])
            self.socket.setblocking(False)

    def finished(self) -> bool:
        """Whether `received` holds a whole response. Raises MalformedError."""
        head = self.head
        if head is None:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = self.head = Head(self.received[:end])
            self.body_start = self.chunk_at = end + 4
        if head.length >= 0:
            return len(self.received) - self.body_start >= head.length
        return head.length == CHUNKED and self.chunks_ended()

    def chunks_ended(self) -> bool:
        """Walks the chunk sizes (RFC 9112 section 7.1) from where the last walk stopped."""
        while True:
            line_end = self.received.find(b"\r\n", self.chunk_at)
            if line_end < 0:
                return False
            try:
                size = int(self.received[self.chunk_at : line_end].split(b";", 1)[0], 16)
            except ValueError:
                raise MalformedError from None
            if size == 0:  # trailers, if any, end with an empty line
                return self.received.endswith(b"\r\n\r\n")
            following = line_end + 2 + size + 2
            if following > len(self.received):
                return False
            self.chunk_at = following


def ends_with(data: bytes, ending: bytes) -> bool:
    """Whether a response without a length ends so, white space apart; what is split over chunks is put together."""
    body = data.rstrip()
    is_chunked = body.endswith(b"\r\n0")
    if is_chunked:
        body = body[:-3].rstrip()
    return body.endswith(ending) or (is_chunked and without_chunks(data).endswith(ending))


def without_chunks(data: bytes) -> bytes:
    """The body of a whole chunked response."""
    at = data.find(b"\r\n\r\n") + 4
    pieces: list[bytes] = []
    while True:
        line_end = data.index(b"\r\n", at)
        size = int(data[at:line_end].split(b";", 1)[0], 16)
        if size == 0:
            return b"".join(pieces).rstrip()
        pieces.append(data[line_end + 2 : line_end + 2 + size])
        at = line_end + size + 4


class ClosedLoop:
    """One run of a plan; `drive` does it and `result` tells it."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.requests = cycle(plan.requests)
        self.connections: dict[int, Connection] = {}
        self.poller = select.poll()
        self.latencies = array("q")
        self.first_bytes = array("q")
        self.statuses: Counter[int] = Counter()
        self.warmup_successful = 0
        self.errors: Counter[str] = Counter()
        self.bytes_received = 0
        self.refusal = ""
        self.measure_from = self.last_answer_at = 0
        self.heads: dict[bytes, Head] = {}
        """Heads seen: they repeat for as long as their Date does, which saves parsing them."""

    def open(self) -> Connection:
        connection = Connection(self.plan.host, self.plan.port, self.plan.timeout_seconds)
        self.connections[connection.socket.fileno()] = connection
        self.poller.register(connection.socket.fileno(), select.POLLIN)
        return connection

    def close(self, connection: Connection) -> None:
        number = connection.socket.fileno()
        self.poller.unregister(number)
        del self.connections[number]
        connection.socket.close()

    def drive(self) -> LoadResult:
        """Warms up, measures, waits for what is in flight. Raises OSError when nothing listens at the start."""
        plan, clock = self.plan, time.perf_counter_ns
        for _ in range(plan.connections):
            self.open()
        started = clock()
        self.measure_from = started + int(plan.warmup_seconds * 1e9)
        deadline = self.measure_from + int(plan.seconds * 1e9)
        give_up = deadline + int(plan.timeout_seconds * 1e9)
        cpu_before: float | None = None
        for connection in tuple(self.connections.values()):
            connection.send(next(self.requests), clock())
        sweep_at = started + 1_000_000_000
        while self.connections:
            for number, _ in self.poller.poll(100):
                self.on_readable(self.connections[number], deadline)
            now = clock()
            if cpu_before is None and now >= self.measure_from:
                cpu_before = time.process_time()
            if len(self.latencies) >= plan.maximum_requests or self.errors.total() >= MOST_ERRORS:
                deadline = min(deadline, now)
            if now > sweep_at:
                sweep_at = now + 1_000_000_000
                self.sweep(now, deadline)
            if now > give_up:
                break
        for connection in tuple(self.connections.values()):
            self.errors["timeout"] += 1
            self.close(connection)
        seconds = max((self.last_answer_at or clock()) - self.measure_from, 1_000_000) / 1e9
        return self.result(seconds, 0.0 if cpu_before is None else time.process_time() - cpu_before)

    def on_readable(self, connection: Connection, deadline: int) -> None:
        try:
            data = connection.socket.recv(RECEIVE_BYTES)
            now = time.perf_counter_ns()
            if not connection.received:  # the common case: a whole response with a length, in one read
                end = data.find(b"\r\n\r\n")
                raw = data[:end]
                head = self.heads.get(raw)
                if head is None and end > 0:
                    head = self.remember(raw)
                if head is not None and head.length >= 0 and len(data) == end + 4 + head.length:
                    connection.first_byte_at = now
                    self.answered(connection, head, data, now, deadline)
                    return
            if not data:
                self.on_closed(connection, now, deadline)
                return
            connection.received += data
            whole = connection.finished()
            if not connection.first_byte_at and connection.head and len(connection.received) > connection.body_start:
                connection.first_byte_at = now
            if whole and connection.head:
                self.answered(connection, connection.head, connection.received, now, deadline)
        except MalformedError:
            self.lost(connection, "malformed", deadline)
        except BlockingIOError:
            return
        except OSError:
            self.lost(connection, "closed", deadline)

    def remember(self, raw: bytes) -> Head:
        if len(self.heads) > 4096:
            self.heads.clear()
        head = self.heads[raw] = Head(raw)
        return head

    def answered(self, connection: Connection, head: Head, data: bytes, now: int, deadline: int) -> None:
        """Counts a whole response and sends the next request on its connection, or closes it when time is up."""
        if self.plan.ending and head.length < 0 and head.status < 300 and not ends_with(data, self.plan.ending):
            self.lost(connection, "unfinished", deadline)
            return
        sent_at = connection.sent_at
        if sent_at >= self.measure_from:
            self.latencies.append(now - sent_at)
            self.statuses[head.status] += 1
            self.bytes_received += len(data)
            self.last_answer_at = now
            if self.plan.streaming:
                self.first_bytes.append((connection.first_byte_at or now) - sent_at)
        elif 200 <= head.status < 300:
            self.warmup_successful += 1
        if not 200 <= head.status < 300 and not self.refusal:
            self.refusal = data[:600].decode(errors="replace")
        connection.clear()
        if now >= deadline:
            self.close(connection)
        elif head.closes or head.length == UNTIL_CLOSED:
            self.close(connection)
            self.reopen(deadline)
        else:
            connection.send(next(self.requests), time.perf_counter_ns())

    def on_closed(self, connection: Connection, now: int, deadline: int) -> None:
        """The server ended the connection: the proper end of a body without a length, else a lost request."""
        head = connection.head
        if head is not None and head.length == UNTIL_CLOSED:
            self.answered(connection, head, connection.received, now, deadline)
        else:
            self.lost(connection, "closed", deadline)

    def lost(self, connection: Connection, reason: str, deadline: int) -> None:
        self.errors[reason] += 1
        self.close(connection)
        if time.perf_counter_ns() < deadline:
            self.reopen(deadline)

    def reopen(self, deadline: int) -> None:
        while time.perf_counter_ns() < deadline and self.errors.total() < MOST_ERRORS:
            try:
                self.open().send(next(self.requests), time.perf_counter_ns())
                return
            except OSError:
                self.errors["connect"] += 1
                time.sleep(0.01)

    def sweep(self, now: int, deadline: int) -> None:
        oldest = now - int(self.plan.timeout_seconds * 1e9)
        for connection in tuple(self.connections.values()):
            if connection.sent_at < oldest:
                self.lost(connection, "timeout", deadline)

    def result(self, seconds: float, cpu_seconds: float) -> LoadResult:
        return LoadResult(
            connections=self.plan.connections,
            seconds=round(seconds, 4),
            completed=len(self.latencies),
            successful=sum(count for status, count in self.statuses.items() if 200 <= status < 300),
            warmup_successful=self.warmup_successful,
            statuses=dict(self.statuses),
            errors=dict(self.errors),
            latency_us=Quantiles.of_nanoseconds(self.latencies),
            first_byte_us=Quantiles.of_nanoseconds(self.first_bytes),
            bytes_received=self.bytes_received,
            generator_cpu_share=round(cpu_seconds / seconds, 3),
            refusal=self.refusal,
        )


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    gc.freeze()
    gc.disable()  # a run is bounded, and a collection in it would count as the server's latency
    try:
        result = ClosedLoop(plan).drive()
    except OSError as failure:
        sys.exit(f"cannot load {plan.host}:{plan.port}: {failure}")
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
