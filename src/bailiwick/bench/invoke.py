"""`bailiwick bench invoke`: governed runs beside the plainest answer of the same server and beside other proxies.

All servers run here, on loopback, on the same stub model; each figure is the median of alternating rounds.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bailiwick import __version__
from bailiwick.bench import peers
from bailiwick.bench.compare import alternate, median_of
from bailiwick.bench.history import (
    database_facts,
    embedded_url,
    load_history,
    organization_uuid,
    raise_limits,
    settle_down,
)
from bailiwick.bench.load import LoadFailedError, LoadPlan, LoadResult, render_request, run_load
from bailiwick.bench.machine import describe_machine
from bailiwick.bench.processes import OwnServer, ServerNotReadyError
from bailiwick.bench.report import Footprint, GrowthPoint, Measurement, Report, markdown, place_markdown, tables
from bailiwick.bench.subject import SubjectRefusedError, Tenant, bailiwick, database_cpu_seconds

AGENT = "helpdesk-tier1-triage"
RUN_PATH = "/api/v1/agent/run"
HEALTH, RUN, RUN_MODEL = "Bailiwick GET /health", "Bailiwick governed run", "Bailiwick governed run, model"
STUB, NGINX, LITELLM = "stub model, direct", "nginx, model", "LiteLLM proxy, model"
GROWTH_ROWS = (10_000, 100_000, 1_000_000)

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


@dataclass(frozen=True, kw_only=True)
class InvokeOptions:
    """What to measure; the defaults are what `docs/benchmarks.md` shows."""

    connections: tuple[int, ...] = (1, 8, 32, 64)
    workers: tuple[int, ...] = (1, 2)
    seconds: float = 5.0
    rounds: int = 3
    with_peers: bool = True
    with_growth: bool = True
    growth_rows: tuple[int, ...] = GROWTH_ROWS
    cache_dir: Path = Path(".bailiwick/bench")
    """Keeps LiteLLM's environment from one run to the next."""
    database_url: str | None = None
    """An empty database to use up; default: an embedded one that is thrown away."""
    json_file: Path | None = None
    markdown_file: Path | None = None

    def quick(self) -> "InvokeOptions":
        """The same in about two minutes: fewer, shorter loads and no growth beyond 10,000 rows."""
        return replace(
            self,
            connections=tuple(count for count in self.connections if count in (1, 32)) or self.connections,
            workers=self.workers[:1],
            seconds=min(self.seconds, 2.0),
            rounds=1,
            growth_rows=self.growth_rows[:1],
        )


@dataclass(kw_only=True)
class Target:
    """Something to load: requests made for it, and the processes whose CPU time it costs."""

    name: str
    server: OwnServer
    requests: Callable[[], Awaitable[tuple[bytes, ...]]]
    database: Path | None = None
    """Data folder whose embedded database works for this target."""
    warmup_seconds: float = 0.5
    cpu_us: list[float] = field(default_factory=list)
    database_cpu_us: list[float] = field(default_factory=list)

    async def measure(self, connections: int, seconds: float) -> LoadResult:
        plan = LoadPlan(
            requests=await self.requests(),
            port=self.server.port,
            connections=connections,
            seconds=seconds,
            warmup_seconds=self.warmup_seconds,
            timeout_seconds=30.0,
        )
        before = self.server.cpu_seconds()
        database_before = database_cpu_seconds(self.database) if self.database else 0.0
        result = await run_load(plan)
        # The warm-up costs CPU time too but is not among the answers: its share is taken out by time.
        measured = result.seconds / (result.seconds + plan.warmup_seconds) * 1e6 / max(result.completed, 1)
        self.cpu_us.append((self.server.cpu_seconds() - before) * measured)
        if self.database:
            self.database_cpu_us.append((database_cpu_seconds(self.database) - database_before) * measured)
        return result


def messages() -> list[str]:
    """128 different tickets, none with personal data."""
    return [f"{thing} {trouble} {place}" for thing in THINGS for trouble in TROUBLES for place in PLACES]


def run_requests(tenant: Tenant) -> Callable[[], Awaitable[tuple[bytes, ...]]]:
    async def render() -> tuple[bytes, ...]:
        headers = {"Authorization": await tenant.bearer()}
        bodies = [{"agentId": AGENT, "message": message} for message in messages()]
        return tuple(render_request("POST", RUN_PATH, port=tenant.port, headers=headers, body=body) for body in bodies)

    return render


def chat_requests(port: int, key: str = "") -> Callable[[], Awaitable[tuple[bytes, ...]]]:
    async def render() -> tuple[bytes, ...]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        bodies = [{"model": "stub", "messages": [{"role": "user", "content": message}]} for message in messages()]
        path = "/v1/chat/completions"
        return tuple(render_request("POST", path, port=port, headers=headers, body=body) for body in bodies)

    return render


def health_requests(port: int) -> Callable[[], Awaitable[tuple[bytes, ...]]]:
    async def render() -> tuple[bytes, ...]:
        return (render_request("GET", "/health", port=port),)

    return render


class InvokeBenchmark:
    """One run of the benchmark: `run` fills `report`."""

    def __init__(self, options: InvokeOptions, console: Console, folder: Path) -> None:
        self.options = options
        self.console = console
        self.folder = folder
        self.data_dir = folder / "data"
        self.report = Report(
            benchmark="invoke",
            bailiwick=__version__,
            finished_on="",
            machine=describe_machine(folder),
            seconds=options.seconds,
            rounds=options.rounds,
        )

    async def run(self) -> Report:
        """Measures all that the options ask for. Raises ServerNotReadyError, SubjectRefusedError, LoadFailedError."""
        async with peers.stub_model(self.folder / "stub") as stub:
            for workers in self.options.workers:
                await self.measure_beside_peers(stub, workers)
                await self.measure_with_model(stub, workers)
        if self.options.with_growth:
            await self.measure_growth()
        self.report.finished_on = datetime.now(UTC).date().isoformat()
        self.report.notes += self.aims()
        return self.report

    @contextlib.asynccontextmanager
    async def subject(self, name: str, workers: int, stub_port: int | None = None) -> AsyncIterator["Subject"]:
        """A Bailiwick server with a tenant whose plan lets it run as often as the benchmark likes."""
        async with bailiwick(
            self.folder, workers=workers, stub_port=stub_port, database_url=self.options.database_url
        ) as server:
            tenant = await Tenant.sign_up(server.port, name)
            await raise_limits(self.database_url(), organization_uuid(tenant.organization_id))
            if not self.report.machine.postgresql:
                version, settings = await database_facts(self.database_url())
                self.report.machine = describe_machine(self.folder, postgresql=version, postgresql_settings=settings)
            yield Subject(server, tenant)

    def database_url(self) -> str:
        """A superuser's URL of the database that the server uses."""
        return self.options.database_url or embedded_url(self.data_dir)

    async def measure_beside_peers(self, stub: OwnServer, workers: int) -> None:
        """Governed runs without a model and /health, with the proxies between them when they are wanted."""
        async with contextlib.AsyncExitStack() as stack:
            subject = await stack.enter_async_context(self.subject(f"plain-{workers}", workers))
            targets = [
                Target(name=HEALTH, server=subject.server, requests=health_requests(subject.server.port)),
                Target(name=RUN, server=subject.server, requests=run_requests(subject.tenant), database=self.data_dir),
            ]
            if self.options.with_peers:
                targets += await self.start_peers(stack, stub, workers)
            recorded = await subject.tenant.runs_recorded()
            await self.measure(targets, workers)
            self.check_record(workers, await subject.tenant.runs_recorded() - recorded)
            for target in targets[1:]:
                if target.server is not stub:
                    self.note_footprint(target, workers)

    async def start_peers(self, stack: contextlib.AsyncExitStack, stub: OwnServer, workers: int) -> list[Target]:
        """The stub itself, nginx and LiteLLM's proxy; one that cannot be had is noted and left out."""
        found = []
        if workers == self.options.workers[0]:
            found.append(Target(name=STUB, server=stub, requests=chat_requests(stub.port)))
            try:
                nginx = await stack.enter_async_context(peers.nginx(self.folder / "nginx", upstream_port=stub.port))
                found.append(Target(name=NGINX, server=nginx, requests=chat_requests(nginx.port)))
            except peers.PeerUnavailableError as reason:
                self.note(f"Left out: {reason}")
        try:
            with self.console.status("LiteLLM's proxy: environment and start"):
                executable = await peers.litellm_environment(self.options.cache_dir.absolute())
                proxy = await stack.enter_async_context(
                    peers.litellm(
                        self.folder / f"litellm-{workers}", executable, upstream_port=stub.port, workers=workers
                    )
                )
            self.note(f"LiteLLM {await peers.litellm_version(executable)}, {workers} worker(s), no database.")
            requests = chat_requests(proxy.port, peers.LITELLM_KEY)
            found.append(Target(name=LITELLM, server=proxy, requests=requests, warmup_seconds=2.0))
        except peers.PeerUnavailableError as reason:
            self.note(f"Left out: {reason}")
        return found

    async def measure_with_model(self, stub: OwnServer, workers: int) -> None:
        """Governed runs whose answer comes from the stub model through Bailiwick's own dispatch."""
        async with self.subject(f"model-{workers}", workers, stub.port) as subject:
            requests = run_requests(subject.tenant)
            target = Target(name=RUN_MODEL, server=subject.server, requests=requests, database=self.data_dir)
            await self.measure([target], workers)
            self.note_footprint(target, workers)

    async def measure(self, targets: list[Target], workers: int) -> None:
        """Loads every target at every number of connections, in alternating rounds."""
        options = self.options
        with Progress(console=self.console, transient=True) as progress:
            loads = len(options.connections) * options.rounds * len(targets)
            task = progress.add_task(f"{workers} worker(s)", total=loads)
            for connections in options.connections:
                for target in targets:
                    target.cpu_us.clear()
                    target.database_cpu_us.clear()
                results = await self.rounds(targets, connections, lambda: progress.advance(task))
                for target in targets:
                    self.report.measurements.append(
                        Measurement(
                            target=target.name,
                            workers=1 if target.name in (STUB, NGINX) else workers,
                            load=median_of(results[target.name]),
                            rounds=options.rounds,
                            server_cpu_us=round(middle(target.cpu_us), 1),
                            database_cpu_us=round(middle(target.database_cpu_us), 1),
                        )
                    )

    async def rounds(
        self, targets: list[Target], connections: int, advance: Callable[[], None]
    ) -> Mapping[str, list[LoadResult]]:
        def measure(target: Target) -> Callable[[], Awaitable[LoadResult]]:
            return lambda: target.measure(connections, self.options.seconds)

        results: dict[str, list[LoadResult]] = {target.name: [] for target in targets}
        measures = {target.name: measure(target) for target in targets}
        async for name, result in alternate(measures, rounds=self.options.rounds):
            results[name].append(result)
            advance()
            if result.failed:
                self.console.print(f"[yellow]{name}: {result.statuses} {result.errors} {result.refusal[-300:]}")
        return results

    async def measure_growth(self) -> None:
        """The same two loads as the organisation's record grows."""
        async with self.subject("growth", 1) as subject:
            target = Target(
                name=RUN, server=subject.server, requests=run_requests(subject.tenant), database=self.data_dir
            )
            await subject.tenant.call("POST", RUN_PATH, {"agentId": AGENT, "message": messages()[0]})
            for rows in self.options.growth_rows:
                await self.write_history(subject.tenant, rows)
                recorded = await subject.tenant.runs_recorded()
                with self.console.status(f"Measuring at {recorded:,} runs"):
                    alone, together = [
                        median_of(
                            [await target.measure(count, self.options.seconds) for _ in range(self.options.rounds)]
                        )
                        for count in (1, 32)
                    ]
                self.report.growth.append(GrowthPoint(rows=recorded, alone=alone, together=together))

    async def write_history(self, tenant: Tenant, rows: int) -> None:
        """Brings the tenant's record up to `rows` runs, and waits for what that causes in the background."""
        organization_id = organization_uuid(tenant.organization_id)
        missing = max(rows - await tenant.runs_recorded(), 0)
        with Progress(console=self.console, transient=True) as progress:
            task = progress.add_task(f"Writing history up to {rows:,} runs", total=missing)
            advance = partial(progress.advance, task)
            await load_history(self.database_url(), organization_id, missing, advance)
        with self.console.status("Letting the database settle"):
            await settle_down(self.database_url(), organization_id)

    def check_record(self, workers: int, recorded: int) -> None:
        """Notes whether every answered run is on record: the figures would mean little otherwise."""
        answered = sum(
            one.load.statuses.get(200, 0)
            for one in self.report.measurements
            if one.target == RUN and one.workers == workers
        )
        verdict = "all on record" if recorded >= answered else f"only {recorded:,} ON RECORD"
        self.note(f"{workers} worker(s): {answered:,} governed runs answered in the measured time, {verdict}.")

    def note_footprint(self, target: Target, workers: int) -> None:
        memory = target.server.memory_mib()
        if memory:
            self.report.footprints.append(
                Footprint(
                    target=target.name,
                    workers=1 if target.name == NGINX else workers,
                    start_up_seconds=target.server.start_up_seconds,
                    memory_mib=round(sum(memory.values()), 1),
                    largest_process_mib=round(max(memory.values()), 1),
                )
            )

    def note(self, text: str) -> None:
        self.report.notes.append(text)
        self.console.print(text)

    def aims(self) -> list[str]:
        """How the figures stand to what the project set out for a machine of two cores."""
        find = self.report.find
        found = []
        together, alone = find(RUN, workers=1, connections=32), find(RUN, workers=1, connections=1)
        modelled, rival = find(RUN_MODEL, workers=1, connections=32), find(LITELLM, workers=1, connections=32)
        if together:
            rate = together.load.requests_per_second
            found.append(f"Governed runs at 32 connections, one worker: {rate:,.0f}/s (aim 2,500, stretch 4,000).")
        if alone:
            found.append(f"p50 at one connection: {alone.load.latency_us.p50 / 1000:.2f} ms (aim under 2.5).")
        for name, ours in (("without", together), ("with", modelled)):
            if ours and rival and rival.load.requests_per_second:
                ratio = ours.load.requests_per_second / rival.load.requests_per_second
                found.append(f"{ratio:,.0f} times LiteLLM's proxy at 32 connections, {name} a model call (aim 20).")
        if len(self.report.growth) > 1:
            first, last = self.report.growth[0], self.report.growth[-1]
            share = last.together.requests_per_second / max(first.together.requests_per_second, 1e-9)
            found.append(f"Throughput at {last.rows:,} runs is {share:.0%} of that at {first.rows:,}.")
        return found


@dataclass(frozen=True)
class Subject:
    """A running Bailiwick and the tenant that loads it."""

    server: OwnServer
    tenant: Tenant


def middle(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2] if values else 0.0


async def bench_invoke(options: InvokeOptions, console: Console) -> Report:
    """Runs the benchmark, prints its tables, and writes the files that the options name.

    Raises SystemExit (status 1), having said why, when a server does not start or refuses the set-up.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bailiwick-bench-", ignore_cleanup_errors=True) as folder:
            report = await InvokeBenchmark(options, console, Path(folder)).run()
    except (ServerNotReadyError, SubjectRefusedError, LoadFailedError) as failure:
        console.print(f"[red]The benchmark stopped:[/red] {failure}")
        raise SystemExit(1) from None
    for drawn in tables(report):
        console.print(drawn)
    for note in report.notes:
        console.print(f"• {note}")
    write_files(report, options)
    return report


def write_files(report: Report, options: InvokeOptions) -> None:
    if options.json_file is not None:
        options.json_file.write_bytes(report.to_json())
    if options.markdown_file is not None:
        document = options.markdown_file.read_text() if options.markdown_file.exists() else "# Benchmarks\n"
        options.markdown_file.write_text(place_markdown(document, report.benchmark, markdown(report)))
