"""The load generator counts what a server really answered, however it frames and breaks its answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bailiwick.bench.load import (
    LoadFailedError,
    LoadPlan,
    LoadResult,
    NotLoopbackError,
    Quantiles,
    render_request,
    run_load,
)

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server_that(handler: Handler) -> AsyncIterator[int]:
    """A server that reads requests without a body and leaves each answer to `handler`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                await handler(await reader.readuntil(b"\r\n\r\n"), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def load(
    handler: Handler,
    *paths: str,
    requests: int = 20,
    connections: int = 1,
    streaming: bool = False,
    ending: bytes = b"",
) -> LoadResult:
    async with server_that(handler) as port:
        plan = LoadPlan(
            requests=tuple(render_request("GET", path, port=port) for path in paths or ("/",)),
            port=port,
            connections=connections,
            seconds=60,
            warmup_seconds=0.0001,
            maximum_requests=requests,
            streaming=streaming,
            ending=ending,
        )
        return await run_load(plan)


async def test_answers_with_a_length_are_counted_by_status_and_requests_rotate() -> None:
    seen = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request.split()[1])
        status = b"503 Busy" if request.startswith(b"GET /b") else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nCONTENT-length:  5\r\n\r\nhello")

    result = await load(handler, "/a", "/b")
    assert seen[:4] == [b"/a", b"/b", b"/a", b"/b"]
    assert result.statuses.keys() == {200, 503}
    assert result.successful == result.statuses[200]
    assert result.completed == sum(result.statuses.values()) >= 20
    assert result.failed == result.statuses[503]
    assert result.errors == {}
    assert result.refusal.startswith("HTTP/1.1 503 Busy")
    assert 0 < result.latency_us.p50 <= result.latency_us.p95 <= result.latency_us.p99 <= result.latency_us.maximum


async def test_chunked_answers_end_where_their_last_chunk_ends() -> None:
    """The body holds what looks like the end of chunks, and arrives in pieces cut anywhere."""
    body = b"12\r\nabc0\r\n\r\nHTTP/1.1 x\r\n4;note=1\r\ndata\r\n0\r\n\r\n"

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        for start in range(0, len(whole), 7):
            writer.write(whole[start : start + 7])
            await writer.drain()
            await asyncio.sleep(0)

    result = await load(handler, requests=10, connections=2, streaming=True)
    assert result.errors == {}
    assert result.completed == result.successful >= 10
    assert result.bytes_received == result.completed * (len(body) + 47)
    assert 0 < result.first_byte_us.p50 <= result.latency_us.maximum


@pytest.mark.parametrize(
    ("chunks", "is_whole"),
    [
        (b"6\r\ndata: \r\n8\r\n[DONE]\n\n\r\n", True),  # split
        (b"e\r\ndata: [DONE]\n\n\r\n", True),
        (b"e\r\ndata: [DONE]\n\n\r\n6\r\ndata: \r\n", False),
        (b"9\r\ndata: {}\n\r\n", False),
        (b"", False),
    ],
)
async def test_a_stream_that_does_not_end_as_it_should_is_an_error(chunks: bytes, is_whole: bool) -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    result = await load(handler, requests=10, ending=b"data: [DONE]")
    assert result.errors.keys() == (set() if is_whole else {"unfinished"})
    assert (result.successful > 0) == is_whole


async def test_an_answer_without_length_ends_with_its_connection() -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        writer.close()

    result = await load(handler, requests=5)
    assert result.errors == {}
    assert result.completed == result.successful >= 5


async def test_broken_answers_are_errors_and_stop_the_load() -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        writer.close()

    result = await load(handler)
    assert result.completed == 0
    assert result.requests_per_second == 0
    assert result.errors["closed"] >= 200

    async def gibberish(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello, who is there?\r\n\r\n")

    assert (await load(gibberish)).errors.keys() == {"malformed"}


async def test_a_server_that_never_answers_is_a_timeout() -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        del writer
        await asyncio.sleep(30)

    async with server_that(handler) as port:
        requests = (render_request("GET", "/", port=port),)
        plan = LoadPlan(requests=requests, port=port, connections=3, seconds=0.1, timeout_seconds=0.2)
        result = await run_load(plan)
    assert result.completed == 0
    assert result.errors["timeout"] >= 3


async def test_nothing_listening_is_told() -> None:
    async with server_that(lambda *_: asyncio.sleep(0)) as port:
        pass
    plan = LoadPlan(requests=(render_request("GET", "/", port=port),), port=port)
    with pytest.raises(LoadFailedError, match="refused"):
        await run_load(plan)


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost", "example.com", "192.168.1.1", "::"])
def test_only_loopback_literals_are_loaded(host: str) -> None:
    with pytest.raises(NotLoopbackError, match="loopback"):
        LoadPlan(requests=(b"x",), port=80, host=host)


def test_a_plan_is_bounded() -> None:
    for wrong in ({"connections": 0}, {"seconds": 1e6}, {"maximum_requests": 10**9}):
        with pytest.raises(ValueError, match="at most"):
            LoadPlan(requests=(b"x",), port=80, **wrong)


def test_quantiles_are_nearest_ranks() -> None:
    found = Quantiles.of_nanoseconds([n * 1000 for n in range(100, 0, -1)])
    assert (found.p50, found.p95, found.p99, found.maximum, found.mean) == (50, 95, 99, 100, 50.5)
    assert Quantiles.of_nanoseconds([7000]) == Quantiles(p50=7, p95=7, p99=7, maximum=7, mean=7)
    assert Quantiles.of_nanoseconds([]) == Quantiles()


def test_a_request_is_rendered_whole() -> None:
    request = render_request("POST", "/x", port=81, headers={"Authorization": "Bearer t"}, body={"a": "ü"})
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == '{"a":"ü"}'.encode()
    assert head.split(b"\r\n") == [
        b"POST /x HTTP/1.1",
        b"Host: 127.0.0.1:81",
        b"Authorization: Bearer t",
        b"Content-Type: application/json",
        b"Content-Length: 10",
    ]
