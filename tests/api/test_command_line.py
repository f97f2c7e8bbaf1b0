"""The commands as an operator meets them: what they print at 80 columns, and what they say when something is wrong."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bailiwick.cli.problems import bound_socket
from bailiwick.cli.settings_reference import reference
from bailiwick.kernel.ids import Prefix, decode, encode, uuid7
from tests.api.accounts import sign_up
from tests.api.conftest import Rows, contract_client
from tests.api.servers import command_line, kept_port, running_server
from tests.waiting import until


def bailiwick(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command without the settings of this machine; `settings` by name."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BAILIWICK_")}
    given = {f"BAILIWICK_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "bailiwick.cli", *arguments],
        cwd=cwd,
        env=clean | given | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["serve"], {"port": "abc"}, "BAILIWICK_PORT: "),
        (["serve", "--workers", "0"], {}, "BAILIWICK_WORKERS: "),
        (["serve"], {"oidc_issuers": '["https://issuer.example"]'}, "BAILIWICK_OIDC_ISSUERS.0: "),
        (["openapi"], {"outbound_allowed_hosts": "localhost"}, "outbound_allowed_hosts"),
        (["migrate"], {"database_url": "postgresql://nobody@127.0.0.1:1/none"}, "BAILIWICK_DATABASE_URL"),
        (["migrate"], {"database_url": "mysql://x"}, "BAILIWICK_DATABASE_URL"),
        (["migrate"], {"database_url": "mysql://someone:correct-horse@somewhere/x"}, "must begin with postgresql://"),
        (["serve"], {"smtp_url": "mail.example.com:25"}, "BAILIWICK_SMTP_URL: must begin with smtp://"),
        (["serve"], {"public_url": "bailiwick.example.com"}, "BAILIWICK_PUBLIC_URL: must begin with http://"),
        (["migrate", "--data-dir", "a file"], {}, "a file"),
        (["ledger", "check", "--data-dir", "nowhere"], {}, "nowhere: no installation"),
        (["audit", "verify", "--data-dir", "nowhere"], {}, "nowhere: no installation"),
        (["serve", "--host", "no.such.host.invalid"], {}, "--host"),
        (["audit", "verify", "log.jsonl"], {}, "--key"),
        (["audit", "verify", "log.jsonl", "--key", "no-such-file"], {}, "--key is neither"),
        (["audit", "export", "ws_nobody"], {}, "ws_nobody"),
    ],
)
def test_what_an_operator_can_put_right_is_told_in_a_line(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], told: str
) -> None:
    (tmp_path / "a file").write_text("in the way")
    ended = bailiwick(*arguments, cwd=tmp_path, **settings)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "correct-horse" not in ended.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"models": "no-such-file.yaml", "workers": "2"}, "no-such-file.yaml: No such file"),
        ({"models": "models.yaml"}, "models.yaml: model_list[0]: unknown provider in model 'nobody/x'"),
        ({"hosted_agents_model": "nobody"}, "BAILIWICK_HOSTED_AGENTS_MODEL: 'nobody' is not in the model list"),
        ({"master_key": "c2hvcnQ="}, "BAILIWICK_MASTER_KEY: must be the base64 of 32 bytes"),
        ({"master_key": base64.b64encode(bytes(32)).decode()}, "not the key that this database was sealed with"),
    ],
)
def test_a_server_that_cannot_start_ends_and_says_why_in_a_line(
    own_database: str, tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    (tmp_path / "models.yaml").write_text("model_list: [{model_name: x, litellm_params: {model: nobody/x}}]")
    if "sealed" in told:  # with the data folder's own key
        with running_server(own_database, tmp_path / ".bailiwick"):
            pass
    with kept_port() as port:
        arguments = ["serve", "--port", str(port)]
        ended = bailiwick(*arguments, cwd=tmp_path, database_url=own_database, background_worker="false", **settings)
    assert ended.returncode == 1
    assert told in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_background_worker_that_dies_is_replaced(own_database: str, tmp_path: Path) -> None:
    with running_server(own_database, tmp_path / "data", background_worker="true") as server:

        def background_workers() -> list[int]:
            return [pid for pid in server.children() if b"worker" in command_line(pid)]

        (first,) = until(background_workers)
        os.kill(first, signal.SIGKILL)
        (second,) = until(lambda: [pid for pid in background_workers() if pid != first])
        assert second != first
        assert "the background worker" in (server.data_dir / "server.log").read_text()


def test_workers_end_with_their_supervisor(own_database: str, tmp_path: Path) -> None:
    with running_server(own_database, tmp_path / "data", workers=2) as server:
        workers = server.children()
        assert len(workers) == 2
        server.process.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        port = urlsplit(server.base_url).port
        assert port is not None
        with bound_socket("127.0.0.1", port) as free:  # as the next start does
            free.listen()


def test_every_setting_is_listed_by_its_whole_name(tmp_path: Path) -> None:
    printed = bailiwick("settings", cwd=tmp_path).stdout.split()
    assert {row.variable for _, rows in reference() for row in rows} <= set(printed)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_port_of_someone_else_is_left_alone(tmp_path: Path, command: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another server of ours would
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = bailiwick(command, "--port", str(other.getsockname()[1]), cwd=tmp_path)
    assert ended.returncode == 1
    assert "cannot listen on 127.0.0.1" in ended.stderr
    assert not (tmp_path / ".bailiwick").exists()


def test_beside_a_server_named_by_host(own_database: str, tmp_path: Path) -> None:
    with running_server(own_database, tmp_path / "data", host="localhost") as server:
        with contract_client(server) as client:
            account = sign_up(client)
        beside = {"database_url": own_database, "data_dir": str(server.data_dir)}
        rows = Rows(own_database)
        printed = bailiwick("mail", cwd=tmp_path, **beside).stdout
        link = re.search(r"^http\S+/verify-email\?token=([0-9a-f]{64})$", printed, re.MULTILINE)
        assert link is not None, printed
        verified = httpx.post(f"{server.base_url}/api/v1/auth/verify-email", json={"token": link[1]}, timeout=30)
        assert verified.json() == {"verified": True, "email": account.email}

        stranger = encode(Prefix.ORGANIZATION, uuid7())
        kept = tmp_path / "kept.jsonl"
        kept.write_text("an earlier export")
        refused = bailiwick("audit", "export", stranger, "--output", str(kept), cwd=tmp_path, **beside)
        assert (refused.returncode, stranger in refused.stderr) == (1, True)
        assert kept.read_text() == "an earlier export"
        ours = decode(Prefix.ORGANIZATION, account.workspace_id)
        assert rows.all("select from audit_trees where organization_id <> %s", ours) == []
        rows.close()


def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m bailiwick.cli openapi --data-dir here | head -c 100"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.startswith("{")
    assert ended.stderr == ""
