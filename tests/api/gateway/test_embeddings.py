"""`/v1/embeddings` against the running server, with a model server behind it, and by OpenAI's own client."""

from __future__ import annotations

import base64
import struct
from typing import Any

import openai
import pytest

from tests.api.accounts import Account, bearer
from tests.api.conftest import Rows
from tests.api.gateway.calls import KEY, SECRET, books_are_right, last
from tests.api.gateways import Gateway
from tests.api.model_servers import answer
from tests.invocations.conftest import ModelServer
from tests.waiting import until

EMBEDDINGS = "/v1/embeddings"


def vectors(count: int = 1, tokens: int = 100, vector: object = (0.25, -0.5)) -> dict[str, Any]:
    """A list of vectors."""
    return {
        "object": "list",
        "model": "stub-1",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


@pytest.fixture(autouse=True)
def embedding(model: ModelServer) -> None:
    """The model server makes vectors."""
    model.answer = answer(vectors())


def asked(value: object = "A heron.", **more: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "fast", "input": value, **more}


def test_embeddings_are_governed_and_paid_for(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    body = asked(dimensions=2, encoding_format="float", brand_new_field=[1], max_cost_usd=1)
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=body)
    assert got.status_code == 200, got.text
    assert got.json() == {**vectors(), "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]}
    assert (got.headers["x-intutic-verdict"], got.headers["content-type"]) == ("bypass", "application/json")
    assert model.requests == [
        {"model": "stub-1", "input": "A heron.", "dimensions": 2, "encoding_format": "float", "brand_new_field": [1]}
    ]
    assert model.paths[0].endswith("/embeddings")
    row = last(rows, account)
    assert (row["kind"], row["status"], row["target_name"], row["model"]) == (
        "embeddings",
        "completed",
        "fast",
        "stub-1",
    )
    assert (row["input_tokens"], row["output_tokens"]) == (100, 0)
    books_are_right(rows, account)


def test_every_text_is_masked(gateway: Gateway, model: ModelServer, account: Account, rows: Rows) -> None:
    texts = ["A heron.", f"key {SECRET}", "SSN: 536-22-8714"]
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=asked(texts))
    assert (got.status_code, got.headers["x-intutic-verdict"]) == (200, "hijack")
    (sent,) = model.requests
    assert sent["input"][0] == texts[0]
    assert len(sent["input"]) == 3
    assert SECRET not in sent["input"][1]
    assert "536-22-8714" not in sent["input"][2]
    assert {flag["field"] for flag in last(rows, account)["findings"]} == {"input[1]", "input[2]"}


def test_what_may_not_pass_is_blocked(gateway: Gateway, model: ModelServer, account: Account, rows: Rows) -> None:
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=asked(["Hi", f"use {KEY}"]))
    assert (got.status_code, got.json()["error"]["code"]) == (400, "dlp_policy_violation")
    explained = gateway.client.post(
        EMBEDDINGS, headers=bearer(account.virtual_key) | {"x-intutic-context": "{}"}, json=asked(f"use {KEY}")
    )
    assert (explained.status_code, explained.json()["data"]) == (200, [])
    assert model.requests == []
    assert last(rows, account)["status"] == "blocked"


@pytest.mark.parametrize("tokens", [[5, 1_000_000, 99999], [[1, 2], [3]]])
def test_numbers_of_tokens_pass(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, tokens: list[Any]
) -> None:
    model.answer = answer(vectors(tokens=3))
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=asked(tokens))
    assert got.status_code == 200, got.text
    assert model.requests[0]["input"] == tokens
    assert last(rows, account)["cost_micros"] == 3


@pytest.mark.parametrize("value", [[7] * 500, [f"key {SECRET}"] * 10])
def test_a_provider_that_tells_no_usage_is_paid_the_bound(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, value: object
) -> None:
    model.answer = answer({member: told for member, told in vectors().items() if member != "usage"})
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=asked(value))
    assert got.status_code == 200, got.text
    row = last(rows, account)
    assert 200 < row["cost_micros"] == row["input_tokens"] < 600
    books_are_right(rows, account)


