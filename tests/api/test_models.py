"""`GET /v1/models`: what a key may call, as OpenAI's clients read it and as Anthropic's do."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.api.accounts import Account, sign_up
from tests.api.conftest import contract_client
from tests.api.servers import running_server
from tests.api.test_keys import create
from tests.conftest import clone, drop

MODELS = """
model_list:
  - {model_name: fast, litellm_params: {model: openai/gpt-4o-mini, input_cost_per_token: 0.000001}}
  - model_name: fast
    litellm_params: {model: azure/mini, api_base: "https://x.example.com", output_cost_per_token: 0.1}
  - {model_name: careful, litellm_params: {model: anthropic/claude-sonnet-4-5}}
  - {model_name: vendor/local, litellm_params: {model: ollama/llama3.2}}
  - {model_name: openai/*, litellm_params: {model: openai/*}}
"""
LISTED = ["fast", "careful", "vendor/local"]
ANTHROPIC = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def client(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server with this model list."""
    database_url = clone(server_url, template_database)
    folder = tmp_path_factory.mktemp("models")
    path = folder / "models.yaml"
    path.write_text(MODELS)
    with running_server(database_url, folder, models=str(path)) as server, contract_client(server) as opened:
        yield opened
    drop(server_url, database_url)


@pytest.fixture
def account(client: httpx.Client) -> Account:
    """A new account."""
    return sign_up(client)


def limited(client: httpx.Client, account: Account, *models: str) -> str:
    """A key for these models alone."""
    return str(create(client, account.headers, allowedModels=list(models))["key"])


def ids(client: httpx.Client, key: str) -> list[str]:
    answer = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["object"] == "list"
    return [model["id"] for model in answer.json()["data"]]


def test_a_key_without_limits_sees_every_model(client: httpx.Client, account: Account) -> None:
    assert ids(client, account.virtual_key) == LISTED


def test_a_model_tells_its_owner_and_its_dearest_price(client: httpx.Client, account: Account) -> None:
    model = client.get("/v1/models/fast", headers={"x-api-key": account.virtual_key}).json()
    assert (model["id"], model["object"], model["owned_by"]) == ("fast", "model", "openai")
    assert model["output_cost_per_1k"] == 100
    assert model["created"] > 1_700_000_000


def test_a_limited_key_sees_what_it_may_call(client: httpx.Client, account: Account) -> None:
    key = limited(client, account, "careful", "openai/o3", "gone")
    assert ids(client, key) == ["careful", "openai/o3"]  # a wildcard stands for the second; nothing for the third
    headers = {"x-api-key": key}
    assert client.get("/v1/models/openai/o3", headers=headers).json()["id"] == "openai/o3"
    refused = client.get("/v1/models/fast", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_a_key_for_a_wildcard_sees_what_that_stands_for(client: httpx.Client, account: Account) -> None:
    key = limited(client, account, "vendor/*", "openai/*")
    assert ids(client, key) == ["vendor/local"]
    headers = {"x-api-key": key}
    assert client.get("/v1/models/openai/o3", headers=headers).json()["id"] == "openai/o3"
    assert client.get("/v1/models/fast", headers=headers).status_code == 404


@pytest.mark.parametrize("name", ["gone", "openai/*", "vendor/localx"])
def test_a_model_that_is_not_there_is_not_found(client: httpx.Client, account: Account, name: str) -> None:
    answer = client.get(f"/v1/models/{name}", headers={"x-api-key": account.virtual_key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_anthropics_clients_are_answered_in_their_form(client: httpx.Client, account: Account) -> None:
    headers = {"x-api-key": account.virtual_key, **ANTHROPIC}
    listed = client.get("/v1/models", headers=headers).json()
    assert [model["id"] for model in listed["data"]] == LISTED
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "fast", "vendor/local")
    one = client.get("/v1/models/vendor/local", headers=headers).json()
    assert one == listed["data"][2]
    assert (one["type"], one["display_name"], one["lifecycle"]) == ("model", "vendor/local", "active")
    missing = client.get("/v1/models/gone", headers=headers)
    assert missing.status_code == 404
    assert (missing.json()["type"], missing.json()["error"]["type"]) == ("error", "not_found_error")


@pytest.mark.parametrize(
    ("query", "found", "more"),
    [
        ("limit=2", ["fast", "careful"], True),
        ("limit=2&after_id=careful", ["vendor/local"], False),
        ("limit=1&before_id=vendor/local", ["careful"], True),
        ("after_id=vendor/local", [], False),
        ("after_id=gone", [], False),
    ],
)
def test_anthropics_clients_read_page_by_page(
    client: httpx.Client, account: Account, query: str, found: list[str], more: bool
) -> None:
    answer = client.get(f"/v1/models?{query}", headers={"x-api-key": account.virtual_key, **ANTHROPIC}).json()
    assert ([model["id"] for model in answer["data"]], answer["has_more"]) == (found, more)


def test_strangers_see_nothing(client: httpx.Client) -> None:
    assert client.get("/v1/models").status_code == 401
    assert client.get("/v1/models", headers={"x-api-key": "vk_wrong"}).json()["error"]["code"] == "unauthorized"
