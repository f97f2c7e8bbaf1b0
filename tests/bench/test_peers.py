"""The peers' configurations, and a real nginx where one is installed."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from bailiwick.bench import peers
from bailiwick.bench.load import LoadPlan, render_request, run_load
from bailiwick.bench.processes import ServerNotReadyError, free_port, own_server


async def test_nginx_passes_calls_to_the_stub_and_ends_with_its_block(tmp_path: Path) -> None:
    try:
        peers.nginx_executable()
    except peers.PeerUnavailableError as reason:
        pytest.skip(str(reason))
    async with peers.stub_model(tmp_path) as stub, peers.nginx(tmp_path / "nginx", upstream_port=stub.port) as nginx:
        request = render_request("POST", "/v1/chat/completions", port=nginx.port, body={"model": "m", "messages": []})
        plan = LoadPlan(requests=(request,), port=nginx.port, connections=4, seconds=5, maximum_requests=40)
        result = await run_load(plan)
        assert result.failed == 0
        assert result.successful >= 40
        assert nginx.start_up_seconds > 0
        if sys.platform == "linux":
            assert len(nginx.memory_mib()) >= 2  # master and worker
            assert nginx.cpu_seconds() >= 0
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", nginx.port)


def test_without_nginx_the_note_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(peers.PeerUnavailableError, match="apt-get install nginx"):
        peers.nginx_executable()


def test_litellm_is_configured_for_the_stub_alone() -> None:
    configuration = yaml.safe_load(peers.litellm_configuration(4321))
    (model,) = configuration["model_list"]
    assert model["litellm_params"]["api_base"] == "http://127.0.0.1:4321/v1"
    assert configuration["litellm_settings"]["telemetry"] is False


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no licence')"]
    with pytest.raises(ServerNotReadyError, match="no licence"):
        async with own_server("Peer", command, port=free_port(), log=tmp_path / "log") as server:
            await server.wait_ready("/", timeout_seconds=20)


async def test_a_server_that_does_not_end_when_asked_is_ended(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    command = [sys.executable, "-c", deaf]
    async with own_server("Deaf", command, port=free_port(), log=log, grace_seconds=0.2) as server:
        async with asyncio.timeout(20):
            while "up" not in server.log_end():  # noqa: ASYNC110  (another process tells it)
                await asyncio.sleep(0.02)
    assert server.process.returncode == -9
    with pytest.raises(ProcessLookupError):
        os.kill(server.process.pid, 0)
