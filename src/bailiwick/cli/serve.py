"""`bailiwick serve` and `bailiwick worker`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bailiwick.cli.problems import bound_socket
from bailiwick.settings import Settings, settings

DataDir = Annotated[
    Path | None, Parameter(help="Folder of this installation; default BAILIWICK_DATA_DIR or .bailiwick.")
]


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


@contextlib.contextmanager
def _background_worker(configured: Settings) -> Iterator[None]:
    if not configured.background_worker:
        yield
        return
    child = subprocess.Popen([sys.executable, "-m", "bailiwick.cli", "worker"])
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(configured.shutdown_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def serve(
    *, host: str | None = None, port: int | None = None, workers: int | None = None, data_dir: DataDir = None
) -> None:
    """Runs the server: migrates the database, then answers requests until it is told to stop (SIGTERM, Ctrl-C)."""
    configured = configure(host=host, port=port, workers=workers, data_dir=data_dir)
    bound = bound_socket(configured.host, configured.port)
    if configured.workers > 1:
        _own_metrics_folder(configured)
    with open_database(configured), _background_worker(configured):
        from bailiwick.cli.web_server import run_web_server

        run_web_server(configured, bound)


def worker(*, data_dir: DataDir = None) -> None:
    """Runs the background work alone: sweeps, checkpoints, log sources, mail. `serve` runs one beside the server."""
    from bailiwick.background import run

    run(configure(data_dir=data_dir))
