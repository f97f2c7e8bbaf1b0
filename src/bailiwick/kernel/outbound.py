"""Calls to other servers: their pooled clients, and the SSRF guard that every address passes.

The guard looks at the address that is connected to, not at the name: the resolver drops private, loopback, link-local,
multicast and reserved addresses (also IPv4 within IPv6), so that neither a redirect nor a changed DNS answer gets
through. Hosts in `BAILIWICK_OUTBOUND_ALLOWED_HOSTS` are exempt. A proxy looks names up itself: there the guard sees the
addresses that a URL spells out, and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json as jsonlib
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from bailiwick.kernel.errors import InvalidInput, UpstreamFailed
from bailiwick.kernel.http_client import BrokenOff, HttpClient, NotConnected, UnusableUrl

Found = TypeVar("Found")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All that IANA has given out of IPv6 to be called; the rest is local, or embeds an IPv4 address in some older way."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(InvalidInput):
    """This address may not be called: it is private, loopback or reserved."""

    code = "URL_NOT_ALLOWED"


class OutboundFailed(UpstreamFailed):
    """The other server could not be reached, took too long or answered too much."""


class OutboundResponse(msgspec.Struct, frozen=True):
    """A whole answer: status, headers (lower-case names), body."""

    status: int
    headers: dict[str, str]
    body: bytes


class StreamedAnswer(Protocol):
    """An answer that has begun; its body comes as it is read. To be closed unless it was read to its end."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]:
        """Its fields by lower-case name."""
        ...

    async def readany(self) -> bytes:
        """What has come of the body since; empty at its end. Raises BrokenOff and TimeoutError."""
        ...

    def close(self) -> None:
        """Hangs up, unless the answer has been received to its end."""
        ...


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded is None and ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def server_of(url: str) -> tuple[str, int]:
    """Host and port of a URL, as the clients read them: they make ASCII of other digits and dots, so that a name
    becomes an address. Raises AddressRefused for a URL that nobody may call, whatever its server: of another scheme,
    without a host, with credentials.
    """
    try:
        parts, called = urlsplit(url), URL(url)
    except ValueError:
        raise AddressRefused("this is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise AddressRefused("only http and https URLs may be called")
    if not called.raw_host or not called.port:
        raise AddressRefused("this is not a URL that can be called")
    if "@" in parts.netloc:
        raise AddressRefused("a URL may not carry credentials")
    return called.raw_host, called.port


@lru_cache(maxsize=1024)  # the same few URLs over and over; what is refused is not kept
def _check(url: str, allowed: frozenset[str]) -> None:
    host, port = server_of(url)
    if _is_allowed(host, port, allowed):
        return
    try:
        public = is_public(host)
    except ValueError:  # a name
        return
    if not public:
        raise _not_public(host)


def _is_allowed(host: str, port: int, allowed: frozenset[str]) -> bool:
    return host in allowed or f"{host}:{port}" in allowed


def _callable(
    host: str, port: int, allowed: frozenset[str], found: list[Found], address_of: Callable[[Found], str]
) -> list[Found]:
    """Of what a name resolved to, what may be connected to. Raises AddressRefused when that is nothing."""
    if _is_allowed(host, port, allowed):
        return found
    public = [one for one in found if is_public(address_of(one))]
    if not public:
        raise _not_public(host)
    return public


def _not_public(host: str) -> AddressRefused:
    return AddressRefused(f"{host} may not be called: it is not an address of the public internet")


class _GuardedResolver(AbstractResolver):
    def __init__(self, allowed: frozenset[str]) -> None:
        self._inner = ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        return _callable(host, port, self._allowed, found, lambda result: result["host"])

    async def close(self) -> None:
        await self._inner.close()


class _ProxiedAnswer:
    """An answer that came through the proxy."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = _lower(response.headers)
        self._response = response

    async def readany(self) -> bytes:
        try:
            return await self._response.content.readany()
        except aiohttp.ClientError as error:
            raise BrokenOff(type(error).__name__) from None

    def close(self) -> None:
        self._response.close()


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class Outbound:
    """The outbound client of one process. `allowed_hosts` are names or name:port that may be private."""

    def __init__(self, allowed_hosts: frozenset[str] = frozenset(), *, proxy_url: str | None = None) -> None:
        self._allowed = allowed_hosts
        self._proxy = proxy_url
        self._session: aiohttp.ClientSession | None = None
        self._client: HttpClient | None = None

    def allowing(self, urls: Iterable[str]) -> Outbound:
        """A client of its own, to be closed by itself, that may also call the hosts of `urls`, which the operator
        named, where they are private. Of a URL that nobody may call, nothing is allowed.
        """
        hosts = set()
        for url in urls:
            with contextlib.suppress(AddressRefused):
                hosts.add(server_of(url)[0])
        return Outbound(self._allowed | hosts, proxy_url=self._proxy)

    def check(self, url: str) -> None:
        """Refuses a URL that may not be called: other schemes, credentials in it, literal private addresses.

        Names are checked when they are connected to. Raises AddressRefused.
        """
        _check(url, self._allowed)

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pooled client for libraries that bring their own calls; to be used after `check`, with redirects off."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_GuardedResolver(self._allowed), limit=512, ttl_dns_cache=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                proxy=self._proxy,
                headers={"user-agent": "bailiwick"},
            )
        return self._session

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout_seconds: float,
        connect_seconds: float,
        sent: Callable[[], None] | None = None,
    ) -> StreamedAnswer:
        """Posts once; the answer as soon as its head is there. `timeout_seconds` bound the whole exchange, reading
        included. `sent` is called when the request is on its way, through a proxy before that is connected to.
        Redirects are not followed. Raises AddressRefused, NotConnected, BrokenOff and TimeoutError.
        """
        self.check(url)
        try:
            if self._proxy is not None:
                if sent is not None:
                    sent()
                return await self._post_by_proxy(url, headers, body, timeout_seconds, connect_seconds)
            if self._client is None:
                self._client = HttpClient(self._resolve)
            return await self._client.post(
                url, headers, body, timeout_seconds=timeout_seconds, connect_seconds=connect_seconds, sent=sent
            )
        except (UnusableUrl, aiohttp.InvalidURL):
            raise AddressRefused("this is not a URL that can be called") from None

    async def _post_by_proxy(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float, connect_seconds: float
    ) -> StreamedAnswer:
        try:
            return _ProxiedAnswer(
                await self.session.post(
                    url,
                    data=body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=connect_seconds),
                    allow_redirects=False,
                )
            )
        except aiohttp.ServerTimeoutError:
            raise NotConnected("no connection in time") from None
        except aiohttp.InvalidURL:  # a ValueError too, which tells more
            raise
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, AddressRefused):  # of the proxy
                raise error.__cause__ from None
            kind = NotConnected if isinstance(error, aiohttp.ClientConnectorError) else BrokenOff
            raise kind(type(error).__name__) from None

    async def _resolve(self, host: str, port: int) -> list[AddrInfoType]:
        loop = asyncio.get_running_loop()
        found: list[AddrInfoType] = [*await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        return _callable(host, port, self._allowed, found, lambda info: str(info[4][0]))

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | Mapping[str, str] | None = None,
        timeout_seconds: float = 30,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> OutboundResponse:
        """One whole exchange. Redirects are not followed. Raises AddressRefused and OutboundFailed."""
        self.check(url)
        sent_headers = dict(headers or {})
        if json is not None:
            data = jsonlib.dumps(json, separators=(",", ":")).encode()
            sent_headers.setdefault("content-type", "application/json")
        try:
            async with self.session.request(
                method,
                url,
                headers=sent_headers,
                params=params,
                data=data,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=min(timeout_seconds, 10)),
                allow_redirects=False,
            ) as response:
                body = await response.content.read(max_bytes + 1)
                while len(body) <= max_bytes and not response.content.at_eof():
                    body += await response.content.read(max_bytes + 1 - len(body))
                if len(body) > max_bytes:
                    raise OutboundFailed(f"The answer of {urlsplit(url).hostname} is larger than {max_bytes} bytes.")
                return OutboundResponse(response.status, _lower(response.headers), body)
        except TimeoutError:
            raise OutboundFailed(f"{urlsplit(url).hostname} did not answer in {timeout_seconds:g} s.") from None
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, AddressRefused):
                raise error.__cause__ from None
            raise OutboundFailed(f"{urlsplit(url).hostname} could not be reached: {type(error).__name__}.") from None

    async def close(self) -> None:
        """Closes the pools."""
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # lets the transports close before the loop ends
