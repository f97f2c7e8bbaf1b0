"""A process that admits and settles in batches: `python -m tests.invocations.money_worker race|work URL IDS...`.

IDS: organisation, wallet, sink, budgets. Both wait for a line on standard input, so that processes start together.
`race`: 40 callers at once want to hold 7; prints how many were let in.
`work`: callers hold, settle and abandon without end; prints `hold cost` for each settlement that it was told of.
"""

from __future__ import annotations

import asyncio
import random
import sys
from uuid import UUID

from bailiwick.invocations.errors import AllowanceExhausted
from bailiwick.invocations.requests import Admitted, Status
from bailiwick.kernel.database import Database
from tests.invocations.money import a_lane, a_settlement, an_admission

CALLERS, AMOUNT = 40, 7


def say(line: str) -> None:
    """Prints one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def started(database: Database) -> None:
    """Says that it is ready and waits for the start."""
    await (await database.connect()).close()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)


async def race(database: Database, organization_id: UUID, wallet: UUID, sink: UUID, *budgets: UUID) -> None:
    """Lets all callers try at the same time."""
    lane = a_lane(database)
    await started(database)
    results = await asyncio.gather(
        *(lane.admit(an_admission(organization_id, wallet, sink, AMOUNT, budgets)) for _ in range(CALLERS)),
        return_exceptions=True,
    )
    assert all(isinstance(result, Admitted | AllowanceExhausted) for result in results), results
    say(str(sum(isinstance(result, Admitted) for result in results)))
    await lane.close()


async def work(database: Database, organization_id: UUID, wallet: UUID, sink: UUID, *budgets: UUID) -> None:
    """Uses a lane until it is killed."""
    lane = a_lane(database, lease_seconds=1)
    await started(database)

    async def caller() -> None:
        while True:
            amount = random.randint(1, 50)
            item = an_admission(organization_id, wallet, sink, amount, budgets, tokens=amount)
            try:
                await lane.admit(item)
            except AllowanceExhausted:
                await asyncio.sleep(0.02)
                continue
            if random.random() < 0.05:
                continue
            status = random.choice(list(Status))
            cost = random.randint(0, 60)
            await lane.settle(a_settlement(item, status, cost, tokens=random.randint(0, 60)))
            say(f"{item.id} {min(cost, amount)}")

    await asyncio.gather(*(caller() for _ in range(12)))


async def main(what: str, url: str, *ids: str) -> None:
    """Runs one of the two."""
    database = Database(url)
    await {"race": race, "work": work}[what](database, *(UUID(one) for one in ids))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
