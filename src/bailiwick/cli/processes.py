"""Running a use case from the command line, beside or without a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from bailiwick.cli.serve import configure, open_database

Result = TypeVar("Result")


def with_runtime(data_dir: Path | None, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Runs `work` on the installation's database, whose embedded server is started for it when it is not running.

    Raises Misconfigured where there is no installation: one that is made on the way would have nothing to tell.
    """
    from bailiwick.kernel import embedded, runtime, telemetry
    from bailiwick.kernel.errors import Misconfigured

    configured = configure(data_dir=data_dir)
    if configured.database_url is None and not embedded.exists(configured.data_dir):
        raise Misconfigured(
            f"{configured.data_dir}: no installation; `bailiwick serve` and `bailiwick migrate` make one"
        )
    telemetry.set_up_logs(configured)

    async def run(url: str) -> Result:
        runtime.start(configured, url)
        try:
            return await work()
        finally:
            await runtime.stop()

    with open_database(configured) as url:
        return asyncio.run(run(url))
