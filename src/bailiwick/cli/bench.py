"""`bailiwick bench`: benchmarks, each beside a peer or a limit in the same run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

app = App(name="bench", help="Benchmarks. Load goes to this machine's loopback only.")
_Scenario = Literal["chat", "stream", "messages", "messages-stream"]
_Numbers = Annotated[list[int] | None, Parameter(consume_multiple=True)]


@app.command
def dlp() -> None:
    """Recall, precision and over-redaction on the held-out texts, and time for a kilobyte."""
    from bailiwick.dlp.evaluate import run_bench

    run_bench()


@app.command
def invoke(
    *,
    connections: _Numbers = None,
    workers: _Numbers = None,
    seconds: float = 5.0,
    rounds: int = 3,
    peers: bool = True,
    growth: bool = True,
    quick: bool = False,
    data_dir: Path = Path(".bailiwick"),
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    markdown_file: Annotated[Path | None, Parameter(name="--markdown")] = None,
) -> None:
    """Governed runs a second, beside this server's /health, nginx and LiteLLM's proxy on the same stub model.

    Parameters
    ----------
    connections
        Numbers of connections; default 1 8 32 64.
    workers
        Numbers of server processes; default 1 2.
    seconds
        Length of each load.
    rounds
        Alternating rounds; the middle one is reported.
    peers
        Measure nginx and LiteLLM's proxy too.
    growth
        Measure at 10,000, 100,000 and 1,000,000 stored runs.
    quick
        About two minutes in all.
    data_dir
        Keeps LiteLLM's environment from one run to the next.
    """
    from bailiwick.bench.invoke import InvokeBenchmark, InvokeOptions
    from bailiwick.bench.side_by_side import tell, wide_console

    options = InvokeOptions(
        connections=tuple(connections or (1, 8, 32, 64)),
        workers=tuple(workers or (1, 2)),
        seconds=seconds,
        rounds=rounds,
        with_peers=peers,
        with_growth=growth,
        cache_dir=data_dir / "bench",
        json_file=json_file,
        markdown_file=markdown_file,
    )
    asyncio.run(tell(InvokeBenchmark, options.quick() if quick else options, wide_console()))


@app.command
def gateway(
    *,
    scenario: Annotated[list[_Scenario] | None, Parameter(consume_multiple=True)] = None,
    connections: _Numbers = None,
    workers: _Numbers = None,
    seconds: float = 5.0,
    rounds: int = 3,
    soak: int = 100_000,
    peers: bool = True,
    quick: bool = False,
    data_dir: Path = Path(".bailiwick"),
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    markdown_file: Annotated[Path | None, Parameter(name="--markdown")] = None,
) -> None:
    """Model calls through the gateway, beside nginx and LiteLLM's proxy on the same stub model.

    Tells what each adds to the latency of the stub called directly, requests a second, time to the first byte of
    streams, memory and start.

    Parameters
    ----------
    scenario
        Kinds of calls; default chat stream.
    connections
        Numbers of connections; default 1 8 32 64.
    workers
        Numbers of server processes; default 1 2. All but the first are measured at 32 connections only.
    seconds
        Length of each load.
    rounds
        Alternating rounds; the middle one is reported.
    soak
        Requests over which memory is watched, every 10,000; 0 for none.
    peers
        Measure nginx and LiteLLM's proxy too.
    quick
        About two minutes in all, without the soak.
    data_dir
        Keeps LiteLLM's environment from one run to the next.
    """
    from bailiwick.bench.gateway import GatewayBenchmark, GatewayOptions
    from bailiwick.bench.side_by_side import tell, wide_console

    options = GatewayOptions(
        scenarios=tuple(dict.fromkeys(scenario or ("chat", "stream"))),
        connections=tuple(connections or (1, 8, 32, 64)),
        workers=tuple(workers or (1, 2)),
        seconds=seconds,
        rounds=rounds,
        soak=soak,
        with_peers=peers,
        cache_dir=data_dir / "bench",
        json_file=json_file,
        markdown_file=markdown_file,
    )
    asyncio.run(tell(GatewayBenchmark, options.quick() if quick else options, wide_console()))
