"""Server processes that a benchmark starts: each known by its own id, waited for, measured, and ended."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

LOOPBACK = "127.0.0.1"


class ServerNotReadyError(RuntimeError):
    """A started server ended, or did not answer in time; the message holds the end of its log."""


class ProcessMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one process in MiB (proc(5), smaps_rollup)."""

    pid: int
    is_spawned: bool
    """Whether Python's multiprocessing started it, as Uvicorn starts its workers."""
    resident_mib: float
    proportional_mib: float
    """With shared pages divided among those who share them."""


class OwnServer:
    """A server that this process started, on a loopback port."""

    def __init__(
        self, name: str, port: int, process: asyncio.subprocess.Process, log: Path, *, started_at: float
    ) -> None:
        self.name = name
        self.port = port
        self.process = process
        self.log = log
        self.started_at = started_at
        self.start_up_seconds = 0.0
        """From the start of the process to its first good answer."""

    async def wait_ready(self, path: str, *, timeout_seconds: float = 60.0) -> None:
        """Returns when `GET path` answers 200. Raises ServerNotReadyError."""
        while time.perf_counter() - self.started_at < timeout_seconds:
            self.check_runs()
            if await answers(self.port, path):
                self.start_up_seconds = time.perf_counter() - self.started_at
                return
            await asyncio.sleep(0.05)
        raise ServerNotReadyError(f"{self.name} did not answer in {timeout_seconds:.0f} s: {self.log_end()}")

    def check_runs(self) -> None:
        """Raises ServerNotReadyError when the server has ended."""
        if self.process.returncode is not None:
            raise ServerNotReadyError(f"{self.name} ended with {self.process.returncode}: {self.log_end()}")

    def log_end(self) -> str:
        """The last of the server's log, for messages."""
        return self.log.read_text(errors="replace")[-1500:].strip()

    def memory(self) -> list[ProcessMemory]:
        """Of the server and of its children, databases apart; empty where the kernel does not tell."""
        found = []
        for pid in (self.process.pid, *descendants(self.process.pid)):
            with contextlib.suppress(OSError):
                if not Path(f"/proc/{pid}/comm").read_text().startswith("postgres"):
                    found.append(process_memory(pid))
        return found

    def cpu_seconds(self) -> float:
        """CPU time of the server and its children since they began."""
        return tree_cpu_seconds(self.process.pid)

    async def stop(self, ending: signal.Signals, grace_seconds: float) -> None:
        """Asks the server to end; after the grace, ends it and the children that it had, each by its id."""
        children = descendants(self.process.pid)
        if self.process.returncode is None:
            self.process.send_signal(ending)
            try:
                await asyncio.wait_for(self.process.wait(), grace_seconds)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
                for pid in children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def own_server(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    ending: signal.Signals = signal.SIGTERM,
    grace_seconds: float = 15.0,
) -> AsyncIterator[OwnServer]:
    """Starts `command` in `folder` for the length of the block; what it prints goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started_at = time.perf_counter()
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=dict(environment) if environment is not None else None,
            cwd=folder,
            start_new_session=True,  # so that an interrupt at the terminal reaches us first, and we end it properly
        )
    server = OwnServer(name, port, process, log, started_at=started_at)
    try:
        yield server
    finally:
        await server.stop(ending, grace_seconds)


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


async def answers(port: int, path: str) -> bool:
    """Whether `GET path` is answered with 200 within a second."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


def descendants(pid: int) -> list[int]:
    """Ids of all processes below `pid`; empty where the kernel does not tell (it needs Linux's /proc)."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def process_memory(pid: int) -> ProcessMemory:
    """Raises OSError when there is no such process, or no Linux."""
    sizes = {"Rss:": 0, "Pss:": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, *rest = line.split()
        if name in sizes:
            sizes[name] = int(rest[0])
    return ProcessMemory(
        pid=pid,
        is_spawned=b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes(),
        resident_mib=sizes["Rss:"] / 1024,
        proportional_mib=sizes["Pss:"] / 1024,
    )


def largest_worker_mib(processes: Sequence[ProcessMemory]) -> float:
    """Resident size of the largest worker: of what multiprocessing spawned, else of all. 0 without processes."""
    workers = [one for one in processes if one.is_spawned] or processes
    return max((one.resident_mib for one in workers), default=0.0)


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of a process, of those below it, and of those below it that it has waited for (proc(5))."""
    ticks = 0
    for member in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
