"""What a benchmark ran on: enough to compare figures, nothing that names the machine or its owner."""

import os
import platform
import time
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware and software of one run."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    postgresql: str = ""
    postgresql_settings: dict[str, str] = {}
    """Those that decide whether a commit is on disk."""
    sync_us: float = 0.0
    """Median time to make 8 KiB durable (write and fdatasync) in the data folder."""
    load_before: float = 0.0
    """Load average of the minute before: well above 0, others were using the cores."""


def describe_machine(
    data_dir: Path, *, postgresql: str = "", postgresql_settings: dict[str, str] | None = None
) -> Machine:
    """Describes this machine; `data_dir` is only where the durable write is timed."""
    return Machine(
        processor=processor_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        postgresql=postgresql,
        postgresql_settings=postgresql_settings or {},
        sync_us=time_durable_write(data_dir),
        load_before=round(os.getloadavg()[0], 2),
    )


def processor_name() -> str:
    """The processor's model as Linux tells it, else what Python knows of it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def time_durable_write(folder: Path, *, count: int = 100) -> float:
    """Median microseconds of an 8 KiB write with fdatasync, as a database's log does it."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / "sync-probe"
    page = bytes(8192)
    taken = []
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    synchronise = getattr(os, "fdatasync", os.fsync)
    try:
        for _ in range(count):
            began = time.perf_counter_ns()
            os.pwrite(descriptor, page, 0)
            synchronise(descriptor)
            taken.append(time.perf_counter_ns() - began)
    finally:
        os.close(descriptor)
        probe.unlink()
    return round(sorted(taken)[count // 2] / 1000, 1)
