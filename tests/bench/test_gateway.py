"""The gateway's benchmark: its calls are ones that a client makes, and a short run of it holds together."""

from pathlib import Path

import pytest
from rich.console import Console

from bailiwick.bench import peers
from bailiwick.bench.gateway import (
    CHAT,
    GATEWAY,
    MESSAGES,
    SCENARIOS,
    STREAM,
    STUB,
    GatewayBenchmark,
    GatewayOptions,
    Scenario,
    requests,
)
from bailiwick.bench.load import LoadPlan, run_load
from bailiwick.bench.processes import ServerNotReadyError
from bailiwick.bench.targets import Target
from tests.conftest import clone, drop


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda one: one.name)
async def test_the_stub_answers_each_scenario_to_its_end(scenario: Scenario, tmp_path: Path) -> None:
    async with peers.stub_model(tmp_path) as stub:
        rendered = await requests((scenario,), port=stub.port, key="vk_x")()
        plan = LoadPlan(
            requests=rendered,
            port=stub.port,
            connections=2,
            seconds=60,
            maximum_requests=40,
            streaming=scenario.streams,
            ending=scenario.ending,
        )
        result = await run_load(plan)
    assert result.failed == 0
    assert result.successful >= 40
    assert (result.first_byte_us.p50 > 0) == scenario.streams


async def test_scenarios_take_turns_and_send_their_keys() -> None:
    rendered = await requests((CHAT, STREAM, MESSAGES), port=80, key="vk_x")()
    assert [b'"stream":true' in one for one in rendered[:6]] == [False, True, False] * 2
    assert len(set(rendered)) == len(rendered)
    assert b"\r\nAuthorization: Bearer vk_x\r\n" in rendered[0]
    assert b"\r\nx-api-key: vk_x\r\n" in rendered[2]
    assert b'"max_tokens"' in rendered[2]


async def test_a_short_run_measures_everything(server_url: str, template_database: str, tmp_path: Path) -> None:
    database_url = clone(server_url, template_database)
    options = GatewayOptions(
        connections=(1, 2),
        workers=(1,),
        seconds=0.4,
        rounds=1,
        with_peers=False,
        soak=60,
        database_url=database_url,
    )
    try:
        report = await GatewayBenchmark(options, Console(quiet=True), tmp_path).run()
    finally:
        drop(server_url, database_url)
    for scenario in ("chat", "stream"):
        for connections in (1, 2):
            direct = report.find(STUB, workers=1, connections=connections, scenario=scenario)
            ours = report.find(GATEWAY, workers=1, connections=connections, scenario=scenario)
            assert direct is not None
            assert ours is not None
            assert direct.added_us is None
            assert ours.added_us is not None
            assert ours.load.successful > 0
            assert ours.load.failed == direct.load.failed == 0
    notes = " ".join(report.notes)
    assert "all on record" in notes
    assert "ONLY" not in notes
    (point,) = report.soak
    assert point.requests >= 60
    assert point.load.failed == 0
    assert 0 < point.worker_resident_mib < point.resident_mib
    (footprint,) = report.footprints
    assert footprint.target == GATEWAY


async def test_a_server_that_ends_under_its_load_stops_the_benchmark(tmp_path: Path) -> None:
    async with peers.stub_model(tmp_path) as stub:
        target = Target(name=STUB, server=stub, requests=requests((CHAT,), port=stub.port, key=""))
        stub.process.kill()
        await stub.process.wait()
        with pytest.raises(ServerNotReadyError, match="ended with -9"):
            await target.measure(1, 0.1)
