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
from bailiwick.bench.processes import (
    ProcessMemory,
    ServerNotReadyError,
    free_port,
    largest_worker_mib,
    own_server,
)
from tests.waiting import PATIENCE_SECONDS


async def test_nginx_passes_calls_to_the_stub_and_ends_with_its_block(tmp_path: Path) -> None:
    try:
        peers.nginx_executable()
    except peers.PeerUnavailableError as reason:
        pytest.skip(str(reason))
    async with peers.stub_model(tmp_path) as stub, peers.nginx(tmp_path / "nginx", upstream_port=stub.port) as nginx:
        request = render_request("POST", "/v1/chat/completions", port=nginx.port, body={"model": "m", "messages": []})
        plan = LoadPlan(requests=(request,), port=nginx.port, connections=4, seconds=60, maximum_requests=40)
        result = await run_load(plan)
        assert result.failed == 0
        assert result.successful >= 40
        assert nginx.start_up_seconds > 0
        if sys.platform == "linux":
            processes = nginx.memory()
            assert len(processes) >= 2  # master and worker
            assert all(0 < one.proportional_mib <= one.resident_mib for one in processes)
            assert largest_worker_mib(processes) == max(one.resident_mib for one in processes)
            assert await peers.calls_answered(stub) >= 40
            assert nginx.cpu_seconds() >= 0
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", nginx.port)


def test_without_nginx_the_note_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(peers.PeerUnavailableError, match="apt-get install nginx"):
        peers.nginx_executable()


def test_litellm_is_configured_for_the_stub_alone() -> None:
    configuration = yaml.safe_load(peers.litellm_configuration(4321))
    bases = {model["litellm_params"]["api_base"] for model in configuration["model_list"]}
    assert bases == {"http://127.0.0.1:4321/v1", "http://127.0.0.1:4321"}
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
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "up" not in server.log_end():  # noqa: ASYNC110  (another process tells it)
                await asyncio.sleep(0.02)
    assert server.process.returncode == -9
    with pytest.raises(ProcessLookupError):
        os.kill(server.process.pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_workers_are_what_multiprocessing_spawned(tmp_path: Path) -> None:
    """The supervisor is larger here than its worker, and its resource tracker is no worker."""
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import multiprocessing, time\n"
        "if __name__ == '__main__':\n"
        "    held = bytearray(b'x' * 2**26)\n"
        "    process = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(60,), daemon=True)\n"
        "    process.start()\n"
        "    print('up', flush=True)\n"
        "    process.join()\n"
    )
    command = [sys.executable, str(script)]
    log = tmp_path / "log"
    async with own_server("Supervisor", command, port=free_port(), log=log, grace_seconds=5) as server:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "up" not in server.log_end() or len(server.memory()) < 3:  # noqa: ASYNC110  (another process tells it)
                await asyncio.sleep(0.02)
        processes = server.memory()
    (worker,) = [one for one in processes if one.is_spawned]
    assert worker.pid != server.process.pid
    assert largest_worker_mib(processes) == worker.resident_mib < max(one.resident_mib for one in processes)


def test_without_spawned_processes_the_largest_is_the_worker() -> None:
    processes = [ProcessMemory(pid=n, is_spawned=False, resident_mib=n, proportional_mib=1) for n in (1, 3, 2)]
    assert largest_worker_mib(processes) == 3
    assert largest_worker_mib([]) == 0
