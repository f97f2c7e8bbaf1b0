"""One test for both flavours of a client: what the synchronous one returns and the asynchronous one awaits."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


async def settled(value: Any) -> Any:
    """The value, awaited where it has to be."""
    return await value if inspect.isawaitable(value) else value


async def each(stream: Any) -> AsyncIterator[Any]:
    """The items of either kind of iterable."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


async def all_of(stream: Any) -> list[Any]:
    """The same in a list; an awaitable is awaited before."""
    return [item async for item in each(await settled(stream))]


@asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    """Either kind of context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered
