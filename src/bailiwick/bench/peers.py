"""The servers that Bailiwick is measured beside: nginx and LiteLLM's proxy, both in front of the same stub model.

Each is started by the benchmark from a configuration made for it, on a loopback port, and ended by its own process id.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from bailiwick.bench.processes import LOOPBACK, OwnServer, free_port, own_server

LITELLM_KEY = "sk-benchmark"
LITELLM_START_SECONDS = 120.0


class PeerUnavailableError(RuntimeError):
    """A peer cannot be started here; the message says how to get it."""


@contextlib.asynccontextmanager
async def stub_model(folder: Path) -> AsyncIterator[OwnServer]:
    """The stub model in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "bailiwick.bench.stub_model", "--port", str(port)]
    async with own_server("stub model", command, port=port, log=folder / "stub.log") as server:
        await server.wait_ready("/health", timeout_seconds=20)
        yield server


async def calls_answered(stub: OwnServer) -> int:
    """How many model calls have reached the stub."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{stub.port}/stub/calls") as answer:
        return int((await answer.json())["calls"])


def write_configuration(folder: Path, name: str, text: str) -> Path:
    """Writes a file into a folder, which is made if need be; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def nginx_configuration(folder: Path, port: int, upstream_port: int) -> str:
    """A reverse proxy with one worker and keep-alive on both sides, which writes nothing but its error log."""
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not use the folder
    return f"""
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  upstream model {{ server {LOOPBACK}:{upstream_port}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen {LOOPBACK}:{port};
    location = /static {{ return 200 "ok\\n"; }}
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def nginx_executable() -> str:
    """Raises PeerUnavailableError where nginx is not installed."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise PeerUnavailableError("nginx is not installed; on Debian: apt-get install nginx-light")
    return found


@contextlib.asynccontextmanager
async def nginx(folder: Path, *, upstream_port: int) -> AsyncIterator[OwnServer]:
    """nginx as a reverse proxy to the stub; `folder` is absolute. Raises PeerUnavailableError."""
    executable = nginx_executable()
    port = free_port()
    configuration = write_configuration(folder, "nginx.conf", nginx_configuration(folder, port, upstream_port))
    command = [executable, "-p", str(folder), "-e", str(folder / "nginx-error.log"), "-c", str(configuration)]
    async with own_server("nginx", command, port=port, log=folder / "nginx.log", ending=signal.SIGQUIT) as server:
        await server.wait_ready("/static", timeout_seconds=20)
        yield server


def litellm_configuration(upstream_port: int) -> str:
    """The stub as a model of OpenAI's and as one of Anthropic's, behind a master key; no database, telemetry, retries.

    The models bear names that LiteLLM has prices for: without one it raises and catches an error at every call.
    """
    return f"""
model_list:
  - model_name: stub
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: http://{LOOPBACK}:{upstream_port}/v1
      api_key: none
  - model_name: stub-anthropic
    litellm_params:
      model: anthropic/claude-3-haiku-20240307
      api_base: http://{LOOPBACK}:{upstream_port}
      api_key: none
general_settings:
  master_key: {LITELLM_KEY}
litellm_settings:
  telemetry: false
  num_retries: 0
"""


async def litellm_environment(folder: Path) -> Path:
    """The `litellm` executable in an environment of its own below `folder`.

    It is made at the first use, which takes some minutes and 0.7 GB. Raises PeerUnavailableError with the
    installer's complaint.
    """
    environment = folder / "litellm"
    executable = environment / "bin" / "litellm"
    if (environment / "complete").exists():
        return executable
    shutil.rmtree(environment, ignore_errors=True)
    await install(sys.executable, "-m", "venv", str(environment))
    await install(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "litellm[proxy]")
    (environment / "complete").touch()
    return executable


async def install(*command: str) -> None:
    """Runs a command that installs LiteLLM. Raises PeerUnavailableError with the end of what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate()
    if process.returncode != 0:
        raise PeerUnavailableError(f"LiteLLM could not be installed: {complaint.decode(errors='replace')[-600:]}")


async def litellm_version(executable: Path) -> str:
    """Version of the installed `litellm` distribution."""
    question = "from importlib.metadata import version; print(version('litellm'))"
    process = await asyncio.create_subprocess_exec(
        str(executable.parent / "python"), "-c", question, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode().strip()


@contextlib.asynccontextmanager
async def litellm(folder: Path, executable: Path, *, upstream_port: int, workers: int = 1) -> AsyncIterator[OwnServer]:
    """LiteLLM's proxy in front of the stub, as its production notes advise (production mode, errors logged only)."""
    configuration = write_configuration(folder, "litellm.yaml", litellm_configuration(upstream_port))
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BAILIWICK_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # it starts faster with compiled files, as usual
    environment |= {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the prices that it ships; it would fetch them at each start
    }
    command = [str(executable), "--config", str(configuration), "--host", LOOPBACK, "--port", str(port)]
    command += ["--num_workers", str(workers)]
    log = folder / "litellm.log"
    async with own_server("LiteLLM", command, port=port, log=log, environment=environment) as server:
        await server.wait_ready("/health/liveliness", timeout_seconds=LITELLM_START_SECONDS)
        yield server
