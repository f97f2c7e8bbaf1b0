"""`/v1/messages/count_tokens` and `/v1/responses/input_tokens`: free, governed, and by whoever knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.accounts import Account, bearer
from tests.api.conftest import Rows
from tests.api.gateway.calls import CHAT, KEY, SECRET, books_are_right, last
from tests.api.gateways import Gateway, running_gateway
from tests.api.model_servers import answer, chat_answer, write_model_list
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering

COUNT, INPUT = "/v1/messages/count_tokens", "/v1/responses/input_tokens"
PATHS = [COUNT, INPUT]


def write_models(folder: Path, base_url: str) -> Path:
    """`known` is OpenAI's and speaks chat, `responder` Responses as well, `claude` is Anthropic's; `stranger` is a
    model whose tokenizer nobody knows."""
    endpoints = ["/v1/chat/completions", "/v1/responses"]
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("known", "openai/gpt-4o-mini", {}),
        ("responder", "openai/gpt-4.1", {"supported_endpoints": endpoints}),
        ("claude", "anthropic/claude-opus-4-1", {}),
        ("stranger", "openai/our-own", {}),
    ]
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": model, "api_base": base_url, "api_key": "sk-test"},
            "model_info": info,
        }
        for name, model, info in kinds
    ]
    return write_model_list(folder, models)


@pytest.fixture(scope="module")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("counts")
    with running_gateway(server_url, template_database, folder, write_models, workers=1) as running:
        yield running


def asked(path: str, model: str, text: str = "Hello, world!", **more: Any) -> dict[str, Any]:
    """A request of one message."""
    said = {"input": text} if path == INPUT else {"messages": [{"role": "user", "content": text}]}
    return {"model": model, **said, **more}


def test_anthropic_counts_for_its_own_models(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    told = {"input_tokens": 14, "context_management": {"original_input_tokens": 20}}
    model.answer = answering(told, request_id="req_7")
    headers = bearer(account.virtual_key) | {"anthropic-beta": "token-counting-2024-11-01"}
    body = asked(COUNT, "claude", f"key {SECRET}", system="Be brief.", a_new_member=1)
    got = gateway.client.post(COUNT, headers=headers, json=body)
    assert (got.status_code, got.json()) == (200, told), got.text
    assert (got.headers["x-intutic-verdict"], got.headers["request-id"]) == ("hijack", "req_7")
    assert model.paths[0].endswith("/v1/messages/count_tokens")
    assert model.headers[0]["anthropic-beta"] == "token-counting-2024-11-01"
    assert model.headers[0]["x-api-key"] == "sk-test"
    masked = body | {"model": "claude-opus-4-1", "messages": [{"role": "user", "content": "key [REDACTED_SECRET]"}]}
    assert model.requests == [masked]
    row = last(rows, account)
    assert (row["kind"], row["status"], row["cost_micros"], row["input_tokens"]) == ("count_tokens", "completed", 0, 0)
    assert (row["model"], row["decision"]) == ("claude-opus-4-1", "HIJACK")
    books_are_right(rows, account)


def test_anthropic_counts_for_clients_of_openai(gateway: Gateway, model: ModelServer, account: Account) -> None:
    model.answer = answer({"input_tokens": 14})
    body = asked(INPUT, "claude", instructions="Be brief.", temperature=0.5, max_output_tokens=9, user="u")
    got = gateway.client.post(INPUT, headers=bearer(account.virtual_key), json=body)
    assert (got.status_code, got.json()) == (200, {"object": "response.input_tokens", "input_tokens": 14}), got.text
    assert model.requests == [
        {
            "model": "claude-opus-4-1",
            "system": "Be brief.",
            "messages": [{"role": "user", "content": "Hello, world!"}],
        }
    ]


def test_openai_counts_where_it_is_asked_in_its_form(gateway: Gateway, model: ModelServer, account: Account) -> None:
    model.answer = answer({"object": "response.input_tokens", "input_tokens": 11})
    body = asked(INPUT, "responder", previous_response_id="resp_1", stream=True)
    got = gateway.client.post(INPUT, headers=bearer(account.virtual_key), json=body)
    assert (got.status_code, got.json()) == (200, {"object": "response.input_tokens", "input_tokens": 11}), got.text
    assert model.paths[0].endswith("/responses/input_tokens")
    assert model.requests == [{"model": "gpt-4.1", "input": "Hello, world!", "previous_response_id": "resp_1"}]


@pytest.mark.parametrize("name", ["known", "responder"])
def test_openais_models_are_counted_here(gateway: Gateway, model: ModelServer, account: Account, name: str) -> None:
    got = gateway.client.post(COUNT, headers=bearer(account.virtual_key), json=asked(COUNT, name))
    # Four tokens, and seven around them (OpenAI's cookbook).
    assert (got.status_code, got.json()) == (200, {"input_tokens": 11}), got.text
    assert model.requests == []


def test_a_model_that_nobody_can_count_for_is_told(gateway: Gateway, model: ModelServer, account: Account) -> None:
    for path in PATHS:
        got = gateway.client.post(path, headers=bearer(account.virtual_key), json=asked(path, "stranger"))
        error = got.json()["error"]
        assert (got.status_code, error["code"], error["param"]) == (400, "invalid_body", "model")
        assert ("type" in got.json()) == (path == COUNT)
    assert model.requests == []


def test_what_the_provider_refuses_is_told_in_its_form(gateway: Gateway, model: ModelServer, account: Account) -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: too odd"}}
    model.answer = answer(refusal, status=400)
    got = gateway.client.post(COUNT, headers=bearer(account.virtual_key), json=asked(COUNT, "claude"))
    assert (got.status_code, got.json()) == (400, refusal)
    got = gateway.client.post(INPUT, headers=bearer(account.virtual_key), json=asked(INPUT, "claude"))
    assert (got.status_code, got.json()["error"]["message"]) == (400, "messages: too odd")
    model.answer = answer({"input_tokens": "many"})
    got = gateway.client.post(COUNT, headers=bearer(account.virtual_key), json=asked(COUNT, "claude"))
    assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_error")


@pytest.mark.parametrize("path", PATHS)
def test_it_is_governed_as_calls_are(gateway: Gateway, model: ModelServer, account: Account, path: str) -> None:
    def refused(headers: dict[str, str], text: str = "Hi", **more: Any) -> tuple[int, str]:
        got = gateway.client.post(path, headers=headers, json=asked(path, "known", text, **more))
        return got.status_code, got.json()["error"]["code"]

    assert refused({}) == (401, "missing_key")
    assert refused(bearer(gateway.key(account, allowedModels=["claude"]))) == (403, "model_not_allowed")
    assert refused(bearer(gateway.key(account, scopes=["traces:read"]))) == (403, "policy_denied")
    assert refused(bearer(account.virtual_key), f"use {KEY} please") == (400, "dlp_policy_violation")
    one = bearer(gateway.key(account, rateLimitRpm=1))
    assert gateway.client.post(path, headers=one, json=asked(path, "known")).status_code == 200
    assert refused(one) == (429, "RATE_LIMITED")
    nothing = gateway.client.post(path, headers=bearer(account.virtual_key), json={"input": "x"})
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (400, "invalid_body")
    gateway.client.post("/api/v1/kill-switches", headers=account.headers, json={"scope": "organization", "reason": "x"})
    assert refused(bearer(account.virtual_key)) == (403, "policy_denied")
    told = bearer(account.virtual_key) | {"x-intutic-context": "{}"}
    got = gateway.client.post(path, headers=told, json=asked(path, "known"))
    assert (got.status_code, got.json()["input_tokens"], got.headers["x-intutic-verdict"]) == (200, 0, "kill")
    assert model.requests == []


def test_it_costs_nothing_even_when_nothing_is_left(gateway: Gateway, model: ModelServer, account: Account) -> None:
    headers = bearer(gateway.key(account, budgetUsd=0.00003))
    model.answer = answer(chat_answer({"content": "Hello."}, 100, 50))
    body = {"model": "known", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    while gateway.client.post(CHAT, headers=headers, json=body).status_code == 200:
        pass
    assert gateway.client.post(COUNT, headers=headers, json=asked(COUNT, "known")).status_code == 200
