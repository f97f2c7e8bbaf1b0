"""`bailiwick demo`: the main job, end to end, against a real server over HTTP."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from bailiwick import audit
from bailiwick.cli.problems import bound_socket
from bailiwick.cli.serve import DataDir, configure
from bailiwick.kernel import ids
from bailiwick.settings import Settings

_START_SECONDS = 120
_TICKET = "Router at floor 3 is offline since 09:00, nobody in accounting can work — ticket ITSD-4421"
_PHI = (
    "Please open a ticket for patient Maria Lopez, born 04/12/1961, SSN 536-22-8726: portal shows her diabetes as new"
)


class DemoFailed(Exception):
    """A step of the demo did not answer as it should."""


class _Client:
    """The server as a program sees it: JSON over HTTP."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.token: str | None = None

    def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        """The decoded answer. Raises DemoFailed unless its status is `expect`."""
        headers = {"content-type": "application/json"}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base_url + path, data, headers, method=method)  # noqa: S310 - own server
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - own server
                status, content = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        if status != expect:
            raise DemoFailed(f"{method} {path} answered {status} instead of {expect}: {content[:300]!r}")
        return json.loads(content)


@contextlib.contextmanager
def _running_server(settings: Settings, console: Console) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen([sys.executable, "-m", "bailiwick.cli", "serve"])
    try:
        with console.status("Starting PostgreSQL and the server ..."):
            deadline = time.monotonic() + _START_SECONDS
            while not _is_ready(settings.base_url):
                if server.poll() is not None:
                    raise DemoFailed(f"The server ended with status {server.returncode}; its log is above.")
                if time.monotonic() > deadline:
                    raise DemoFailed(f"The server was not ready in {_START_SECONDS} s.")
                time.sleep(0.2)
        console.print(f"The server is ready at [bold]{settings.base_url}[/]")
        yield server
    finally:
        server.terminate()
        server.wait()