def test_a_budget_holds_the_whole_input(gateway: Gateway, model: ModelServer, account: Account, rows: Rows) -> None:
    headers = bearer(gateway.key(account, budgetUsd=0.001))
    many = gateway.client.post(EMBEDDINGS, headers=headers, json=asked(["x" * 100] * 20))
    assert (many.status_code, many.json()["error"]["code"]) == (429, "BUDGET_EXCEEDED")
    numbers = gateway.client.post(EMBEDDINGS, headers=headers, json=asked([7] * 1001))
    assert numbers.status_code == 429
    assert model.requests == []
    assert gateway.client.post(EMBEDDINGS, headers=headers, json=asked([7] * 500)).status_code == 200
    limited = headers | {"x-intutic-cost-limit": "0.0001"}
    assert gateway.client.post(EMBEDDINGS, headers=limited, json=asked("x" * 200)).status_code == 429
    books_are_right(rows, account)


@pytest.mark.parametrize("body", [{"model": "fast"}, {"input": "Hi"}, {"model": "nobody-has-it", "input": "Hi"}, []])
def test_what_is_no_request_is_refused(gateway: Gateway, model: ModelServer, account: Account, body: object) -> None:
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=body)
    assert (got.status_code, got.json()["error"]["code"]) == (400, "invalid_body"), got.text
    assert model.requests == []


def test_credentials_and_methods_are_checked(gateway: Gateway, model: ModelServer, account: Account) -> None:
    assert gateway.client.post(EMBEDDINGS, json=asked()).status_code == 401
    limited = gateway.key(account, allowedModels=["smart"])
    got = gateway.client.post(EMBEDDINGS, headers=bearer(limited), json=asked())
    assert (got.status_code, got.json()["error"]["code"]) == (403, "model_not_allowed")
    assert gateway.client.get(EMBEDDINGS, headers=bearer(account.virtual_key)).status_code == 405
    assert model.requests == []


def test_a_model_that_makes_none_is_not_asked(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=asked() | {"model": "smart"})
    assert (got.status_code, got.json()["error"]["param"]) == (400, "model")
    assert model.requests == []
    assert rows.all("select 1 from invocations where kind = 'embeddings' and target_name = 'smart'") == []


def test_an_error_of_the_provider_is_passed_on(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    model.answer = answer({"error": {"message": "Too long.", "type": "invalid_request_error", "code": "x"}}, 400)
    got = gateway.client.post(EMBEDDINGS, headers=bearer(account.virtual_key), json=asked())
    assert (got.status_code, got.json()["error"]["message"]) == (400, "Too long.")
    assert (last(rows, account)["status"], last(rows, account)["cost_micros"]) == ("failed", 0)
    books_are_right(rows, account)


def test_embeddings_are_repeated_from_the_cache(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    headers = bearer(gateway.key(account, cacheSeconds=600))
    first = gateway.client.post(EMBEDDINGS, headers=headers, json=asked())
    until(lambda: rows.all("select 1 from cached_answers where kind = 'embeddings'"))
    got = gateway.client.post(EMBEDDINGS, headers=headers, json=asked())
    assert (first.headers["x-intutic-cache"], got.headers["x-intutic-cache"]) == ("miss", "hit")
    assert got.content == first.content
    assert len(model.requests) == 1
    row = last(rows, account)
    assert (row["kind"], row["cost_micros"], row["cache_hit"]) == ("embeddings", 0, True)
    books_are_right(rows, account)


def test_openai_s_own_client(gateway: Gateway, model: ModelServer, account: Account) -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.25, -0.5)).decode()
    model.answer = answer(vectors(2, vector=packed))
    with openai.OpenAI(api_key=account.virtual_key, base_url=f"{gateway.server.base_url}/v1", max_retries=0) as client:
        made = client.embeddings.create(model="fast", input=["A heron.", "Another."])
        assert [vector.embedding for vector in made.data] == [[0.25, -0.5]] * 2
        assert made.usage.prompt_tokens == 100
        assert model.requests[0]["encoding_format"] == "base64"
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="smart", input="Hi")
        assert refused.value.param == "model"


def test_the_document_tells_of_it(gateway: Gateway) -> None:
    document = gateway.client.get("/openapi.json").json()
    assert document["paths"][EMBEDDINGS]["post"]["operationId"] == "gateway_embeddings"
