"""Prompts of models whose tokenizer is known are held by their tokens: small budgets pay for what they can."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bailiwick.invocations import ModelDialect
from bailiwick.invocations.encodings import Encoding, counter
from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer
from tests.api.conftest import Rows, contract_client_async
from tests.api.gateway.calls import CHAT, MESSAGES, RESPONSES, books_are_right, last
from tests.api.gateways import Gateway, running_gateway
from tests.api.model_servers import answer, chat_answer, message_answer, write_model_list
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import sending, streamed

TEXT = "The quick brown fox jumps over the lazy dog. " * 20
TOKENS = counter(Encoding.O200K)(TEXT)
AROUND = 16 + 1 + 64
"""What is held beside the tokens of a message."""


def write_models(folder: Path, base_url: str) -> Path:
    """`known` is a model whose tokenizer is public, `mixed` one that falls back to one of which nothing is known;
    `claude` is Anthropic's. A million input tokens cost 1 USD, output 2; Anthropic's own prices for `claude`."""

    def entry(name: str, model: str, *, is_priced: bool = True) -> dict[str, Any]:
        parameters = {"model": model, "api_base": base_url, "api_key": "sk-test", "max_tokens": 1000}
        prices = {"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
        return {"model_name": name, "litellm_params": {**parameters, **(prices if is_priced else {})}}

    models = [
        entry("known", "openai/gpt-4o-mini"),
        entry("mixed", "openai/gpt-4o-mini"),
        entry("stranger", "openai/our-own"),
        entry("claude", "anthropic/claude-opus-4-1", is_priced=False),
    ]
    return write_model_list(folder, models, fallbacks=[{"mixed": ["stranger"]}])


@pytest.fixture(scope="module")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("counted")
    with running_gateway(server_url, template_database, folder, write_models, workers=2) as running:
        yield running


def asked(path: str, model: str = "known", text: str = TEXT, most: int = 1000) -> dict[str, Any]:
    """A request of one message."""
    if path == RESPONSES:
        return {"model": model, "input": text, "max_output_tokens": most}
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": most}


@pytest.mark.parametrize("case", list(itertools.product([CHAT, MESSAGES, RESPONSES], [False, True])))
def test_a_small_budget_pays_for_what_its_tokens_cost(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, case: tuple[str, bool]
) -> None:
    path, stream = case
    if stream:
        model.answer = sending(*streamed(ModelDialect.CHAT, ["Hello."]))
    micros = TOKENS + AROUND + 200  # the tokens, and a hundred of output; in bytes the text alone is 900
    assert micros < len(TEXT)
    headers = bearer(gateway.key(account, budgetUsd=micros / 1_000_000))
    got = gateway.client.post(path, headers=headers, json=asked(path) | {"stream": stream})
    assert got.status_code == 200, got.text
    cap = model.requests[-1]
    assert 100 <= cap.get("max_tokens", cap.get("max_completion_tokens", 0)) <= 110
    assert last(rows, account)["cost_micros"] == 200  # what the provider tells
    books_are_right(rows, account)


@pytest.mark.parametrize("name", ["stranger", "mixed"])
def test_where_one_tokenizer_is_not_known_every_byte_is_held(
    gateway: Gateway, model: ModelServer, account: Account, name: str
) -> None:
    headers = bearer(gateway.key(account, budgetUsd=len(TEXT) / 1_000_000))
    got = gateway.client.post(CHAT, headers=headers, json=asked(CHAT, name))
    assert (got.status_code, got.json()["error"]["code"]) == (429, "BUDGET_EXCEEDED")
    assert model.requests == []


def test_tokens_per_minute_are_counted(gateway: Gateway, model: ModelServer, account: Account) -> None:
    headers = bearer(gateway.key(account, rateLimitTpm=len(TEXT)))
    assert gateway.client.post(CHAT, headers=headers, json=asked(CHAT, most=10)).status_code == 200
    refused = gateway.client.post(CHAT, headers=headers, json=asked(CHAT, "stranger", most=10))
    assert refused.json()["error"]["code"] == "RATE_LIMITED"


async def test_calls_at_once_never_overspend_and_all_that_can_be_paid_are_served(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    used = TOKENS + 7  # what OpenAI would count

    async def whole(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        await asyncio.sleep(0.02)
        most = body.get("max_tokens") or body["max_completion_tokens"]
        return web.json_response(chat_answer({"content": "Hello."}, used, min(most, 40)))

    model.answer = whole
    each = used + 2 * 40
    budget = 20 * each
    headers = bearer(gateway.key(account, budgetUsd=budget / 1_000_000))
    async with contract_client_async(gateway.server) as client:
        answers = await asyncio.gather(
            *(client.post(CHAT, headers=headers, json=asked(CHAT, most=40)) for _ in range(60))
        )
    assert {got.status_code for got in answers} == {200, 429}
    spent = rows.one(
        "select sum(cost_micros)::bigint as cost, count(*) filter (where cost_micros > 0) as calls from invocations"
        " where organization_id = %s",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    held = TOKENS + AROUND + 2
    assert spent["cost"] <= budget
    assert spent["calls"] == sum(got.status_code == 200 for got in answers) >= budget // (each + AROUND)
    # One after another the rest is spent as well, down to less than one more call is held for.
    while (got := await _one(gateway, headers)) == 200:
        pass
    assert got == 429
    spent = rows.one(
        "select sum(cost_micros)::bigint as cost from invocations where organization_id = %s",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert budget - held < spent["cost"] <= budget
    books_are_right(rows, account)


async def _one(gateway: Gateway, headers: dict[str, str]) -> int:
    async with contract_client_async(gateway.server) as client:
        return int((await client.post(CHAT, headers=headers, json=asked(CHAT, most=40))).status_code)


@pytest.mark.parametrize("case", [("5m", 1.25), ("1h", 2.0)])
def test_what_is_cached_for_an_hour_is_held_and_charged_at_its_price(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, case: tuple[str, float]
) -> None:
    ttl, share = case
    kept = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0, f"ephemeral_{ttl}_input_tokens": 900}
    told = message_answer([{"type": "text", "text": "Hello."}])
    told["usage"] = {"input_tokens": 3, "cache_creation_input_tokens": 900, "cache_creation": kept, "output_tokens": 10}
    model.answer = answer(told)
    part = {"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": ttl}}
    body = asked(MESSAGES, "claude") | {"messages": [{"role": "user", "content": [part]}], "max_tokens": 10}
    got = gateway.client.post(MESSAGES, headers=bearer(account.virtual_key), json=body)
    assert got.status_code == 200, got.text
    row = last(rows, account)
    # Claude Opus 4.1: 15 USD for a million of input, 75 of output.
    assert row["cost_micros"] == 3 * 15 + round(900 * 15 * share) + 10 * 75
    least = len(TEXT) * 15 * share
    poor = bearer(gateway.key(account, budgetUsd=least / 1_000_000))
    assert gateway.client.post(MESSAGES, headers=poor, json=body).status_code == 429
    books_are_right(rows, account)
