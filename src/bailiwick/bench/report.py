"""What a benchmark found, as data, as a table for the terminal, and as Markdown for `docs/benchmarks.md`."""

from collections.abc import Sequence

import msgspec
from rich.table import Table

from bailiwick.bench.load import LoadResult
from bailiwick.bench.machine import Machine


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one target: the median of its rounds."""

    target: str
    workers: int
    load: LoadResult
    rounds: int = 1
    server_cpu_us: float = 0.0
    """CPU time of the target's processes for each answer."""
    database_cpu_us: float = 0.0
    """Likewise of the database, where the target has one."""


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """A server's start and memory, the latter after its loads."""

    target: str
    workers: int
    start_up_seconds: float
    memory_mib: float
    largest_process_mib: float


class GrowthPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Two loads on a database that already holds `rows` runs of the same organisation."""

    rows: int
    alone: LoadResult
    """At one connection."""
    together: LoadResult
    """At 32 connections."""


class Report(msgspec.Struct, kw_only=True):
    """A whole benchmark; `finished_on` is a date."""

    benchmark: str
    bailiwick: str
    finished_on: str
    machine: Machine
    seconds: float
    """Measured length of each load."""
    rounds: int
    measurements: list[Measurement] = []
    footprints: list[Footprint] = []
    growth: list[GrowthPoint] = []
    notes: list[str] = []

    def by_target(self) -> list[Measurement]:
        """The measurements of each target together, in the order in which the targets were first measured."""
        order = list(dict.fromkeys((one.workers, one.target) for one in self.measurements))
        return sorted(self.measurements, key=lambda one: order.index((one.workers, one.target)))

    def find(self, target: str, *, workers: int, connections: int) -> Measurement | None:
        for one in self.measurements:
            if (one.target, one.workers, one.load.connections) == (target, workers, connections):
                return one
        return None

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


COLUMNS = ("target", "workers", "connections", "requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "CPU µs", "failed")


def cells(one: Measurement) -> tuple[str, ...]:
    latency = one.load.latency_us
    cpu = f"{one.server_cpu_us:,.0f}" if one.server_cpu_us else ""
    if one.database_cpu_us:
        cpu += f" + {one.database_cpu_us:,.0f}"
    return (
        one.target,
        str(one.workers),
        str(one.load.connections),
        f"{one.load.requests_per_second:,.0f}",
        milliseconds(latency.p50),
        milliseconds(latency.p95),
        milliseconds(latency.p99),
        milliseconds(latency.maximum),
        cpu,
        str(one.load.failed),
    )


def milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f}" if microseconds < 100_000 else f"{microseconds / 1000:,.0f}"


GROWTH_COLUMNS = ("runs on record", "runs/s at 32", "p50 ms at 32", "p99 ms at 32", "runs/s at 1", "p50 ms at 1")


def growth_cells(point: GrowthPoint) -> tuple[str, ...]:
    return (
        f"{point.rows:,}",
        f"{point.together.requests_per_second:,.0f}",
        milliseconds(point.together.latency_us.p50),
        milliseconds(point.together.latency_us.p99),
        f"{point.alone.requests_per_second:,.0f}",
        milliseconds(point.alone.latency_us.p50),
    )


FOOTPRINT_COLUMNS = ("target", "workers", "start s", "memory MiB", "largest process MiB")


def footprint_cells(one: Footprint) -> tuple[str, ...]:
    return (
        one.target,
        str(one.workers),
        f"{one.start_up_seconds:.1f}",
        f"{one.memory_mib:.0f}",
        f"{one.largest_process_mib:.0f}",
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> Table:
    """A table for the terminal; the first `words` columns are text, the others figures."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        drawn.add_column(column, justify="left" if position < words else "right", no_wrap=position < words)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def tables(report: Report) -> list[Table]:
    drawn = [table("Load", COLUMNS, [cells(one) for one in report.by_target()])]
    if report.footprints:
        drawn.append(table("Servers", FOOTPRINT_COLUMNS, [footprint_cells(one) for one in report.footprints]))
    if report.growth:
        rows = [growth_cells(point) for point in report.growth]
        drawn.append(table("Cost as the record grows", GROWTH_COLUMNS, rows, words=0))
    return drawn


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    marks = ["---" if position < words else "---:" for position in range(len(columns))]
    lines = [columns, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(report: Report) -> str:
    """The block that stands between the markers of `docs/benchmarks.md`."""
    machine = report.machine
    durability = ", ".join(f"{name} = {value}" for name, value in machine.postgresql_settings.items())
    parts = [
        f"Measured on {report.finished_on} with Bailiwick {report.bailiwick}: {machine.cores} × {machine.processor}, "
        f"{machine.memory_gib} GiB, {machine.kernel}, Python {machine.python}"
        + (f", PostgreSQL {machine.postgresql} ({durability})" if machine.postgresql else "")
        + f"; 8 KiB made durable in {machine.sync_us:.0f} µs; load average before: {machine.load_before}. "
        f"Load generator, stub model and database share the cores. {report.seconds:g} s a load after warm-up, "
        f"median of {report.rounds} alternating rounds. CPU µs: of the server's processes for each answer, and of "
        "the database.",
        markdown_table(COLUMNS, [cells(one) for one in report.by_target()]),
    ]
    if report.footprints:
        parts.append(markdown_table(FOOTPRINT_COLUMNS, [footprint_cells(one) for one in report.footprints]))
    if report.growth:
        parts.append(markdown_table(GROWTH_COLUMNS, [growth_cells(point) for point in report.growth], words=0))
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(parts) + "\n"


def place_markdown(document: str, name: str, block: str) -> str:
    """`document` with what stands between its marks (comments bench:NAME, /bench:NAME) replaced, or the block added."""
    opening, closing = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    before, found, rest = document.partition(opening)
    if not found:
        return f"{document.rstrip()}\n\n{opening}\n\n{block}\n{closing}\n".lstrip()
    after = rest.partition(closing)[2]
    return f"{before}{opening}\n\n{block}\n{closing}{after}"
