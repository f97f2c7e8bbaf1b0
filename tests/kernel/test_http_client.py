"""Posting over kept connections, against a server that answers byte by byte what a test says."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohappyeyeballs import AddrInfoType
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bailiwick.kernel.http_client import Answer, BrokenOff, HttpClient, NotConnected
from tests.api.servers import kept_port
from tests.waiting import PATIENCE_SECONDS, happens

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers the n-th request of all with the n-th script: pieces of bytes, None for closing the connection, numbers
    for seconds of silence. With no script left it says nothing."""

    def __init__(self) -> None:
        self.scripts: list[Sequence[bytes | float | None]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                for step in self.scripts.pop(0) if self.scripts else ():
                    if step is None:
                        return
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    else:
                        await asyncio.sleep(step)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()


async def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    return [*await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(resolve)
    yield client
    await client.close()


async def post_to(
    client: HttpClient, url: str, *, a: str = "1", body: bytes = b"", seconds: float = PATIENCE_SECONDS
) -> Answer:
    return await client.post(url, {"x-a": a}, body, timeout_seconds=seconds, connect_seconds=PATIENCE_SECONDS)


async def post(client: HttpClient, server: Server, *, body: bytes = b"{}", seconds: float = PATIENCE_SECONDS) -> Answer:
    return await post_to(client, f"http://127.0.0.1:{server.port}/v1/chat?a=b", body=body, seconds=seconds)


async def read(answer: Answer) -> bytes:
    content = b""
    while piece := await answer.readany():
        content += piece
    return content


async def test_a_request_says_what_it_should(client: HttpClient, server: Server) -> None:
    server.scripts = [[_OK]]
    answer = await post(client, server, body=b'{"a": 1}')
    assert (answer.status, await read(answer)) == (200, b"ok")
    lines, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert lines.split(b"\r\n") == [
        b"POST /v1/chat?a=b HTTP/1.1",
        f"host: 127.0.0.1:{server.port}".encode(),
        b"user-agent: bailiwick",
        b"accept: */*",
        b"accept-encoding: identity",
        b"x-a: 1",
        b"content-length: 8",
    ]
    assert body == b'{"a": 1}'


async def test_a_connection_is_kept(client: HttpClient, server: Server) -> None:
    server.scripts = [[_OK]] * 3
    for _ in range(3):
        assert await read(await post(client, server)) == b"ok"
    assert server.connections == 1


async def test_each_call_at_once_has_its_connection(client: HttpClient, server: Server) -> None:
    server.scripts = [[0.05, _OK]] * 5
    answers = await asyncio.gather(*[post(client, server) for _ in range(5)])
    assert [await read(answer) for answer in answers] == [b"ok"] * 5
    assert server.connections == 5


@pytest.mark.parametrize(
    ("script", "content", "is_kept"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 4\r\n\r\nab", b"cd"], b"abcd", True),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"], b"abcd", True),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nx-b: 1\r\n\r\n"], b"abcd", True),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
        ([b"HTTP/1.1 100 Continue\r\nx-c: 1\r\n\r\n", _OK], b"ok", True),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" + _OK], b"ok", True),
        ([b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"], b"ok", False),
        ([b"HTTP/1.0 200 OK\r\n\r\nab", b"cd", None], b"abcd", False),
        ([b"HTTP/1.1 200 OK\r\n\r\nabcd", None], b"abcd", False),
    ],
)
async def test_an_answer_is_read_to_its_end(
    client: HttpClient, server: Server, script: list[bytes | float | None], content: bytes, is_kept: bool
) -> None:
    server.scripts = [script, [_OK]]
    answer = await post(client, server)
    assert await read(answer) == content
    assert "x-c" not in answer.headers
    assert await read(await post(client, server)) == b"ok"
    assert server.connections == (1 if is_kept else 2)


@pytest.mark.parametrize(
    "script",
    [
        [None],
        [b"HTTP/1.1 200", None],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nab"],
        [b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 70_000],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"],
    ],
)
async def test_what_is_no_answer_is_told(
    client: HttpClient, server: Server, script: list[bytes | float | None]
) -> None:
    server.scripts = [script, [_OK]]
    with pytest.raises(BrokenOff):
        await post(client, server)
    assert await read(await post(client, server)) == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n"],
)
async def test_an_answer_that_breaks_off_is_told_after_what_came(
    client: HttpClient, server: Server, head: bytes
) -> None:
    server.scripts = [[head + b"abcd", None]]
    answer = await post(client, server)
    content = await answer.readany()
    assert content == b"abcd"
    with pytest.raises(BrokenOff):
        await answer.readany()


async def test_a_second_answer_is_nobodys(client: HttpClient, server: Server) -> None:
    server.scripts = [[_OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"], [_OK]]
    assert await read(await post(client, server)) == b"ok"
    assert await read(await post(client, server)) == b"ok"
    assert server.connections == 2


async def test_an_answer_that_was_not_asked_for_is_nobodys(client: HttpClient, server: Server) -> None:
    server.scripts = [[_OK, 0.05, b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"], [_OK]]
    assert await read(await post(client, server)) == b"ok"
    await happens(server.closed)
    assert await read(await post(client, server)) == b"ok"
    assert server.connections == 2


async def test_a_connection_that_the_server_closed_is_not_used(client: HttpClient, server: Server) -> None:
    server.scripts = [[_OK, None], [_OK]]
    assert await read(await post(client, server)) == b"ok"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while client.opened:  # noqa: ASYNC110 - that it has seen the end of its connection it tells nobody
            await asyncio.sleep(0)
    assert await read(await post(client, server)) == b"ok"


async def test_silence_ends_at_the_deadline(client: HttpClient, server: Server) -> None:
    with pytest.raises(TimeoutError):
        await post(client, server, seconds=0.3)
    await happens(server.closed)


async def test_the_deadline_bounds_the_reading_too(client: HttpClient, server: Server) -> None:
    server.scripts = [[b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"]]
    answer = await post(client, server, seconds=1)
    assert await answer.readany() == b"ab"
    with pytest.raises(TimeoutError):
        await answer.readany()
    await happens(server.closed)


async def test_giving_up_hangs_up(client: HttpClient, server: Server) -> None:
    waiting = asyncio.create_task(post(client, server))
    await server.asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await happens(server.closed)


async def test_closing_an_answer_hangs_up(client: HttpClient, server: Server) -> None:
    server.scripts = [[b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"]]
    answer = await post(client, server)
    answer.close()
    await happens(server.closed)


async def test_a_server_waits_for_a_slow_reader(client: HttpClient, server: Server) -> None:
    size = 64 * 1024 * 1024
    server.scripts = [[f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode(), b"a" * size], [_OK]]
    answer = await post(client, server)
    await asyncio.sleep(0.3)
    assert 0 < len(await answer.readany()) < 8 * 1024 * 1024
    while piece := await answer.readany():
        size -= len(piece)
        await asyncio.sleep(0)
    assert await read(await post(client, server)) == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("value", ["a\r\nx-b: 1", "a\nx-b: 1", "a\0", "€"])
async def test_a_field_cannot_bring_another(client: HttpClient, server: Server, value: str) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    with pytest.raises(ValueError, match=r"."):
        await post_to(client, url, a=value)
    assert not server.requests


async def test_where_nobody_listens_nothing_is_sent(client: HttpClient) -> None:
    with kept_port() as port, pytest.raises(NotConnected):
        await post_to(client, f"http://127.0.0.1:{port}/")


async def test_a_name_that_does_not_exist_is_told(client: HttpClient) -> None:
    with pytest.raises(NotConnected):
        await post_to(client, "http://nowhere.invalid/")


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1 or another address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    moment = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@pytest.mark.parametrize(
    ("name", "is_trusted", "is_answered"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("127.0.0.2", True, False)],
)
async def test_a_certificate_is_checked(tmp_path: Path, name: str, is_trusted: bool, is_answered: bool) -> None:
    certificate, key = _certificate(tmp_path, name)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate, key)
    server = Server()
    server.scripts = [[_OK], [_OK]]
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=theirs)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    client = HttpClient(resolve, tls=ssl.create_default_context(cafile=str(certificate)) if is_trusted else None)
    try:
        if is_answered:
            for _ in range(2):
                assert await read(await post_to(client, url)) == b"ok"
            assert server.connections == 1
        else:
            with pytest.raises(NotConnected):
                await post_to(client, url)
            assert not server.requests
    finally:
        await client.close()
        listening.close()
