"""Real servers for tests: `bailiwick serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from tests.waiting import PATIENCE_SECONDS


def command_line(pid: int) -> list[bytes]:
    """The words of a process's command; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


class Server(msgspec.Struct, frozen=True):
    """A running server and its database (a superuser's URL)."""

    base_url: str
    database_url: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def children(self) -> list[int]:
        """The process ids of its workers, and of the background worker if it has one."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        children = [int(pid) for pid in listed.split()]
        # `multiprocessing` has a process of its own that cleans up after the others.
        return [pid for pid in children if not any(b"resource_tracker" in word for word in command_line(pid))]


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """A loopback port on which nobody listens, and which nobody else is given meanwhile. A server that takes it with
    SO_REUSEADDR, as all do that we start, may listen on it nevertheless."""
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


def _environment(database_url: str, data_dir: Path, settings: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BAILIWICK_")}
    ours = {"data_dir": str(data_dir), "database_url": database_url, "background_worker": "false", **settings}
    return clean | {f"BAILIWICK_{name.upper()}": value for name, value in ours.items()}


@contextlib.contextmanager
def running_server(database_url: str, data_dir: Path, *, workers: int = 1, **settings: str) -> Iterator[Server]:
    """A server on `database_url`; `settings` are settings by name, as text (`signup_enabled="false"`)."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "server.log"
    with kept_port() as port:
        command = [sys.executable, "-m", "bailiwick.cli", "serve", "--port", str(port), "--workers", str(workers)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=data_dir,  # no .env of the checkout
                env=_environment(database_url, data_dir, settings),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            base_url = f"http://127.0.0.1:{port}"
            _wait(base_url, process, log)
            yield Server(base_url, database_url, data_dir, process)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(base_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended while starting:\n{log.read_text()[-4000:]}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{base_url}/ready", timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-4000:]}")
