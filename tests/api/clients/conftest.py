"""Unmodified clients of OpenAI and Anthropic, a running server, and behind it a provider on loopback."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic as anthropic_package
import msgspec
import openai as openai_package
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, sign_up
from tests.api.clients.flavours import all_of, settled
from tests.api.clients.provider_bodies import check_request
from tests.api.conftest import Rows
from tests.api.gateways import Gateway, running_gateway
from tests.api.model_servers import write_model_list
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering
from tests.waiting import until

_SPARE = 150
CLIENTS = ["sync", "async"]


def _models(folder: Path, base_url: str) -> Path:
    """`gpt` speaks OpenAI's chat, `claude` Anthropic's dialect, `gpt-responses` Responses as well. Of those that fail
    in a test there are some of either kind, as a deployment that fails is left alone for a while; `nowhere` is where
    nobody listens, `gpt-4o-mini` has the name of a model whose tokenizer is public. A million input tokens cost 1 USD,
    0.1 when they were cached; output 2."""
    places = {
        "gpt": ("openai", ["/v1/chat/completions"]),
        "gpt-responses": ("openai", ["/v1/chat/completions", "/v1/responses"]),
        "claude": ("anthropic", None),
    }
    names = [*places, *(f"{name}-{number}" for name in places for number in range(_SPARE))]
    entries = []
    for name in names:
        provider, endpoints = next(
            kind for place, kind in sorted(places.items(), reverse=True) if name.startswith(place)
        )
        parameters = {
            "model": f"{provider}/{name}-stub",
            "api_base": base_url,
            "api_key": "sk-of-the-provider",
            "max_tokens": 1000,
            "input_cost_per_token": 0.000001,
            "cache_read_input_token_cost": 0.0000001,
            "output_cost_per_token": 0.000002,
        }
        info = {} if endpoints is None else {"supported_endpoints": endpoints}
        entries.append({"model_name": name, "litellm_params": parameters, "model_info": info})
    nowhere = {"model": "openai/nowhere", "api_base": "http://127.0.0.1:9", "api_key": "sk-of-the-provider"}
    entries.append({"model_name": "nowhere", "litellm_params": nowhere})
    real = {"model": "openai/gpt-4o-mini", "api_base": base_url, "api_key": "sk-of-the-provider"}
    entries.append({"model_name": "gpt-4o-mini", "litellm_params": real})
    return write_model_list(folder, entries)


@pytest.fixture(scope="package")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One server for all tests of clients."""
    folder = tmp_path_factory.mktemp("clients")
    with running_gateway(server_url, template_database, folder, _models, workers=1) as running:
        yield running


@pytest.fixture
def provider(gateway: Gateway) -> Iterator[ModelServer]:
    """The provider, which has been asked nothing yet. What it is asked has to be a request of its dialect."""
    gateway.forget()
    found = gateway.model
    found.answer = answering({"error": {"message": "The test tells no answer.", "type": "server_error"}}, status=500)
    yield found
    for path, body in zip(found.paths, found.requests, strict=True):
        check_request(path, body)


_numbers = itertools.count()


@pytest.fixture
def spare() -> str:
    """The end of the name of models that no other test calls (`gpt-7`)."""
    return str(next(_numbers) % _SPARE)


@pytest.fixture(scope="package")
def account(gateway: Gateway) -> Account:
    """The account of all tests that take nothing away from the others."""
    return sign_up(gateway.client)


@pytest.fixture(scope="package")
def rows(gateway: Gateway) -> Iterator[Rows]:
    """The server's database."""
    found = Rows(gateway.server.database_url)
    yield found
    found.close()


def openai_of(base_url: str, key: str, flavour: str, **more: Any) -> Any:
    """OpenAI's client; it tries nothing twice unless it is told to."""
    given = {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 30.0, **more}
    return OpenAI(**given) if flavour == "sync" else AsyncOpenAI(**given)


def anthropic_of(base_url: str, key: str, flavour: str, **more: Any) -> Any:
    """Anthropic's."""
    given = {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 30.0, **more}
    return Anthropic(**given) if flavour == "sync" else AsyncAnthropic(**given)


