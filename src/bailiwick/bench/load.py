"""A bounded closed-loop HTTP/1.1 load: what to send, what came of it, and the process that sends it.

Closed loop: each connection sends its next request only after it has read the whole answer to the last one, so N
connections never have more than N requests in flight, and the rate found is what the server sustains at that
concurrency. The loop itself (`closed_loop.py`) runs in a process of its own, so that the caller's work is not measured.
"""

import asyncio
import ipaddress
import sys
from collections.abc import Mapping, Sequence

import msgspec

MAXIMUM_SECONDS = 120.0
MAXIMUM_CONNECTIONS = 1024
MAXIMUM_REQUESTS = 5_000_000


class NotLoopbackError(ValueError):
    """The load was aimed at a host other than this machine's loopback."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the load generator sends to loopback addresses only, not to {host!r}")


class LoadFailedError(RuntimeError):
    """The load process ended without a result; the message is what it wrote."""


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One load: `requests` are whole rendered requests, sent in rotation over all connections."""

    requests: tuple[bytes, ...]
    port: int
    host: str = "127.0.0.1"
    connections: int = 1
    seconds: float = 3.0
    warmup_seconds: float = 0.5
    maximum_requests: int = MAXIMUM_REQUESTS
    """Ends the measured part early; warm-up requests do not count."""
    timeout_seconds: float = 10.0
    """Longest wait for one answer; counted as an error, and the connection is opened anew."""
    streaming: bool = False
    """Also measures the time to the first byte of each answer's body."""
    ending: bytes = b""
    """What every good answer without a length ends with; one that does not counts as an error, `unfinished`."""

    def __post_init__(self) -> None:
        if not is_loopback(self.host):
            raise NotLoopbackError(self.host)
        if not self.requests:
            raise ValueError("a load needs at least one request")
        for name, value, most in (
            ("connections", self.connections, MAXIMUM_CONNECTIONS),
            ("seconds", self.seconds, MAXIMUM_SECONDS),
            ("maximum_requests", self.maximum_requests, MAXIMUM_REQUESTS),
        ):
            if not 0 < value <= most:
                raise ValueError(f"{name} must be above 0 and at most {most}, not {value}")


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Order statistics of a sample in microseconds (nearest rank); all 0 where there is no sample."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    maximum: float = 0.0
    mean: float = 0.0

    @classmethod
    def of_nanoseconds(cls, sample: Sequence[int]) -> "Quantiles":
        """Those of a sample in nanoseconds, in microseconds."""
        if not sample:
            return cls()
        ordered = sorted(sample)

        def rank(share: float) -> float:
            return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] / 1000

        return cls(
            p50=rank(0.50),
            p95=rank(0.95),
            p99=rank(0.99),
            maximum=ordered[-1] / 1000,
            mean=round(sum(ordered) / len(ordered) / 1000, 3),
        )

    def minus(self, other: "Quantiles") -> "Quantiles":
        """The difference of each figure."""
        return Quantiles(
            p50=self.p50 - other.p50,
            p95=self.p95 - other.p95,
            p99=self.p99 - other.p99,
            maximum=self.maximum - other.maximum,
            mean=self.mean - other.mean,
        )


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one load found. Latencies are in microseconds, from before the send to the last byte of the answer."""

    connections: int
    seconds: float
    """Measured time, from the end of the warm-up to the last answer."""
    completed: int
    successful: int
    """Answers with a 2xx status; only these count in the rate."""
    statuses: dict[int, int]
    errors: dict[str, int]
    """Requests without a whole answer: timeout, closed, malformed, unfinished, connect."""
    latency_us: Quantiles
    first_byte_us: Quantiles
    bytes_received: int
    generator_cpu_share: float
    """CPU time of the generator over measured time: near 1.0 it was itself the limit."""
    warmup_successful: int = 0
    """Answers with a 2xx status to requests sent before the measured time."""
    refusal: str = ""
    """Beginning of the first answer that was not 2xx, for diagnosis."""

    @property
    def requests_per_second(self) -> float:
        """Answers with a 2xx status for each second of the measured time."""
        return self.successful / self.seconds if self.seconds else 0.0

    @property
    def all_successful(self) -> int:
        """Answers with a 2xx status of the whole load, and of all its rounds where it is their median."""
        return self.warmup_successful + sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    @property
    def failed(self) -> int:
        """Requests of the measured time that were answered with another status, or not whole."""
        return self.completed - self.successful + sum(self.errors.values())


def is_loopback(host: str) -> bool:
    """True for an IP literal of the loopback network; names are never resolved, so `localhost` is refused too."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def render_request(
    method: str, path: str, *, port: int, headers: Mapping[str, str] | None = None, body: object = None
) -> bytes:
    """Bytes of one keep-alive request; `body` is encoded as JSON unless it is None."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + content


async def run_load(plan: LoadPlan) -> LoadResult:
    """Runs the plan in its own process and answers its result. Raises LoadFailedError when that process fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bailiwick.bench.closed_loop",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, complaint = await process.communicate(msgspec.json.encode(plan))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise LoadFailedError(complaint.decode(errors="replace").strip()[-800:])
    return msgspec.json.decode(output, type=LoadResult)
