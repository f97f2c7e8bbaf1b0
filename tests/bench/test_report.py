"""Rounds, medians, and what is written of them."""

import socket
from pathlib import Path

import msgspec

from bailiwick.bench.compare import alternate, median_of
from bailiwick.bench.load import LoadResult, Quantiles
from bailiwick.bench.machine import Machine, describe_machine
from bailiwick.bench.report import Footprint, GrowthPoint, Measurement, Report, SoakPoint, markdown, place_markdown
from bailiwick.bench.side_by_side import added


def result(successful: int, *, p50: float = 1000, errors: int = 0, connections: int = 32) -> LoadResult:
    return LoadResult(
        connections=connections,
        seconds=2.0,
        completed=successful,
        successful=successful,
        statuses={200: successful},
        warmup_successful=5,
        errors={"closed": errors} if errors else {},
        latency_us=Quantiles(p50=p50, p95=p50 * 2, p99=p50 * 3, maximum=p50 * 4, mean=p50),
        first_byte_us=Quantiles(),
        bytes_received=0,
        generator_cpu_share=0.1,
    )


def report() -> Report:
    machine = Machine(processor="P", cores=2, memory_gib=4.0, kernel="Linux 6.1", python="3.11.7", postgresql="18.0")
    return Report(
        benchmark="invoke",
        bailiwick="0.1.0",
        finished_on="2026-01-02",
        machine=machine,
        seconds=2.0,
        rounds=3,
        measurements=[Measurement(target="run", workers=1, load=result(6000), server_cpu_us=210, database_cpu_us=90)],
        footprints=[
            Footprint(
                target="run",
                workers=1,
                start_up_seconds=2,
                resident_mib=120,
                proportional_mib=99,
                worker_resident_mib=60,
            )
        ],
        growth=[GrowthPoint(rows=1_000_000, alone=result(900, connections=1), together=result(6000))],
        notes=["All on record."],
    )


async def test_rounds_turn_their_order() -> None:
    async def one() -> LoadResult:
        return result(1)

    order = [name async for name, _ in alternate({"a": one, "b": one, "c": one}, rounds=3)]
    assert "".join(order) == "abccbaabc"


def test_the_median_round_counts_and_no_error_is_lost() -> None:
    middle = median_of([result(10, p50=900), result(30, p50=100, errors=2), result(20, p50=200)])
    assert middle.requests_per_second == 10
    assert middle.latency_us.p50 == 200
    assert middle.errors == {"closed": 2}
    assert middle.statuses == {200: 60}
    assert middle.all_successful == 60 + 3 * 5
    assert median_of([result(10), result(30)]).successful == 10, "of two rounds, the slower"


def test_a_report_survives_json() -> None:
    assert msgspec.json.decode(report().to_json(), type=Report) == report()


def test_markdown_holds_every_figure() -> None:
    text = markdown(report())
    assert "| run | 1 | 32 | 3,000 | 1.00 | 2.00 | 3.00 | 4.00 | 210 + 90 | 0 |" in text
    assert "| 1,000,000 | 3,000 | 1.00 | 3.00 | 450 | 1.00 |" in text
    assert "| run | 1 | 2.0 | 120 | 60 | 99 |" in text
    assert "- All on record." in text


def test_what_a_proxy_adds_is_compared_round_by_round() -> None:
    """The slow second round is slow for both, and adds no more."""
    found = added([result(1, p50=900), result(1, p50=5000)], [result(1, p50=400), result(1, p50=4500)])
    assert found is not None
    assert (found.p50, found.p95, found.p99) == (500, 1000, 1500)
    assert added([result(0)], [result(1)]) is None


def test_each_scenario_has_a_table_of_what_was_added() -> None:
    streamed = msgspec.structs.replace(result(100), first_byte_us=Quantiles(p50=2500, p95=4000))
    loads = {"chat": result(100), "stream": streamed}
    measurements = [
        measurement
        for scenario, load in loads.items()
        for measurement in (
            Measurement(target="stub", workers=1, scenario=scenario, load=load),
            Measurement(
                target="proxy", workers=1, scenario=scenario, load=load, added_us=Quantiles(p50=250, p95=-10, p99=3000)
            ),
        )
    ]
    point = SoakPoint(requests=20_000, resident_mib=400.4, worker_resident_mib=200, load=result(100))
    whole = msgspec.structs.replace(report(), measurements=measurements, soak=[point])
    text = markdown(whole)
    chat, stream = text.split("Load: stream:")
    assert "| stub | 1 | 32 | 50 | 1.00 |  |  |  |  | 0 |" in chat
    assert "| proxy | 1 | 32 | 50 | 1.00 | 0.25 | -0.01 | 3.00 |  | 0 |" in chat
    assert "| proxy | 1 | 32 | 50 | 1.00 | 0.25 | -0.01 | 3.00 | 2.50 | 4.00 |  | 0 |" in stream
    assert "| 20,000 | 400 | 200 | 50 | 1.00 | 3.00 | 0 |" in stream
    assert whole.find("proxy", workers=1, connections=32, scenario="stream") == measurements[3]
    assert whole.find("proxy", workers=1, connections=32) is None


def test_a_block_replaces_only_itself() -> None:
    first = place_markdown("# Benchmarks\n\nText.\n", "invoke", "one\n")
    second = place_markdown(place_markdown(first, "dlp", "other\n"), "invoke", "two\n")
    assert "one" not in second
    assert second.startswith("# Benchmarks\n\nText.\n")
    assert second.index("two") < second.index("<!-- /bench:invoke -->") < second.index("other")
    assert place_markdown(second, "invoke", "two\n") == second


def test_the_machine_is_described_without_names(tmp_path: Path) -> None:
    machine = describe_machine(tmp_path)
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.sync_us > 0
    text = msgspec.json.encode(machine).decode()
    assert socket.gethostname() not in text
    assert str(tmp_path) not in text
    assert list(tmp_path.iterdir()) == []
