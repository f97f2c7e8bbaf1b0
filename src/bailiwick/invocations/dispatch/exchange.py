"""Calls to a target: guarded address, circuit breaker, bounded retries, timeouts for connecting and the whole."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import parsedate_to_datetime

import structlog

from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.errors import TargetTimeout, TargetUnavailable
from bailiwick.kernel.clock import now
from bailiwick.kernel.http_client import BrokenOff
from bailiwick.kernel.outbound import Outbound, StreamedAnswer

_log = structlog.get_logger(__name__)
_MOST_RETRY_SECONDS = 10.0
_MOST_ANSWER_BYTES = 16 * 1024 * 1024


class TargetRefused(TargetUnavailable):
    """The target refused the request; trying again would not help. `status` and `body` are its answer."""

    def __init__(self, upstream_status: int, body: bytes) -> None:
        super().__init__(f"The target answered with status {upstream_status}.")
        self.upstream_status = upstream_status
        self.body = body


class NoConnection(Exception):
    """No answer has begun; the message says why."""

    after_seconds: float | None = None
    """When to try again, if the target tells."""


class _TryAgain(NoConnection):
    def __init__(self, reason: str, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3): a number or a date."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    return None


class Exchange:
    """What every dispatcher calls other servers with."""

    def __init__(self, outbound: Outbound, breaker: CircuitBreaker, *, attempts: int, connect_seconds: float) -> None:
        self._outbound = outbound
        self._breaker = breaker
        self._attempts = attempts
        self._connect_seconds = connect_seconds

    @contextlib.asynccontextmanager
    async def post(
        self, target: str, url: str, *, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> AsyncIterator[StreamedAnswer]:
        """Posts a JSON body and yields the successful answer, its body unread.

        Tries again on 408, 429, 5xx and connection errors, as long as no answer has begun. Raises TargetRefused for
        another status, TargetTimeout, TargetUnavailable.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        for attempt in range(1, self._attempts + 1):
            if not self._breaker.allows(target):
                raise TargetUnavailable("The target has failed repeatedly and is being left alone; try again later.")
            response: StreamedAnswer | None = None
            try:
                async with asyncio.timeout_at(deadline):
                    sent = {"content-type": "application/json", **headers}
                    response = await self.send(url, sent, body, timeout_seconds)
                    await self._check(target, response)
            except NoConnection as reason:
                self._breaker.failed(target)
                wait = reason.after_seconds
                if wait is None:
                    wait = 0.1 * 3 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries
                left = deadline - asyncio.get_running_loop().time()
                if attempt == self._attempts or wait > min(left, _MOST_RETRY_SECONDS):
                    raise TargetUnavailable(f"The target did not answer as it should: {reason}.") from None
                _log.info("target_retry", target=target, reason=str(reason), attempt=attempt)
                await asyncio.sleep(wait)
                continue
            except TimeoutError:
                self._breaker.failed(target)
                raise TargetTimeout from None
            except BaseException:  # whatever it is, it tells nothing of the target; the next call may probe it
                self._breaker.abandoned(target)
                raise
            try:
                yield response
                self._breaker.succeeded(target)
            except TimeoutError:
                self._breaker.failed(target)
                raise TargetTimeout from None
            except BrokenOff as error:
                self._breaker.failed(target)
                raise TargetUnavailable(f"The target's answer broke off: {error}.") from None
            except TargetUnavailable:  # what it answers cannot be used
                self._breaker.failed(target)
                raise
            except BaseException:
                self._breaker.abandoned(target)
                raise
            finally:
                # An answer that was read to its end has given its connection back; any other is closed, which also
                # tells the target to stop.
                response.close()
            return

    async def send(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_seconds: float,
        *,
        sent: Callable[[], None] | None = None,
    ) -> StreamedAnswer:
        """Posts a body once; the answer, whatever its status, unread. To be closed by the caller. `sent` is called when
        the request is on its way.

        Raises NoConnection, AddressRefused, and TimeoutError after `timeout_seconds`, which also bound the reading.
        """
        try:
            return await self._outbound.post(
                url,
                headers=headers,
                body=body,
                timeout_seconds=timeout_seconds,
                connect_seconds=self._connect_seconds,
                sent=sent,
            )
        except BrokenOff as error:
            raise NoConnection(str(error)) from None

    async def _check(self, target: str, response: StreamedAnswer) -> None:
        if 200 <= response.status < 300:
            return
        if response.status in (408, 429) or response.status >= 500:
            after = retry_after(response.headers.get("retry-after"))
            response.close()
            raise _TryAgain(f"status {response.status}", after)
        body = b""
        with contextlib.suppress(BrokenOff, TargetUnavailable):
            body = await read(response, 64 * 1024)
        response.close()
        self._breaker.succeeded(target)  # it answers; the request is what it does not like
        raise TargetRefused(response.status, body)


async def read(answer: StreamedAnswer, most_bytes: int = _MOST_ANSWER_BYTES) -> bytes:
    """The whole body, up to a bound. Raises TargetUnavailable above it."""
    parts = []
    total = 0
    while part := await answer.readany():
        total += len(part)
        if total > most_bytes:
            raise TargetUnavailable("The target's answer is too large.")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
