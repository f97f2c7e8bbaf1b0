"""A process that calls with a virtual key: `python -m tests.identity.key_worker URL ORGANIZATION KEY ACCOUNT SINK`.

Waits for a line on standard input, so that processes start together, then lets 40 callers try at once; prints how many
were let in.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from uuid import UUID

from bailiwick import identity
from bailiwick.invocations.errors import CallRateLimited
from bailiwick.invocations.requests import Admitted
from bailiwick.kernel import runtime
from bailiwick.kernel.database import tenant_transaction
from bailiwick.settings import Settings
from tests.invocations.money import a_lane, an_admission

CALLERS = 40


def say(line: str) -> None:
    """Prints one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(url: str, *ids: str) -> None:
    """Races."""
    organization_id, key_id, account_id, sink_id = (UUID(one) for one in ids)
    # The library hides this parameter from its types.
    settings = Settings(_env_file=None, data_dir=Path(tempfile.mkdtemp()))  # type: ignore[call-arg]
    started = runtime.start(settings, url)
    lane = a_lane(started.database)
    await (await started.database.connect()).close()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    async with tenant_transaction(organization_id) as session:
        budget_ids = (await identity.key_limits(session, organization_id, key_id)).budget_ids
    results = await asyncio.gather(
        *(lane.admit(an_admission(organization_id, account_id, sink_id, 1, budget_ids)) for _ in range(CALLERS)),
        return_exceptions=True,
    )
    assert all(isinstance(result, Admitted | CallRateLimited) for result in results), results
    say(str(sum(isinstance(result, Admitted) for result in results)))
    await lane.close()
    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
