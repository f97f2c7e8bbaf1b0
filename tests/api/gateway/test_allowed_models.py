"""Which models a key may call, also where one stands in for another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.accounts import Account, bearer
from tests.api.conftest import Rows
from tests.api.gateway.calls import CHAT, chat, last
from tests.api.gateways import Gateway, running_gateway
from tests.api.model_servers import answer, chat_answer, write_model_list
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering, asked, by_place


def write_models(folder: Path, base_url: str) -> Path:
    """`fast`, for which `dear` stands in, and all of `any/`."""

    def entry(name: str, model: str, price: float) -> dict[str, Any]:
        address = f"{base_url}/{name.removesuffix('/*')}"
        parameters = {"model": model, "api_base": address, "api_key": "sk-test", "max_tokens": 1000}
        prices = {"input_cost_per_token": price, "output_cost_per_token": price}
        return {"model_name": name, "litellm_params": {**parameters, **prices}}

    models = [
        entry("fast", "openai/stub-fast", 0.000001),
        entry("dear", "openai/stub-dear", 0.0001),
        entry("any/*", "openai/*", 0.000001),
    ]
    return write_model_list(folder, models, fallbacks=[{"fast": ["dear"]}])


@pytest.fixture(scope="module")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server with these models."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(server_url, template_database, folder, write_models, workers=1) as running:
        yield running


def test_a_model_that_the_key_may_not_call_does_not_stand_in(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    fine = answer(chat_answer({"content": "Hello."}))
    by_place(model, fast=answering({"error": {"message": "Down", "code": "down"}}, status=503), dear=fine)
    refused = gateway.client.post(CHAT, headers=bearer(gateway.key(account, allowedModels=["fast"])), json=chat())
    assert refused.status_code == 503, refused.text
    assert asked(model) == ["fast"]
    assert last(rows, account)["cost_micros"] == 0
    both = gateway.key(account, allowedModels=["fast", "dear"])
    assert gateway.client.post(CHAT, headers=bearer(both), json=chat()).status_code == 200
    assert last(rows, account)["model"] == "stub-dear"


def test_what_only_a_forbidden_model_would_cost_is_not_reserved(
    gateway: Gateway, model: ModelServer, account: Account
) -> None:
    # One dollar cent pays for ten thousand tokens of `fast`, and for a hundred of `dear`.
    limits = {"budgetUsd": 0.01}
    body = chat(max_tokens=1000)
    narrow = gateway.key(account, allowedModels=["fast"], **limits)
    assert gateway.client.post(CHAT, headers=bearer(narrow), json=body).status_code == 200
    assert model.requests[-1]["max_tokens"] == 1000
    wide = gateway.key(account, **limits)
    assert gateway.client.post(CHAT, headers=bearer(wide), json=body).status_code == 200
    assert model.requests[-1]["max_tokens"] < 100


def test_a_wildcard_allows_what_it_stands_for(gateway: Gateway, model: ModelServer, account: Account) -> None:
    headers = bearer(gateway.key(account, allowedModels=["any/gpt-*"]))
    assert gateway.client.post(CHAT, headers=headers, json=chat(model="any/gpt-x")).status_code == 200
    for other in ("fast", "any/claude", "any/gpt-"):
        refused = gateway.client.post(CHAT, headers=headers, json=chat(model=other))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed"), other
    assert [request["model"] for request in model.requests] == ["gpt-x"]


def test_a_name_that_cannot_be_kept_is_refused(gateway: Gateway, model: ModelServer, account: Account) -> None:
    headers = bearer(account.virtual_key)
    assert gateway.client.post(CHAT, headers=headers, json=chat(model="any/" + "x" * 252)).status_code == 200
    for name in ("x" * 253, "a\0b", "a\nb"):
        refused = gateway.client.post(CHAT, headers=headers, json=chat(model=f"any/{name}"))
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model"), name
