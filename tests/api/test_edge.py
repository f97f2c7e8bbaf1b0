"""The web server's edge, byte by byte: whatever comes over the socket is answered, and by no failure of ours.

`POST /api/v1/agent/run` stands in front of the web framework, so each is tried on it and on an ordinary operation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from bailiwick.api import asgi
from bailiwick.cli.web_server import BoundedHttpProtocol
from bailiwick.kernel.disconnect import EXTENSION, Disconnect
from tests.api.accounts import Account, sign_up
from tests.api.conftest import contract_client
from tests.api.servers import Server, running_server
from tests.waiting import PATIENCE_SECONDS, happens

RUN, ORDINARY = "/api/v1/agent/run", "/api/v1/log-sources"
_JSON = b"Content-Type: application/json"
_FIRST = {RUN: "agentId", ORDINARY: "sourceType"}


def _exchange(server: Server, *parts: bytes) -> bytes:
    """Sends the parts and reads until the server closes; fails when it does not."""
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        # Who refuses may close before all has come that was sent, and what comes then is answered by a reset.
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while received := connection.recv(65536):
                answer += received
        return answer


def _head(line: str, *headers: bytes, close: bool = True) -> bytes:
    ending = [b"Connection: close"] if close else []
    return b"\r\n".join([line.encode("latin-1") + b" HTTP/1.1", b"Host: x", *headers, *ending, b"", b""])


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def _authorization(account: Account) -> bytes:
    return f"Authorization: Bearer {account.access_token}".encode()


@pytest.mark.parametrize("path", [RUN, ORDINARY])
def test_bodies_in_every_framing(server: Server, account: Account, path: str) -> None:
    line, authorization = f"POST {path}", _authorization(account)
    chunked = (b"Transfer-Encoding: chunked", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    for headers, content in (
        ([b"Content-Length: 2"], b"{}"),
        ([chunked[0]], chunked[1]),
        ([b"Expect: 100-continue", b"Content-Length: 2"], b"{}"),
        ([b"Content-Length: 2", b"X-Big: " + b"a" * 60_000], b"{}"),
    ):
        *_, last = _exchange(server, _head(line, authorization, _JSON, *headers), content).split(b"HTTP/1.1 ")
        assert last.startswith(b"400"), last
        assert _FIRST[path].encode() in last
    for headers, content in (
        ([b"Transfer-Encoding: chunked"], b"zz\r\n{\r\n"),
        ([b"Content-Length: -2"], b"{}"),
        ([b"Content-Length: 2", b"Content-Length: 3"], b"{}"),
        ([b"Content-Encoding: gzip", b"Content-Length: 3"], b"\x1f\x8b\x08"),
        ([], b""),
    ):
        assert _status(_exchange(server, _head(line, authorization, _JSON, *headers), content)) == 400


@pytest.mark.parametrize("path", [RUN, ORDINARY])
def test_pipelined_requests_are_answered_in_turn(server: Server, account: Account, path: str) -> None:
    one = _head(f"POST {path}", _authorization(account), _JSON, b"Content-Length: 2", close=False) + b"{}"
    answers = _exchange(server, one * 2, _head("GET /health")).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"400", b"400", b"200"]


@pytest.mark.parametrize("path", [RUN, ORDINARY])
def test_bodies_too_large_are_refused_by_what_they_claim_and_by_what_they_are(
    client: httpx.Client, server: Server, account: Account, path: str
) -> None:
    refused = client.post(path, headers=account.headers, content=b"[" + b" " * (5 << 20))
    assert (refused.status_code, refused.json()["code"]) == (413, "HTTP_413")
    claimed = _head(f"POST {path}", _authorization(account), _JSON, b"Content-Length: 99999999999")
    assert _status(_exchange(server, claimed, b"{")) == 413


@pytest.mark.parametrize("path", [RUN, ORDINARY])
def test_credentials_that_are_none(server: Server, account: Account, path: str) -> None:
    good, body = _authorization(account), [_JSON, b"Content-Length: 2"]
    for headers in (
        [b"Authorization: Bearer \xff\xfe\xc3\xa9"],
        [b"Authorization: Bearer " + b"a" * 60_000],
        [b"Authorization: Bearer"],
        [b"Authorization:"],
        [b"X-Api-Key: vk_\xff\xfe"],
        [b"Authorization: Bearer x", good],  # the first counts
    ):
        answer = _exchange(server, _head(f"POST {path}", *headers, *body) + b"{}")
        assert _status(answer) == 401
        assert b"UNAUTHENTICATED" in answer
    assert _status(_exchange(server, _head(f"POST {path}", good, *[b"X: y"] * 500, *body), b"{}")) == 431


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (RUN, "OPTIONS, POST"),
        (ORDINARY, "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/workspace", "GET, HEAD, OPTIONS, PATCH"),
        ("/api/v1/auth/login", "OPTIONS, POST"),
    ],
)
def test_methods(client: httpx.Client, account: Account, path: str, allow: str) -> None:
    for method in ("PUT", "TRACE", "PROPFIND", "PURGE"):
        answer = client.request(method, path, headers=account.headers)
        assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, allow, "HTTP_405")
    asked = client.options(path)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allow, b"")
    head = client.head(path, headers=account.headers)
    if "GET" in allow:
        got = client.get(path, headers=account.headers)
        assert (head.status_code, head.headers["content-length"]) == (200, got.headers["content-length"])
    else:
        assert head.status_code == 405
    assert head.content == b""


def test_addresses(client: httpx.Client, server: Server, account: Account) -> None:
    authorization = _authorization(account)
    for path, status in {
        "/nowhere": 404,
        "/api/v1/runs/a%2Fb": 404,
        "/api/v1/runs/%ff%fe": 404,
        "/api/v1/runs/%00": 404,
        "/api/v1/runs/%ED%A0%80": 404,
        "/api/v1/runs/..%2f..": 404,
        "/api/v1/runs/%": 404,
        "/api/v1/runs/%zz": 404,
        "/api/v1/runs/" + "a" * 5000: 404,
        "/api/v1/runs?agent_id=%ff": 200,
        "/api/v1/runs?agent_id=%ED%A0%80": 200,
        "/api/v1/runs?agent_id=%00": 400,
        "/api/v1/runs?unknown=%00": 200,
        "/api/v1/runs?page=" + "9" * 6000: 400,
        "/api/v1/runs?page=1e3": 200,
        "/api/v1/runs?page=": 400,
        "/api/v1/runs?" + "a=b&" * 1000: 200,
        "/api/v1/runs?" + "a=b&" * 20_000: 414,
        "/api/v1/runs/\xff": 400,
        "/api/v1/runs?agent_id=\xff": 400,
        "/api/v1/audit/entries?since=99999-01-01": 400,
        "/api/v1/audit/entries?since=0001-01-01T00:00:00%2B14:00": 200,
        "/api/v1/audit/entries?until=9999-12-31T23:59:59-14:00": 200,
        "/api/v1/audit/entries?since=inf": 400,
        "/api/v1/audit/entries?cursor=%F0%9F%98%80": 400,
        "/api/v1/audit/proof?id=" + "a" * 9000: 404,
        "/api/v1/audit/proof?sequence=9007199254740991": 404,
        "/api/v1/audit/proof?first=9007199254740991": 400,
        "/api/v1/audit/export?first=9007199254740991": 400,
    }.items():
        answer = _exchange(server, _head(f"GET {path}", authorization))
        assert _status(answer) == status, (path[:80], answer[:600])
        if status in (400, 404) and path.isascii():
            body = json.loads(answer.rpartition(b"\r\n\r\n")[2])
            assert body["error"], path[:80]
            assert body["code"], path[:80]


def test_an_unknown_address_is_told_in_the_form_of_its_family(client: httpx.Client, account: Account) -> None:
    for path in ("/v1/completions", "/v1/files", "/v1/"):
        refused = client.post(path, headers=account.headers, json={})
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "not_found"
    assert client.get("/api/v1/nowhere").json()["code"] == "E_NOT_FOUND"


def test_the_pages_for_a_browser(client: httpx.Client, server: Server) -> None:
    landing = client.get("/")
    assert f"curl -s {server.base_url}/api/v1/agent/run" in landing.text
    documentation = client.get("/docs").text
    assert "Checks email and password and opens a session</span>" in documentation
    assert 'class="muted">governance_' not in documentation


async def test_a_head_that_comes_too_slowly_is_given_up() -> None:
    class Hasty(BoundedHttpProtocol):
        head_seconds = 0.2

    async def application(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request is whole")

    async with _serving(application, Hasty) as port:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert (await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)).startswith(b"HTTP/1.1 408 ")
            writer.close()


@contextlib.asynccontextmanager
async def _serving(application: Any, protocol: type[BoundedHttpProtocol] = BoundedHttpProtocol) -> AsyncIterator[int]:
    """The port of a server of one application in this process."""
    config = Config(application, log_config=None)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: protocol(config, ServerState(), {}), "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
_BODY = {"type": "http.response.body", "body": b"{}"}


async def test_an_answer_goes_out_in_one_piece() -> None:
    class Watched(BoundedHttpProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.transport = Mock(wraps=transport)
            watched.append(self.transport)

    async def application(_scope: object, _receive: object, send: Any) -> None:
        await send(_START)
        await send(_BODY)

    watched: list[Mock] = []
    async with _serving(application, Watched) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(_head("GET /", close=False))
            answer = await asyncio.wait_for(reader.readuntil(b"{}"), PATIENCE_SECONDS)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
    (transport,) = watched
    assert (transport.writelines.call_count, transport.write.call_count) == (2, 0)


async def test_a_head_does_not_wait_for_its_body() -> None:
    async def application(_scope: object, _receive: object, send: Any) -> None:
        await send(_START)
        await head_arrived.wait()
        await send(_BODY)

    head_arrived = asyncio.Event()
    async with _serving(application) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head("GET /"))
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)).startswith(b"HTTP/1.1 200 ")
        head_arrived.set()
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b"{}"
        writer.close()


@pytest.mark.parametrize("size", [2, 70_000])
async def test_who_leaves_while_work_is_under_way_ends_it(size: int) -> None:
    async def application(scope: Any, receive: Any, _send: object) -> None:
        called.set()
        await asgi.read_body(scope, receive, most_bytes=size)
        task = asyncio.current_task()
        assert task is not None
        try:
            await asgi.until_disconnect(work(), scope)
        except asyncio.CancelledError:
            ended.set_result(task.cancelling())

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    called, begun = asyncio.Event(), asyncio.Event()
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with _serving(application) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head("POST /", b"Content-Length: %d" % size))
        await happens(called)
        writer.write(b" " * size)
        await happens(begun)
        writer.close()
        assert await asyncio.wait_for(ended, PATIENCE_SECONDS) == 0, "the task itself is not cancelled"


async def test_who_left_before_the_work_began_ends_it() -> None:
    disconnect = Disconnect()
    disconnect.happened()
    scope: Any = {"extensions": {EXTENSION: {"connection": disconnect}}}
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(asgi.until_disconnect(asyncio.sleep(60), scope))


def test_what_is_no_request(server: Server) -> None:
    for line in ("GARBAGE", "GET /a b", "GET /\0", "NONSENSE /health"):
        assert _status(_exchange(server, _head(line))) == 400
    assert _status(_exchange(server, _head("OPTIONS *"))) == 404
    assert client_is_served(server)


def client_is_served(server: Server) -> bool:
    """Whether the server still answers."""
    return httpx.get(f"{server.base_url}/health", timeout=30).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up(own_database: str, tmp_path: Path) -> None:
    with running_server(own_database, tmp_path / "server", body_timeout_seconds="1") as server:
        with contract_client(server) as client:
            account = sign_up(client)
        for path in (RUN, ORDINARY, "/api/v1/billing/webhook"):
            head = _head(f"POST {path}", _authorization(account), _JSON, b"Content-Length: 4")
            answer = _exchange(server, head, b"{")
            assert _status(answer) == 408, answer


def test_the_access_log_tells_paths_and_no_queries(own_database: str, tmp_path: Path) -> None:
    with running_server(own_database, tmp_path / "server", access_log="true") as server:
        httpx.get(f"{server.base_url}/verify-email", params={"token": "from-the-mail"}, timeout=30)
    logged = (tmp_path / "server" / "server.log").read_text()
    assert "/verify-email" in logged
    assert "from-the-mail" not in logged
