"""`bailiwick bench`: benchmarks, each beside a peer or a limit in the same run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="bench", help="Benchmarks. Load goes to this machine's loopback only.")
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
    from rich.console import Console

    from bailiwick.bench.invoke import InvokeOptions, bench_invoke

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
    asyncio.run(bench_invoke(options.quick() if quick else options, Console()))
