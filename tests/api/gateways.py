"""A running server with models, and the model server behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.api.accounts import Account
from tests.api.conftest import contract_client
from tests.api.model_servers import model_server
from tests.api.servers import Server, running_server
from tests.conftest import clone, drop
from tests.invocations.conftest import ModelServer


class Gateway(msgspec.Struct, frozen=True):
    """A running server with models, and what stands behind it."""

    server: Server
    model: ModelServer
    client: httpx.Client

    def key(self, account: Account, **limits: Any) -> str:
        """A further virtual key of an account."""
        made = self.client.post("/api/v1/keys", headers=account.headers, json={"label": "test", **limits})
        assert made.status_code == 201, made.text
        return str(made.json()["key"])

    def forget(self) -> None:
        """Makes the model server one that has been asked nothing yet."""
        for asked in (self.model.requests, self.model.headers, self.model.paths):
            asked.clear()
        self.model.disconnected = asyncio.Event()


@contextlib.contextmanager
def running_gateway(
    server_url: str,
    template_database: str,
    folder: Path,
    write_models: Callable[[Path, str], Path],
    *,
    workers: int,
    **settings: str,
) -> Iterator[Gateway]:
    """A server on a database of its own. `write_models` writes the model list of a model server's URL into a folder;
    `settings` are as in `running_server`."""
    database_url = clone(server_url, template_database)
    with (
        model_server() as model,
        running_server(
            database_url,
            folder,
            workers=workers,
            models=str(write_models(folder, model.base_url)),
            outbound_allowed_hosts='["127.0.0.1"]',
            **settings,
        ) as server,
        contract_client(server) as client,
    ):
        yield Gateway(server, model, client)
    drop(server_url, database_url)
