"""`bailiwick serve` and `bailiwick worker`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from bailiwick.cli.problems import bound_socket
from bailiwick.settings import Settings, settings

DataDir = Annotated[
    Path | None, Parameter(help="Folder of this installation; default BAILIWICK_DATA_DIR or .bailiwick.")
]
_RESTART_SECONDS: Final = 10
"""Between two starts of the background worker at least."""


def configure(**options: object) -> Settings:
    """The settings with the command line's options laid over them, here and in child processes."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"BAILIWICK_{name.upper()}"] = str(value)
    settings.cache_clear()
    return settings()


@contextlib.contextmanager
def open_database(configured: Settings) -> Iterator[str]:
    """The database's URL, migrated; starts the embedded server, or joins the running one, when none is configured."""
    from bailiwick.kernel import embedded, migrate

    if configured.database_url is not None:
        url = configured.database_url.get_secret_value()
        migrate.migrate(url)
        yield url
        return
    server = embedded.start(configured.data_dir)
    url = embedded.url(server)
    migrate.migrate(url)
    # The other processes of this installation find the server here; the socket's folder keeps strangers out.
    file = configured.data_dir / "database.url"
    file.write_text(url + "\n")
    file.chmod(0o600)
    yield url


def _own_metrics_folder(configured: Settings) -> None:
    """Several server processes share their metrics through files; left-over ones would be counted again."""
    folder = configured.data_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder.resolve())


class _BackgroundWorker:
    """The background worker beside the server processes: replaced when it dies, ended with them."""

    def __init__(self, configured: Settings) -> None:
        self._configured = configured
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    def keep_alive(self) -> None:
        """Starts it, unless it runs, is not wanted, or has only just died."""
        if not self._configured.background_worker or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:
            if time.monotonic() - self._started_at < _RESTART_SECONDS:
                return
            print(
                f"bailiwick: the background worker [{self._process.pid}] ended with status {self._process.returncode};"
                " another takes its place.",
                file=sys.stderr,
            )
        self._started_at = time.monotonic()
        self._process = subprocess.Popen([sys.executable, "-m", "bailiwick.cli", "worker"])

    def stop(self) -> None:
        """Ends it, by force when it takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(self._configured.shutdown_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(
    *, host: str | None = None, port: int | None = None, workers: int | None = None, data_dir: DataDir = None
) -> None:
    """Runs the server: migrates the database, then answers requests until it is told to stop (SIGTERM, Ctrl-C)."""
    configured = configure(host=host, port=port, workers=workers, data_dir=data_dir)
    bound = bound_socket(configured.host, configured.port)
    if configured.workers > 1:
        _own_metrics_folder(configured)
    with open_database(configured):
        from bailiwick.cli.web_server import run_web_server
        from bailiwick.kernel.crypto import load_master_key

        configured_key = configured.master_key.get_secret_value() if configured.master_key else None
        load_master_key(configured.data_dir, configured_key)
        beside = _BackgroundWorker(configured)
        try:
            beside.keep_alive()
            run_web_server(configured, bound, beside.keep_alive)
        finally:
            beside.stop()


def worker(*, data_dir: DataDir = None) -> None:
    """Runs the background work alone: sweeps, checkpoints, log sources, mail. `serve` runs one beside the server."""
    from bailiwick.background import run

    run(configure(data_dir=data_dir))
