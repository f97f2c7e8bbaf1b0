"""A running server of two processes with models, for tests of the cache and of embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.accounts import Account, sign_up
from tests.api.conftest import Rows, contract_client
from tests.api.model_servers import answer, chat_answer, model_server, write_models
from tests.api.servers import running_server
from tests.api.test_gateway import Gateway
from tests.conftest import clone, drop
from tests.invocations.conftest import ModelServer


@pytest.fixture(scope="package")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One server for the package."""
    database_url = clone(server_url, template_database)
    folder = tmp_path_factory.mktemp("gateway")
    with (
        model_server() as model,
        running_server(
            database_url,
            folder,
            workers=2,
            models=str(write_models(folder, model.base_url)),
            outbound_allowed_hosts='["127.0.0.1"]',
        ) as server,
        contract_client(server) as client,
    ):
        yield Gateway(server, model, client)
    drop(server_url, database_url)


@pytest.fixture
def model(gateway: Gateway) -> ModelServer:
    """The model server, which has been asked nothing yet."""
    for asked in (gateway.model.requests, gateway.model.headers, gateway.model.paths):
        asked.clear()
    gateway.model.answer = answer(chat_answer({"content": "Hello."}))
    return gateway.model


@pytest.fixture
def account(gateway: Gateway) -> Account:
    """A new account."""
    return sign_up(gateway.client)


@pytest.fixture
def rows(gateway: Gateway) -> Iterator[Rows]:
    """The server's database."""
    opened = Rows(gateway.server.database_url)
    yield opened
    opened.close()
