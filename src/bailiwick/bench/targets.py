"""What a benchmark loads: rendered requests, and the processes whose CPU time they cost."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bailiwick.bench.load import MAXIMUM_REQUESTS, LoadPlan, LoadResult, render_request, run_load
from bailiwick.bench.processes import OwnServer
from bailiwick.bench.subject import database_cpu_seconds

Requests = Callable[[], Awaitable[tuple[bytes, ...]]]
"""Renders them anew for each load, as a token in them may have been renewed."""

THINGS = (
    "Router",
    "Printer",
    "VPN client",
    "Laptop",
    "Badge reader",
    "Shared drive",
    "Outlook",
    "Meeting room display",
)
TROUBLES = ("offline", "very slow since the update", "asks for a password again and again", "shows error 0x80070005")
PLACES = ("at floor 3", "in the Leeds office", "for the whole sales team", "for one colleague only")


@dataclass(kw_only=True)
class Target:
    """Something to load: requests made for it, and the processes whose CPU time it costs."""

    name: str
    server: OwnServer
    requests: Requests
    database: Path | None = None
    """Data folder whose embedded database works for this target."""
    workers: int = 0
    """Where it has a number of its own; 0: as many as the benchmark runs with."""
    warmup_seconds: float = 0.5
    streaming: bool = False
    ending: bytes = b""
    """As in LoadPlan."""
    is_reported: bool = True
    """False: only here for others to be compared with."""
    cpu_us: list[float] = field(default_factory=list)
    database_cpu_us: list[float] = field(default_factory=list)

    async def measure(
        self, connections: int, seconds: float, *, maximum_requests: int = MAXIMUM_REQUESTS
    ) -> LoadResult:
        """One load on this target. Raises ServerNotReadyError when its server has ended, LoadFailedError."""
        plan = LoadPlan(
            requests=await self.requests(),
            port=self.server.port,
            connections=connections,
            seconds=seconds,
            maximum_requests=maximum_requests,
            warmup_seconds=self.warmup_seconds,
            timeout_seconds=30.0,
            streaming=self.streaming,
            ending=self.ending,
        )
        before = self.server.cpu_seconds()
        database_before = database_cpu_seconds(self.database) if self.database else 0.0
        try:
            result = await run_load(plan)
        finally:
            self.server.check_runs()
        # The warm-up costs CPU time too but is not among the answers: its share is taken out by time.
        measured = result.seconds / (result.seconds + plan.warmup_seconds) * 1e6 / max(result.completed, 1)
        self.cpu_us.append((self.server.cpu_seconds() - before) * measured)
        if self.database:
            self.database_cpu_us.append((database_cpu_seconds(self.database) - database_before) * measured)
        return result

    async def warm_up(self) -> None:
        """A load that counts for nothing: what a server only does once, in each of its workers."""
        plan = LoadPlan(
            requests=await self.requests(),
            port=self.server.port,
            connections=32,
            seconds=5.0,
            maximum_requests=500,
            timeout_seconds=30.0,
        )
        try:
            await run_load(plan)
        finally:
            self.server.check_runs()


def messages() -> list[str]:
    """128 different tickets, none with personal data."""
    return [f"{thing} {trouble} {place}" for thing in THINGS for trouble in TROUBLES for place in PLACES]


def posts(path: str, *, port: int, headers: Mapping[str, str], bodies: list[dict[str, object]]) -> tuple[bytes, ...]:
    """A request for each body."""
    return tuple(render_request("POST", path, port=port, headers=headers, body=body) for body in bodies)