@pytest.fixture(params=CLIENTS)
async def openai(request: pytest.FixtureRequest, gateway: Gateway, account: Account) -> AsyncIterator[Any]:
    """OpenAI's client at our server, synchronous and asynchronous (`settled`, `each`, `opened`)."""
    client = openai_of(f"{gateway.server.base_url}/v1", account.virtual_key, request.param)
    yield client
    await settled(client.close())


@pytest.fixture(params=CLIENTS)
async def anthropic(request: pytest.FixtureRequest, gateway: Gateway, account: Account) -> AsyncIterator[Any]:
    """Anthropic's."""
    client = anthropic_of(gateway.server.base_url, account.virtual_key, request.param)
    yield client
    await settled(client.close())


class Trace:
    """What is known of an account's calls from now on."""

    def __init__(self, rows: Rows, account: Account) -> None:
        self._rows = rows
        self._organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
        self._before = self._count()

    def of(self, account: Account) -> Trace:
        """The same of another account."""
        return Trace(self._rows, account)

    def last(self) -> dict[str, Any]:
        """The latest call, when all are over."""

        def found() -> Any:
            held = "select 1 from holds where organization_id = %s and state = 'open'"
            if self._rows.all(held, self._organization_id) or not self.count():
                return None
            return self._rows.one(
                "select * from invocations where organization_id = %s order by id desc limit 1", self._organization_id
            )

        row: dict[str, Any] = until(found)
        return row

    def count(self) -> int:
        """How many calls there were, those under way among them."""
        return self._count() - self._before

    def _count(self) -> int:
        found = self._rows.one(
            "select (select count(*) from invocations v where v.organization_id = o.id) + (select count(*) from holds h"
            " where h.organization_id = o.id and h.state = 'open') as n from organizations o where o.id = %s",
            self._organization_id,
        )
        return int(found["n"])


@pytest.fixture
def trace(rows: Rows, account: Account) -> Trace:
    """The account's calls."""
    return Trace(rows, account)


class Caller:
    """One of the three calls, by the client that makes it: `chat`, `responses` or `messages`."""

    def __init__(self, form: str, client: Any) -> None:
        self.form = form
        self.client = client
        self.package: Any = anthropic_package if form == "messages" else openai_package

    async def begin(self, model: str, text: str = "Hi", **more: Any) -> Any:
        """What the client makes of the answer, or the stream that it hands out."""
        messages = [{"role": "user", "content": text}]
        match self.form:
            case "chat":
                call = self.client.chat.completions.create(model=model, messages=messages, **more)
            case "responses":
                call = self.client.responses.create(model=model, input=text, **more)
            case _:
                call = self.client.messages.create(model=model, max_tokens=500, messages=messages, **more)
        return await settled(call)

    async def __call__(self, model: str, text: str = "Hi", *, stream: bool = False, **more: Any) -> Any:
        """The whole answer; of a stream all its events."""
        got = await self.begin(model, text, stream=stream, **more)
        return await all_of(got) if stream else got


class Scene(msgspec.Struct, frozen=True):
    """What tests of every call in every form need."""

    gateway: Gateway
    provider: ModelServer
    account: Account
    trace: Trace
    spare: str
    clients: list[Any] = []

    def key(self, **limits: Any) -> str:
        """A further virtual key."""
        return self.gateway.key(self.account, **limits)

    def caller(self, form: str, flavour: str = "sync", *, key: str | None = None, **more: Any) -> Caller:
        """A new client, closed after the test."""
        base_url, key = self.gateway.server.base_url, key or self.account.virtual_key
        client = (
            anthropic_of(base_url, key, flavour, **more)
            if form == "messages"
            else openai_of(f"{base_url}/v1", key, flavour, **more)
        )
        self.clients.append(client)
        return Caller(form, client)


@pytest.fixture
async def scene(
    gateway: Gateway, provider: ModelServer, account: Account, trace: Trace, spare: str
) -> AsyncIterator[Scene]:
    """All of it."""
    made = Scene(gateway, provider, account, trace, spare)
    yield made
    for client in made.clients:
        await settled(client.close())
