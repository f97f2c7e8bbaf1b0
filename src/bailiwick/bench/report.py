"""What a benchmark found, as data, as a table for the terminal, and as Markdown for `docs/benchmarks.md`."""

from collections.abc import Sequence

import msgspec
from rich.table import Table

from bailiwick.bench.load import LoadResult, Quantiles
from bailiwick.bench.machine import Machine


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one target: the median of its rounds."""

    target: str
    workers: int
    load: LoadResult
    scenario: str = ""
    """What was asked of it, in a benchmark that asks several things."""
    added_us: Quantiles | None = None
    """By how much its latencies exceed those of what it stands in front of, where that was measured in turn with it."""
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
    resident_mib: float
    """Of all its processes (RSS): what they share counts several times."""
    proportional_mib: float
    """Likewise, with what they share counted once (PSS)."""
    worker_resident_mib: float
    """RSS of its largest worker."""


class GrowthPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Two loads on a database that already holds `rows` runs of the same organisation."""

    rows: int
    alone: LoadResult
    """At one connection."""
    together: LoadResult
    """At 32 connections."""


class SoakPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one server after so many requests, and how the last of them went."""

    requests: int
    resident_mib: float
    """Of all its processes (RSS)."""
    worker_resident_mib: float
    load: LoadResult


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
    soak: list[SoakPoint] = []
    notes: list[str] = []

    def by_target(self) -> list[Measurement]:
        """The measurements of each target together, in the order in which the targets were first measured."""
        order = list(dict.fromkeys((one.scenario, one.workers, one.target) for one in self.measurements))
        return sorted(self.measurements, key=lambda one: order.index((one.scenario, one.workers, one.target)))

    def find(self, target: str, *, workers: int, connections: int, scenario: str = "") -> Measurement | None:
        """The measurement of that load; None when there is none."""
        for one in self.measurements:
            if (one.target, one.workers, one.load.connections, one.scenario) == (
                target,
                workers,
                connections,
                scenario,
            ):
                return one
        return None

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class Section(msgspec.Struct, frozen=True):
    """One table of a report; the first `words` columns are text, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1


def load_section(title: str, measurements: Sequence[Measurement]) -> Section:
    """Latencies, or what was added to those of a baseline where one was measured; to the first byte for streams."""
    has_added = any(one.added_us for one in measurements)
    has_first_byte = any(one.load.first_byte_us.p50 for one in measurements)
    latencies = ("p50", "added p50", "added p95", "added p99") if has_added else ("p50", "p95", "p99", "max")
    columns = ["target", "workers", "connections", "requests/s", *(f"{name} ms" for name in latencies)]
    columns += ["first byte p50 ms", "first byte p95 ms"] if has_first_byte else []
    columns += ["CPU µs", "failed"]
    rows: list[tuple[str, ...]] = []
    for one in measurements:
        latency, first_byte = one.load.latency_us, one.load.first_byte_us
        cells = [one.target, str(one.workers), str(one.load.connections), f"{one.load.requests_per_second:,.0f}"]
        if not has_added:
            cells += map(milliseconds, (latency.p50, latency.p95, latency.p99, latency.maximum))
        elif one.added_us:
            cells += map(milliseconds, (latency.p50, one.added_us.p50, one.added_us.p95, one.added_us.p99))
        else:
            cells += [milliseconds(latency.p50), "", "", ""]
        if has_first_byte:
            cells += map(milliseconds, (first_byte.p50, first_byte.p95))
        rows.append((*cells, cpu_times(one), str(one.load.failed)))
    return Section(title, tuple(columns), rows)


def cpu_times(one: Measurement) -> str:
    """Of the server, and of the database where there is one."""
    server = f"{one.server_cpu_us:,.0f}" if one.server_cpu_us else ""
    return f"{server} + {one.database_cpu_us:,.0f}" if one.database_cpu_us else server


def milliseconds(microseconds: float) -> str:
    """Microseconds as text in milliseconds, without decimals from 100 ms on."""
    return f"{microseconds / 1000:.2f}" if microseconds < 100_000 else f"{microseconds / 1000:,.0f}"


def growth_section(points: Sequence[GrowthPoint]) -> Section:
    columns = ("runs on record", "runs/s at 32", "p50 ms at 32", "p99 ms at 32", "runs/s at 1", "p50 ms at 1")
    rows = [
        (
            f"{point.rows:,}",
            f"{point.together.requests_per_second:,.0f}",
            milliseconds(point.together.latency_us.p50),
            milliseconds(point.together.latency_us.p99),
            f"{point.alone.requests_per_second:,.0f}",
            milliseconds(point.alone.latency_us.p50),
        )
        for point in points
    ]
    return Section("Cost as the record grows", columns, rows, words=0)


def footprint_section(footprints: Sequence[Footprint]) -> Section:
    columns = ("target", "workers", "start s", "RSS MiB", "RSS of a worker MiB", "PSS MiB")
    rows = [
        (
            one.target,
            str(one.workers),
            f"{one.start_up_seconds:.1f}",
            f"{one.resident_mib:.0f}",
            f"{one.worker_resident_mib:.0f}",
            f"{one.proportional_mib:.0f}",
        )
        for one in footprints
    ]
    return Section("Servers", columns, rows)


def soak_section(points: Sequence[SoakPoint]) -> Section:
    columns = ("requests", "RSS MiB", "RSS of a worker MiB", "requests/s", "p50 ms", "p99 ms", "failed")
    rows = [
        (
            f"{point.requests:,}",
            f"{point.resident_mib:.0f}",
            f"{point.worker_resident_mib:.0f}",
            f"{point.load.requests_per_second:,.0f}",
            milliseconds(point.load.latency_us.p50),
            milliseconds(point.load.latency_us.p99),
            str(point.load.failed),
        )
        for point in points
    ]
    return Section("Memory over many requests", columns, rows, words=0)


def sections(report: Report) -> list[Section]:
    """All tables of a report."""
    ordered = report.by_target()
    found = []
    for scenario in dict.fromkeys(one.scenario for one in ordered):
        title = f"Load: {scenario}" if scenario else "Load"
        found.append(load_section(title, [one for one in ordered if one.scenario == scenario]))
    if report.footprints:
        found.append(footprint_section(report.footprints))
    if report.growth:
        found.append(growth_section(report.growth))
    if report.soak:
        found.append(soak_section(report.soak))
    return found


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> Table:
    """A table for the terminal; the first `words` columns are text, the others figures."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        drawn.add_column(column, justify="left" if position < words else "right", no_wrap=position < words)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def tables(report: Report) -> list[Table]:
    """For the terminal."""
    return [table(one.title, one.columns, one.rows, words=one.words) for one in sections(report)]


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
    ]
    for one in sections(report):
        drawn = markdown_table(one.columns, one.rows, words=one.words)
        parts.append(f"{one.title}:\n\n{drawn}" if one.title.startswith("Load: ") else drawn)
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
