"""Bailiwick as the benchmarks use it: a server of its own on a temporary data folder, and a tenant on it."""

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bailiwick.bench.processes import LOOPBACK, OwnServer, free_port, own_server, tree_cpu_seconds

START = "from bailiwick.cli import main; main()"
TOKEN_SECONDS = 600.0
"""Older access tokens are renewed before a load; they live 15 minutes."""
PASSWORD = "correct-horse-battery-9"


class SubjectRefusedError(RuntimeError):
    """Bailiwick answered a call of the set-up with something else than success."""


@contextlib.asynccontextmanager
async def bailiwick(
    folder: Path, *, workers: int, stub_port: int | None = None, database_url: str | None = None
) -> AsyncIterator[OwnServer]:
    """`bailiwick serve` on `folder/data`; with `stub_port` its hosted agents use the model there.

    Settings come from here only: BAILIWICK_* of the caller's environment and its `.env` are left out, so that a
    benchmark never writes to an installation's database. `database_url` names one to use up instead of the embedded.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BAILIWICK_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # it starts faster with compiled files, as usual
    if database_url is not None:
        environment["BAILIWICK_DATABASE_URL"] = database_url
    environment |= {"BAILIWICK_LOG_LEVEL": "WARNING", "BAILIWICK_OUTBOUND_ALLOWED_HOSTS": f'["{LOOPBACK}"]'}
    if stub_port is not None:
        environment["BAILIWICK_MODELS"] = str(write_models(folder, stub_port))
        environment["BAILIWICK_HOSTED_AGENTS_MODEL"] = "stub"
    command = [sys.executable, "-c", START, "serve", "--host", LOOPBACK, "--port", str(port)]
    command += ["--workers", str(workers), "--data-dir", str(folder / "data")]
    log = folder / f"bailiwick-{port}.log"
    async with own_server(
        "Bailiwick", command, port=port, log=log, environment=environment, folder=folder, grace_seconds=40
    ) as server:
        await server.wait_ready("/ready", timeout_seconds=90)
        yield server


def write_models(folder: Path, stub_port: int) -> Path:
    """The stub as a deployment of OpenAI's and as one of Anthropic's, with prices, so that each call is charged."""
    models = folder / "models.yaml"
    models.write_text(
        f"""
model_list:
  - model_name: stub
    litellm_params:
      model: openai/stub
      api_base: http://{LOOPBACK}:{stub_port}/v1
      api_key: none
    model_info:
      input_cost_per_token: 0.00000015
      output_cost_per_token: 0.0000006
  - model_name: stub-anthropic
    litellm_params:
      model: anthropic/stub
      api_base: http://{LOOPBACK}:{stub_port}
      api_key: none
    model_info:
      input_cost_per_token: 0.0000008
      output_cost_per_token: 0.000004
"""
    )
    return models


class Tenant:
    """An organisation on a server, provisioned for hosted agents, with a token that is kept fresh."""

    def __init__(self, port: int, email: str) -> None:
        self.port = port
        self.email = email
        self.organization_id = ""
        self.token = ""
        self.token_from = 0.0
        self.virtual_key = ""
        """Made by the sign-up; calls models."""

    @classmethod
    async def sign_up(cls, port: int, name: str) -> "Tenant":
        """Signs up a user with an organisation and provisions it on the largest plan. Raises SubjectRefusedError."""
        tenant = cls(port, f"{name}@bench.example.com")
        account = {"email": tenant.email, "password": PASSWORD, "name": "Benchmark", "workspaceName": name}
        answer = await tenant.call("POST", "/api/v1/auth/signup", account)
        tenant.token, tenant.token_from = answer["accessToken"], time.monotonic()
        tenant.organization_id = answer["workspace"]["id"]
        tenant.virtual_key = answer["apiKey"]["key"]
        await tenant.call("POST", "/api/v1/provision/tenant", {"orgId": tenant.organization_id, "plan": "enterprise"})
        return tenant

    async def bearer(self) -> str:
        """Value for the Authorization header, good for some minutes."""
        if time.monotonic() - self.token_from > TOKEN_SECONDS:
            answer = await self.call("POST", "/api/v1/auth/login", {"email": self.email, "password": PASSWORD})
            self.token, self.token_from = answer["accessToken"], time.monotonic()
        return f"Bearer {self.token}"

    async def runs_recorded(self) -> int:
        """How many runs of this organisation are on record."""
        page = await self.call("GET", "/api/v1/runs?per_page=1")
        return int(page["total"])

    async def model_calls_recorded(self) -> int:
        """How many model calls of this organisation are on record as completed."""
        await self.bearer()
        page = await self.call("GET", "/api/v1/traces?limit=1&status=completed")
        return int(page["total"])

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One call of the API with the tenant's token, if it has one; the JSON answer. Raises SubjectRefusedError."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"http://{LOOPBACK}:{self.port}{path}"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.request(method, url, json=body, headers=headers) as response,
        ):
            content = await response.read()
            if response.status >= 300:
                raise SubjectRefusedError(f"{method} {path}: {response.status} {content[:400]!r}")
            answer: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
            return answer


def database_cpu_seconds(data_dir: Path) -> float:
    """CPU time of the embedded database's processes; 0 with a database elsewhere."""
    try:
        postmaster = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0.0
    return tree_cpu_seconds(postmaster)
