"""A real server for the API's tests; every response that its clients get is held against the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import LiteralString

import httpx
import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from tests.api.accounts import Account, sign_up
from tests.api.contract import check_hook, check_hook_async
from tests.api.servers import Server, running_server
from tests.conftest import clone, drop


@pytest.fixture(scope="session")
def server(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running server of this test process, on a database of its own."""
    database_url = clone(server_url, template_database)
    with running_server(database_url, tmp_path_factory.mktemp("server")) as started:
        yield started
    drop(server_url, database_url)


@pytest.fixture
def own_database(server_url: str, template_database: str) -> Iterator[str]:
    """A fresh database for a test that starts a server with settings of its own (`running_server`)."""
    database_url = clone(server_url, template_database)
    yield database_url
    drop(server_url, database_url)


def contract_client(server: Server) -> httpx.Client:
    """A client whose every response is held against the contract."""
    return httpx.Client(base_url=server.base_url, event_hooks={"response": [check_hook]}, timeout=30)


def contract_client_async(server: Server) -> httpx.AsyncClient:
    """The same, asynchronous: for races."""
    return httpx.AsyncClient(base_url=server.base_url, event_hooks={"response": [check_hook_async]}, timeout=30)


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the running server."""
    with contract_client(server) as opened:
        yield opened


@pytest.fixture
async def async_client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """An asynchronous client of the running server."""
    async with contract_client_async(server) as opened:
        yield opened


@pytest.fixture
def account(client: httpx.Client) -> Account:
    """A new account."""
    return sign_up(client)


class Rows:
    """Looks into, and arranges, a server's database as its superuser: for what no operation shows or does."""

    def __init__(self, database_url: str) -> None:
        self._connection: psycopg.Connection[DictRow] = psycopg.connect(
            database_url, autocommit=True, row_factory=dict_row
        )

    def all(self, query: LiteralString, *parameters: object) -> list[DictRow]:
        """The rows of a query."""
        return self._connection.execute(query, parameters).fetchall()

    def one(self, query: LiteralString, *parameters: object) -> DictRow:
        """The only row of a query."""
        (row,) = self.all(query, *parameters)
        return row

    def run(self, statement: LiteralString, *parameters: object) -> None:
        """A statement without rows."""
        self._connection.execute(statement, parameters)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


@pytest.fixture
def rows(server: Server) -> Iterator[Rows]:
    """The running server's database."""
    opened = Rows(server.database_url)
    yield opened
    opened.close()
