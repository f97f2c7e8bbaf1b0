"""Posting to other servers: the same answers and errors with and without a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from bailiwick.kernel.http_client import BrokenOff, NotConnected
from bailiwick.kernel.outbound import AddressRefused, Outbound, StreamedAnswer, is_public


class Proxy:
    """An HTTP proxy that answers itself, in the name of whatever host it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.breaks_off = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(str(request.url))
        if self.breaks_off and request.transport is not None:
            request.transport.close()
        return web.Response(status=201, body=await request.read(), headers={"X-Seen": "yes"})


@pytest.fixture
async def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
async def address(proxy: Proxy) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(proxy.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def post(outbound: Outbound, url: str) -> StreamedAnswer:
    return await outbound.post(url, headers={"x-a": "1"}, body=b"hello", timeout_seconds=60, connect_seconds=60)


@pytest.mark.parametrize("is_proxied", [True, False])
async def test_an_answer_is_the_same_by_either_way(proxy: Proxy, address: str, is_proxied: bool) -> None:
    outbound = Outbound(frozenset({"127.0.0.1"}), proxy_url=address if is_proxied else None)
    url = "http://models.example/v1" if is_proxied else f"{address}/v1"
    answer = await post(outbound, url)
    assert (answer.status, answer.headers["x-seen"]) == (201, "yes")
    assert await answer.readany() == b"hello"
    assert await answer.readany() == b""
    answer.close()
    assert proxy.asked == [url]
    await outbound.close()


@pytest.mark.parametrize("is_proxied", [True, False])
async def test_failures_are_the_same_by_either_way(proxy: Proxy, address: str, is_proxied: bool) -> None:
    outbound = Outbound(frozenset({"127.0.0.1"}), proxy_url=address if is_proxied else None)
    proxy.breaks_off = True
    with pytest.raises(BrokenOff):
        await post(outbound, "http://models.example/v1" if is_proxied else f"{address}/v1")
    for url in ("http://10.0.0.8/", "file:///etc/passwd", "http://user:word@models.example/"):
        with pytest.raises(AddressRefused):
            await post(outbound, url)
    await outbound.close()


async def test_a_proxy_that_is_not_there_is_no_connection() -> None:
    outbound = Outbound(frozenset({"127.0.0.1"}), proxy_url="http://127.0.0.1:9")
    with pytest.raises(NotConnected):
        await post(outbound, "http://models.example/v1")
    await outbound.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "①②⑦.0.0.1", "１２７.0.0.1", "127。0。0。1", "[::ffff:127.0.0.1]"]
)
async def test_no_spelling_of_a_private_address_is_called(proxy: Proxy, address: str, host: str) -> None:
    outbound = Outbound()
    url = address.replace("127.0.0.1", host)
    with pytest.raises(AddressRefused):
        await outbound.request("GET", url)
    with pytest.raises(AddressRefused):
        await post(outbound, url)
    assert proxy.asked == []
    await outbound.close()


@pytest.mark.parametrize("url", ["http://10.0.0.8", "http://[0:0:0:0:0:0:0:1]:8000/v1", "http://１２７.0.0.1/v1"])
def test_a_private_server_that_the_operator_named_is_allowed_however_it_is_spelled(url: str) -> None:
    with pytest.raises(AddressRefused):
        Outbound().check(url)
    Outbound().allowing(["", "ftp://nowhere", url]).check(url)


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://models:0/v1", "http://@models/", "//models", "models"]
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        Outbound(frozenset({"models"})).check(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("::ffff:8.8.8.8", True),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("fec0::1", False),  # site-local (RFC 3879)
        ("::7f00:1", False),  # IPv4-compatible (RFC 4291, section 2.5.5.1)
        ("::ffff:0:7f00:1", False),  # IPv4-translated (RFC 2765)
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::7f00:1", False),  # a network's own NAT64 (RFC 8215)
        ("2002:7f00:1::", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public