def _is_ready(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/ready", timeout=5) as response:  # noqa: S310 - own server
            return bool(response.status == 200)
    except OSError:
        return False


class _Story:
    """The steps, each printed as it happens."""

    def __init__(self, client: _Client, console: Console) -> None:
        self.client = client
        self.console = console
        self._number = 0

    def step(self, title: str, *lines: str) -> None:
        self._number += 1
        self.console.print(f"\n[bold cyan]{self._number}. {title}[/]")
        for line in lines:
            self.console.print(f"   {line}", highlight=False, soft_wrap=True)

    def tell(self) -> None:
        """The main job. Raises DemoFailed."""
        organization = self._sign_up()
        self._provision(organization)
        audit_id = self._triage()
        self._refusal()
        self._balance()
        self._verify(audit_id)

    def _sign_up(self) -> str:
        email = f"demo-{ids.uuid7().hex[-12:]}@example.com"
        signed_up = self.client.call(
            "POST",
            "/api/v1/auth/signup",
            {
                "email": email,
                "password": f"demo-{ids.uuid7().hex}",
                "name": "Demo Owner",
                "workspaceName": "Demo Help Desk",
            },
            expect=201,
        )
        self.client.token = signed_up["accessToken"]
        workspace: dict[str, Any] = signed_up["workspace"]
        self.step(
            "Sign up",
            f"user {email}, organisation {workspace['id']} ({workspace['planTier']} until"
            f" {workspace['trialExpiresAt'][:10]}), wallet, virtual key {signed_up['apiKey']['keyPrefix']}...",
        )
        return str(workspace["id"])

    def _provision(self, organization: str) -> None:
        answer = self.client.call("POST", "/api/v1/provision/tenant", {"orgId": organization, "plan": "pro"})
        status = self.client.call("GET", "/api/v1/provision/tenant/status")
        self.step(
            "Provision", f"gateway key {answer['keyId']}, plan {status['plan']}, budget ${status['budgetUsd']:.2f}"
        )

    def _triage(self) -> str:
        run = self.client.call("POST", "/api/v1/agent/run", {"agentId": "helpdesk-tier1-triage", "message": _TICKET})
        self.step("A governed run of the help-desk triage agent", f"[dim]>[/] {escape(_TICKET)}", "")
        for line in run["response"].splitlines():
            self.console.print(f"   [green]│[/] {escape(line)}", highlight=False, soft_wrap=True)
        self.console.print(
            f"\n   cost ${run['cost_usd_micros'] / 1e6:.6f}   decision {run['decision']}   model {run['model_used']}"
            f"   tokens {run['tokens_used']}\n   audit id {run['audit_id']}",
            highlight=False,
            soft_wrap=True,
        )
        return str(run["audit_id"])

    def _refusal(self) -> None:
        refused = self.client.call(
            "POST", "/api/v1/agent/run", {"agentId": "helpdesk-tier1-triage", "message": _PHI}, expect=422
        )
        findings = [f"{f['type']} at {f['offset']}, {f['length']} characters" for f in refused["policy_flags"]]
        self.step(
            "A run with protected health information is refused",
            f"[dim]>[/] {escape(_PHI)}",
            f"[red]{refused['code']}[/]: {escape(refused['error'])}",
            *findings,
        )

    def _balance(self) -> None:
        status = self.client.call("GET", "/api/v1/provision/tenant/status")
        stats = self.client.call("GET", "/api/v1/stats")
        self.step(
            "The balance after",
            f"budget ${status['budgetUsd']:.2f}, {stats['runs_total']} run counted (the refused one cost nothing),"
            f" {stats['runs_remaining']} of {stats['plan_run_limit']} left",
        )

    def _verify(self, audit_id: str) -> None:
        runs = self.client.call("GET", "/api/v1/runs")["runs"]
        previous = "0" * 64
        for listed in reversed(runs):
            run = self.client.call("GET", f"/api/v1/runs/{listed['id']}")["run"]
            computed = audit.row_hash(previous, audit.run_body(run))
            if run["chain"] != {"prev_hash": previous, "row_hash": computed}:
                raise DemoFailed(f"the chain breaks at {run['id']}")
            previous = computed
        proof = self.client.call("GET", f"/api/v1/audit/proof?id={audit_id}")
        signed = proof["checkpoint"]
        key = audit.VerifierKey.parse(signed["verifier_key"])
        checkpoint = audit.open_checkpoint(signed["note"], key)
        leaf = msgspec.json.encode(proof["leaf"], order="sorted")
        if not audit.verify_inclusion(
            audit.leaf_hash(leaf),
            proof["leaf"]["sequence"],
            checkpoint.size,
            [bytes.fromhex(text) for text in proof["hashes"]],
            checkpoint.root,
        ):
            raise DemoFailed("the inclusion proof does not hold")
        self.step(
            "The proof, checked here from the answers alone",
            f"hash chain of {len(runs)} runs recomputed: every link holds",
            f"{audit_id} is entry {proof['leaf']['sequence']} of {checkpoint.size} under the signed root",
            f"{checkpoint.root.hex()}",
            f"Ed25519 signature by {escape(str(key)[:60])}... is valid",
        )


def demo(*, once: bool = False, data_dir: DataDir = None, port: int | None = None) -> None:
    """Starts everything, performs the main job over HTTP and prints each step; then stays up.

    Parameters
    ----------
    once
        End when the job is done.
    port
        Port of the server.
    """
    settings = configure(data_dir=data_dir, port=port, log_level="WARNING")
    bound_socket(settings.host, settings.port).close()  # else the steps could be told of another installation
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with _running_server(settings, console) as server:
            _Story(_Client(settings.base_url), console).tell()
            console.print(
                f"\nAPI documentation: [bold]{settings.base_url}/docs[/]   OpenAPI: {settings.base_url}/openapi.json",
                soft_wrap=True,
            )
            if once:
                return
            console.print("The server stays up; Ctrl-C ends it.")
            server.wait()
    except DemoFailed as failure:
        console.print(f"[red]The demo failed:[/] {escape(str(failure))}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nStopped.")
