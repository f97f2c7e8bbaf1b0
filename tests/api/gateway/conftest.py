"""A running server of two processes with models, for tests of model calls, the cache and embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.accounts import Account, sign_up
from tests.api.conftest import Rows
from tests.api.gateways import Gateway, running_gateway
from tests.api.model_servers import answer, chat_answer, write_models
from tests.invocations.conftest import ModelServer


@pytest.fixture(scope="package")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One server for the package, unless a module has its own."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(server_url, template_database, folder, write_models, workers=2) as running:
        yield running


@pytest.fixture
def model(gateway: Gateway) -> ModelServer:
    """The model server, which has been asked nothing yet."""
    gateway.forget()
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
