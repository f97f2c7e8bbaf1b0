"""What the tests of log sources share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from bailiwick.kernel.outbound import Outbound


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 5, 12, 14, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **amount: int) -> None:
        self.time += timedelta(**amount)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    """The product's own client, allowed to reach the stubs."""
    client = Outbound(frozenset({"127.0.0.1"}))
    yield client
    await client.close()
