"""What the server serves, known without a running server: for tests that are parametrized by operation."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from litestar import Litestar

from bailiwick.api import build_api
from bailiwick.api.openapi import document
from bailiwick.settings import Settings
from tests.api.contract import documents


@contextlib.asynccontextmanager
async def _nothing(_api: Litestar) -> AsyncIterator[None]:
    yield


@cache
def own_document() -> dict[str, Any]:
    """The OpenAPI document of what is served, as `bailiwick openapi` prints it."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]  # hidden from the library's types
    return document(build_api(settings, lifespan=_nothing))


@cache
def served_operations() -> dict[str, tuple[str, str, str]]:
    """Contract ("" for operations beyond the contracts), method and path of each operation id that is served."""
    families = {
        item[method]["operationId"]: name
        for name, contract in documents().items()
        for item in contract["paths"].values()
        for method in item
        if isinstance(item[method], dict) and "operationId" in item[method]
    }
    return {
        operation["operationId"]: (families.get(operation["operationId"], ""), method, path)
        for path, item in own_document()["paths"].items()
        for method, operation in item.items()
    }
