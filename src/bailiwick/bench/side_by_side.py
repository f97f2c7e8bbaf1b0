"""What the benchmarks of a running server share: starting Bailiwick and its peers, loading them in turn, telling it.

All servers run here, on loopback, on the same stub model; each figure is the median of alternating rounds.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Self, TypeVar

from rich.console import Console
from rich.progress import Progress

from bailiwick import __version__
from bailiwick.bench import peers
from bailiwick.bench.compare import alternate, median_of, median_quantiles
from bailiwick.bench.history import database_facts, embedded_url, organization_uuid, raise_limits
from bailiwick.bench.load import LoadFailedError, LoadResult, Quantiles
from bailiwick.bench.machine import describe_machine
from bailiwick.bench.processes import OwnServer, ServerNotReadyError, largest_worker_mib
from bailiwick.bench.report import Footprint, Measurement, Report, markdown, place_markdown, tables
from bailiwick.bench.subject import SubjectRefusedError, Tenant, bailiwick
from bailiwick.bench.targets import Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure; the defaults are what `docs/benchmarks.md` shows."""

    connections: tuple[int, ...] = (1, 8, 32, 64)
    workers: tuple[int, ...] = (1, 2)
    seconds: float = 5.0
    rounds: int = 3
    with_peers: bool = True
    cache_dir: Path = Path(".bailiwick/bench")
    """Keeps LiteLLM's environment from one run to the next."""
    database_url: str | None = None
    """An empty database to use up; default: an embedded one that is thrown away."""
    json_file: Path | None = None
    markdown_file: Path | None = None

    def quick(self) -> Self:
        """The same in about two minutes: fewer and shorter loads."""
        return replace(
            self,
            connections=tuple(count for count in self.connections if count in (1, 32)) or self.connections,
            workers=self.workers[:1],
            seconds=min(self.seconds, 2.0),
            rounds=1,
        )


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True)
class Subject:
    """A running Bailiwick and the tenant that loads it."""

    server: OwnServer
    tenant: Tenant


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A server in front of the stub that answers its calls."""

    server: OwnServer
    key: str = ""
    warmup_seconds: float = 0.5


class Benchmark(Generic[OptionsT]):
    """One run of a benchmark: `run` fills `report`."""

    name: str

    def __init__(self, options: OptionsT, console: Console, folder: Path) -> None:
        self.options = options
        self.console = console
        self.folder = folder
        self.data_dir = folder / "data"
        self.report = Report(
            benchmark=self.name,
            bailiwick=__version__,
            finished_on="",
            machine=describe_machine(folder),
            seconds=options.seconds,
            rounds=options.rounds,
        )

    async def run(self) -> Report:
        """Measures all that the options ask for. Raises ServerNotReadyError, SubjectRefusedError, LoadFailedError."""
        await self.measure_all()
        self.report.finished_on = datetime.now(UTC).date().isoformat()
        self.report.notes += self.aims()
        return self.report

    async def measure_all(self) -> None:
        """Measures what the options ask for, into `self.report`. Raises as `run`."""
        raise NotImplementedError

    def aims(self) -> list[str]:
        """How the figures stand to what the project set out for a machine of two cores."""
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def subject(self, name: str, workers: int, stub_port: int | None = None) -> AsyncIterator[Subject]:
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

    async def start_nginx(self, stack: contextlib.AsyncExitStack, stub: OwnServer) -> Proxy | None:
        """None, and a note, where it cannot be had."""
        try:
            server = await stack.enter_async_context(peers.nginx(self.folder / "nginx", upstream_port=stub.port))
        except peers.PeerUnavailableError as reason:
            self.note(f"Left out: {reason}")
            return None
        return Proxy(server=server)

    async def start_litellm(self, stack: contextlib.AsyncExitStack, stub: OwnServer, workers: int) -> Proxy | None:
        """None, and a note, where it cannot be had."""
        folder = self.folder / f"litellm-{workers}"
        try:
            with self.console.status("LiteLLM's proxy: environment and start"):
                executable = await peers.litellm_environment(self.options.cache_dir.absolute())
                server = await stack.enter_async_context(
                    peers.litellm(folder, executable, upstream_port=stub.port, workers=workers)
                )
            self.note(f"LiteLLM {await peers.litellm_version(executable)}, {workers} worker(s), no database.")
        except peers.PeerUnavailableError as reason:
            self.note(f"Left out: {reason}")
            return None
        return Proxy(server=server, key=peers.LITELLM_KEY, warmup_seconds=2.0)

    async def measure(
        self,
        targets: list[Target],
        workers: int,
        *,
        connections: Sequence[int] = (),
        scenario: str = "",
        baseline: str = "",
    ) -> None:
        """Loads every target at every number of connections (default: the options'), in alternating rounds.

        `baseline` names the target whose latencies, round by round, are taken from those of the others.
        """
        options, connections = self.options, connections or self.options.connections
        with Progress(console=self.console, transient=True) as progress:
            loads = len(connections) * options.rounds * len(targets)
            task = progress.add_task(f"{scenario} {workers} worker(s)".strip(), total=loads)
            for count in connections:
                for target in targets:
                    target.cpu_us.clear()
                    target.database_cpu_us.clear()
                results = await self.rounds(targets, count, lambda: progress.advance(task))
                for target in targets:
                    if not target.is_reported:
                        continue
                    is_compared = bool(baseline) and target.name != baseline
                    self.report.measurements.append(
                        Measurement(
                            target=target.name,
                            workers=target.workers or workers,
                            scenario=scenario,
                            load=median_of(results[target.name]),
                            added_us=added(results[target.name], results[baseline]) if is_compared else None,
                            rounds=options.rounds,
                            server_cpu_us=round(middle(target.cpu_us), 1),
                            database_cpu_us=round(middle(target.database_cpu_us), 1),
                        )
                    )

    async def rounds(
        self, targets: list[Target], connections: int, advance: Callable[[], None]
    ) -> Mapping[str, list[LoadResult]]:
        """Results of each target by its name, in the order of the rounds."""

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

    def note_footprint(self, target: str, server: OwnServer, workers: int) -> None:
        """Start and memory as it is now, where the kernel tells it."""
        processes = server.memory()
        if not processes:
            return
        self.report.footprints.append(
            Footprint(
                target=target,
                workers=workers,
                start_up_seconds=round(server.start_up_seconds, 2),
                resident_mib=round(sum(one.resident_mib for one in processes), 1),
                proportional_mib=round(sum(one.proportional_mib for one in processes), 1),
                worker_resident_mib=round(largest_worker_mib(processes), 1),
            )
        )

    def note_recorded(self, things: str, workers: int, answered: int, recorded: int) -> None:
        """Whether every one that was answered, warm-up and all, is on record: the figures would mean little else."""
        verdict = "all on record" if recorded >= answered else f"only {recorded:,} ON RECORD"
        self.note(f"{workers} worker(s): {answered:,} {things} answered by Bailiwick, {verdict}.")

    def note(self, text: str) -> None:
        """For the report, and for who waits."""
        self.report.notes.append(text)
        self.console.print(text)


def wide_console() -> Console:
    """The terminal; for a file or a pipe one in which no table has to be squeezed."""
    console = Console()
    return console if console.is_terminal else Console(width=180)


def middle(values: list[float]) -> float:
    """The median, of two the lower; 0 of none."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0.0


def added(results: Sequence[LoadResult], baseline: Sequence[LoadResult]) -> Quantiles | None:
    """By how much each order statistic exceeds the baseline's of the same round: the median over the rounds.

    None when in no round both were answered.
    """
    differences = [
        ours.latency_us.minus(theirs.latency_us)
        for ours, theirs in zip(results, baseline, strict=True)
        if ours.completed and theirs.completed
    ]
    return median_quantiles(differences) if differences else None


async def tell(benchmark: type[Benchmark[OptionsT]], options: OptionsT, console: Console) -> Report:
    """Runs a benchmark, prints its tables, and writes the files that the options name.

    Raises SystemExit (status 1), having said why, when a server does not start or refuses the set-up.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bailiwick-bench-", ignore_cleanup_errors=True) as folder:
            report = await benchmark(options, console, Path(folder)).run()
    except (ServerNotReadyError, SubjectRefusedError, LoadFailedError) as failure:
        console.print(f"[red]The benchmark stopped:[/red] {failure}")
        raise SystemExit(1) from None
    for drawn in tables(report):
        console.print(drawn)
    for note in report.notes:
        console.print(f"• {note}")
    write_files(report, options)
    return report


def write_files(report: Report, options: Options) -> None:
    """JSON, and the marked block of a Markdown document, where asked for."""
    if options.json_file is not None:
        options.json_file.write_bytes(report.to_json())
    if options.markdown_file is not None:
        document = options.markdown_file.read_text() if options.markdown_file.exists() else "# Benchmarks\n"
        options.markdown_file.write_text(place_markdown(document, report.benchmark, markdown(report)))
