"""The cache of answers: who is answered from it, what is kept, what it costs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows, contract_client, contract_client_async
from tests.api.gateway.calls import CHAT, KEY, MESSAGES, RESPONSES, SECRET, books_are_right, chat, last
from tests.api.gateways import Gateway
from tests.api.model_servers import (
    answer,
    chat_answer,
    chat_text,
    events_of,
    message_answer,
    model_server,
    response_answer,
    write_models,
)
from tests.api.servers import running_server
from tests.invocations.conftest import ModelServer
from tests.invocations.test_streams import LONG, openai_events, sent
from tests.waiting import until


class Cached:
    """A key with a cache, and what it asks."""

    def __init__(self, gateway: Gateway, account: Account, rows: Rows, **limits: Any) -> None:
        made = gateway.client.post(
            "/api/v1/keys", headers=account.headers, json={"label": "test", "cacheSeconds": 600, **limits}
        )
        assert made.status_code == 201, made.text
        self.gateway, self.account, self.rows = gateway, account, rows
        self.key_id = str(made.json()["keyId"])
        self.headers = bearer(str(made.json()["key"]))

    def ask(self, body: dict[str, Any] | None = None, path: str = CHAT, **more: dict[str, str]) -> httpx.Response:
        headers = self.headers | more.get("headers", {})
        return self.gateway.client.post(path, headers=headers, json=chat() if body is None else body)

    def kept(self) -> list[dict[str, Any]]:
        return self.rows.all(
            "select * from cached_answers where virtual_key_id = %s", decode(Prefix.VIRTUAL_KEY, self.key_id)
        )

    def wait(self, count: int = 1) -> None:
        until(lambda: len(self.kept()) == count)

    def settled(self, count: int) -> None:
        """Waits for what was to be kept or not: a write that was handed over later has been done."""
        until(lambda: verdict(self.ask(chat("The last one."))) == "hit")
        assert len(self.kept()) == count + 1

    def change(self, **settings: Any) -> None:
        changed = self.gateway.client.patch(f"/api/v1/keys/{self.key_id}", headers=self.account.headers, json=settings)
        assert changed.status_code == 200, changed.text


@pytest.fixture
def cached(gateway: Gateway, model: ModelServer, account: Account, rows: Rows) -> Cached:
    """A new account's key whose answers are kept for ten minutes."""
    return Cached(gateway, account, rows)


def verdict(got: httpx.Response) -> str | None:
    """Whether an answer came from the cache."""
    assert got.status_code == 200, got.text
    told: str | None = got.headers.get("x-intutic-cache")
    return told


def test_an_answer_is_repeated_by_every_process_for_nothing(cached: Cached, model: ModelServer) -> None:
    first = cached.ask()
    assert verdict(first) == "miss"
    before = last(cached.rows, cached.account)
    cached.wait()
    # Members in another order, and what is meant for us, make no other request.
    again = {"messages": chat()["messages"], "max_cost_usd": 0.9, "model": "fast"}
    for body in [chat(), again] * 4:  # each opens a connection of its own, to either process
        with httpx.Client(base_url=cached.gateway.server.base_url, timeout=30) as client:
            got = client.post(CHAT, headers=cached.headers, json=body)
        assert (verdict(got), got.content) == ("hit", first.content)
        row = last(cached.rows, cached.account)
        assert (row["status"], row["cost_micros"], row["cache_hit"]) == ("completed", 0, True)
        assert row["cache_savings_micros"] == before["cost_micros"] == 200
        assert row["output_hash"] == before["output_hash"]
        assert (row["model"], row["provider"]) == (before["model"], before["provider"])
    assert len(model.requests) == 1
    trace = cached.gateway.client.get(
        f"/api/v1/traces/{got.headers['x-intutic-trace-id']}", headers=cached.account.headers
    ).json()
    assert (trace["cacheHit"], trace["cacheSavingsUsd"], trace["rawCostUsd"]) == (True, 0.0002, 0.0002)
    assert (trace["actualCostUsd"], trace["savingsUsd"]) == (0, 0.0002)
    books_are_right(cached.rows, cached.account)


def test_a_key_without_a_cache_asks_each_time(gateway: Gateway, model: ModelServer, account: Account) -> None:
    for _ in range(2):
        got = gateway.client.post(CHAT, headers=bearer(account.virtual_key), json=chat())
        assert verdict(got) is None
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    "other", [chat("Hi "), chat(temperature=1), chat(user="u"), chat(stream=True), chat() | {"model": "responder"}]
)
def test_another_request_is_another(cached: Cached, model: ModelServer, other: dict[str, Any]) -> None:
    cached.ask()
    cached.wait()
    if other.get("stream"):
        model.answer = sent(*openai_events(["Hello."]))
    assert verdict(cached.ask(other)) == "miss"
    assert len(model.requests) == 2


def test_header_fields_of_the_protocol_make_another_request(cached: Cached, model: ModelServer) -> None:
    model.answer = answer(message_answer([{"type": "text", "text": "Hello."}]))
    body = {"model": "smart", "max_tokens": 100, "messages": chat()["messages"]}
    versions = ["2023-06-01", "2023-06-01", "2024-01-01"]
    assert verdict(cached.ask(body, MESSAGES, headers={"anthropic-version": versions[0]})) == "miss"
    cached.wait()
    assert verdict(cached.ask(body, MESSAGES, headers={"anthropic-version": versions[1]})) == "hit"
    assert verdict(cached.ask(body, MESSAGES, headers={"anthropic-version": versions[2]})) == "miss"
    assert (
        verdict(cached.ask(body, MESSAGES, headers={"anthropic-version": versions[0], "anthropic-beta": "x"})) == "miss"
    )


def test_no_other_key_and_no_other_organisation_is_answered(cached: Cached, model: ModelServer) -> None:
    cached.ask()
    cached.wait()
    others = [
        Cached(cached.gateway, cached.account, cached.rows),
        Cached(cached.gateway, sign_up(cached.gateway.client), cached.rows),
    ]
    for number, other in enumerate(others, start=2):
        assert verdict(other.ask()) == "miss"
        assert len(model.requests) == number
    # Moved to another place, by whoever can write there, what is sealed does not open.
    others[0].wait()
    cached.rows.run(
        "update cached_answers set content = (select content from cached_answers where virtual_key_id = %s)"
        " where virtual_key_id = %s",
        decode(Prefix.VIRTUAL_KEY, cached.key_id),
        decode(Prefix.VIRTUAL_KEY, others[0].key_id),
    )
    assert verdict(others[0].ask()) == "miss"


def test_nothing_lies_readable(cached: Cached, model: ModelServer) -> None:
    model.answer = answer(chat_answer({"content": "The heron flies at dawn."}))
    cached.ask(chat("Where is the heron?"))
    cached.wait()
    (row,) = cached.kept()
    for content in row.values():
        assert b"heron" not in (content if isinstance(content, bytes) else str(content).encode())
    assert "heron" in cached.ask(chat("Where is the heron?")).text


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_streams_are_repeated(cached: Cached, model: ModelServer, path: str) -> None:
    model.answer = sent(*openai_events(LONG, {"prompt_tokens": 100, "completion_tokens": 50}))
    body: dict[str, Any] = {
        CHAT: chat(stream=True, stream_options={"include_usage": True}),
        MESSAGES: chat(stream=True, max_tokens=500),
        RESPONSES: {"model": "fast", "input": "Hi", "stream": True},
    }[path]
    first = cached.ask(body, path)
    assert verdict(first) == "miss"
    cached.wait()
    got = cached.ask(body, path)
    assert verdict(got) == "hit"
    assert got.headers["content-type"] == first.headers["content-type"]
    endings = [events_of(answered.text)[-1] for answered in (first, got)]
    for ending in endings:
        if path == RESPONSES:
            del ending["sequence_number"]  # texts may come in other pieces
    assert endings[0] == endings[1]
    if path == CHAT:
        assert chat_text(events_of(got.text)) == "".join(LONG)
        assert events_of(got.text)[-2]["usage"] == events_of(first.text)[-2]["usage"]
    assert len(model.requests) == 1
    row = last(cached.rows, cached.account)
    assert (row["status"], row["cost_micros"], row["cache_savings_micros"]) == ("completed", 0, 200)
    assert row["first_token_ms"] is not None
    books_are_right(cached.rows, cached.account)


def test_responses_are_repeated_when_they_are_complete(cached: Cached, model: ModelServer) -> None:
    part = {"type": "output_text", "text": "Hello.", "annotations": []}
    whole = response_answer([{"type": "message", "id": "m", "role": "assistant", "content": [part]}])
    body = {"model": "responder", "input": "Hi"}
    model.answer = answer({**whole, "status": "incomplete", "incomplete_details": {"reason": "content_filter"}})
    cached.ask(body, RESPONSES)
    model.answer = answer(whole)
    assert verdict(cached.ask(body, RESPONSES)) == "miss"
    cached.wait()
    assert verdict(cached.ask(body, RESPONSES)) == "hit"
    assert verdict(cached.ask({**body, "conversation": "conv_1"}, RESPONSES)) is None


def test_a_caller_may_do_without(cached: Cached, model: ModelServer) -> None:
    assert verdict(cached.ask(headers={"cache-control": "no-store"})) == "miss"
    cached.settled(0)
    cached.ask()
    cached.wait(2)
    model.answer = answer(chat_answer({"content": "Newer."}))
    assert "Newer." in cached.ask(headers={"cache-control": "max-age=0, No-Cache"}).text
    until(lambda: "Newer." in cached.ask().text)  # it takes the older one's place
    assert verdict(cached.ask(headers={"cache-control": "no-store"})) == "hit"


def test_what_has_expired_is_not_repeated(cached: Cached, model: ModelServer) -> None:
    cached.ask()
    cached.wait()
    cached.rows.run("update cached_answers set expires_at = now() - interval '1 second'")
    assert verdict(cached.ask()) == "miss"
    until(lambda: verdict(cached.ask()) == "hit")


def test_a_change_of_the_key_counts_at_once(cached: Cached, model: ModelServer) -> None:
    cached.ask()
    cached.wait()
    cached.rows.run("update cached_answers set created_at = created_at - interval '1 minute'")
    assert verdict(cached.ask()) == "hit"
    cached.change(cacheSeconds=30)
    assert verdict(cached.ask(headers={"cache-control": "no-store"})) == "miss"
    cached.change(cacheSeconds=0)
    assert cached.kept() == []
    until(lambda: verdict(cached.ask()) is None)


@pytest.mark.parametrize("end", ["revoke", "delete"])
def test_a_key_that_ends_leaves_nothing(cached: Cached, end: str) -> None:
    cached.ask()
    cached.wait()
    address = f"/api/v1/keys/{cached.key_id}"
    client, headers = cached.gateway.client, cached.account.headers
    ended = (
        client.post(f"{address}/revoke", headers=headers, json={})
        if end == "revoke"
        else client.delete(address, headers=headers)
    )
    assert ended.status_code < 300, ended.text
    assert cached.kept() == []
    assert cached.ask().status_code == 401


def test_requests_per_minute_count_and_tokens_do_not(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    key = Cached(gateway, account, rows, rateLimitRpm=3, rateLimitTpm=1200)
    body = chat(max_tokens=1000)
    key.ask(body)
    key.wait()
    assert [verdict(key.ask(body)) for _ in range(2)] == ["hit", "hit"]
    refused = key.ask(body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")


def test_a_used_up_budget_still_pays_for_what_costs_nothing(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    key = Cached(gateway, account, rows, budgetUsd=0.0015)
    key.ask()
    key.wait()
    key.change(budgetUsd=0.0002)
    assert key.ask(chat("Another.")).status_code == 429
    assert verdict(key.ask()) == "hit"
    books_are_right(rows, account)


def test_an_answer_that_ended_at_our_own_bound_is_not_kept(cached: Cached, model: ModelServer) -> None:
    bound = {"x-intutic-cost-limit": "0.0005"}
    model.answer = answer(chat_answer({"content": "Once upon a"}, output_tokens=900))
    for _ in range(2):
        assert verdict(cached.ask(chat("Tell.", max_tokens=900), headers=bound)) == "miss"
        assert model.requests[-1]["max_tokens"] < 250
    cached.settled(0)
    model.answer = answer(chat_answer({"content": "The end."}, output_tokens=20))
    assert verdict(cached.ask(chat("Tell.", max_tokens=900), headers=bound)) == "miss"
    cached.wait(2)  # it ended by itself
    assert "The end." in cached.ask(chat("Tell.", max_tokens=900)).text


def test_failures_and_long_answers_are_not_kept(cached: Cached, model: ModelServer) -> None:
    model.answer = answer({"error": {"message": "No.", "type": "bad", "code": "invalid_body", "param": None}}, 400)
    assert cached.ask().status_code == 400
    model.answer = answer(chat_answer({"content": "x" * 300_000}))
    cached.ask(chat("Long."))
    model.answer = sent(*openai_events(["x" * 50_000] * 6, {"prompt_tokens": 100, "completion_tokens": 50}))
    cached.ask(chat("Long.", stream=True))
    model.answer = sent(*openai_events([*LONG, f" {KEY} ", *LONG]))
    cached.ask(chat("Blocked.", stream=True))
    model.answer = answer(chat_answer({"content": f"use {KEY}"}))
    assert cached.ask(chat("Blocked.")).status_code == 403
    model.answer = answer(chat_answer({"content": "Hello."}))
    cached.settled(0)


def test_what_goes_out_is_kept_masked(cached: Cached, model: ModelServer) -> None:
    model.answer = answer(chat_answer({"content": f"It is {SECRET}."}))
    first = cached.ask()
    cached.wait()
    got = cached.ask()
    assert verdict(got) == "hit"
    assert got.content == first.content
    assert SECRET not in got.text


def test_what_is_blocked_stays_blocked(cached: Cached, model: ModelServer) -> None:
    for _ in range(2):
        got = cached.ask(chat(f"use {KEY} please"))
        assert (got.status_code, got.json()["error"]["code"]) == (400, "dlp_policy_violation")
    assert model.requests == []
    assert cached.kept() == []


def test_a_kill_switch_stops_repeated_answers_too(cached: Cached, model: ModelServer) -> None:
    cached.ask()
    cached.wait()
    engaged = cached.gateway.client.post(
        "/api/v1/kill-switches",
        headers=cached.account.headers,
        json={"scope": "key", "targetId": cached.key_id, "reason": "test"},
    )
    assert engaged.status_code == 201, engaged.text
    assert cached.ask().status_code == 403


async def test_the_same_request_many_times_at_once(cached: Cached, model: ModelServer) -> None:
    async with contract_client_async(cached.gateway.server) as client:
        answers = await asyncio.gather(*(client.post(CHAT, headers=cached.headers, json=chat()) for _ in range(30)))
    assert {got.status_code for got in answers} == {200}
    assert len({json.dumps(got.json()) for got in answers}) == 1
    cached.wait()
    assert verdict(cached.ask()) == "hit"
    books_are_right(cached.rows, cached.account)


def test_a_server_that_stops_keeps_what_it_has_answered(own_database: str, tmp_path: Path) -> None:
    with model_server() as model:
        models, hosts = str(write_models(tmp_path, model.base_url)), '["127.0.0.1"]'
        with (
            running_server(own_database, tmp_path / "data", models=models, outbound_allowed_hosts=hosts) as server,
            contract_client(server) as client,
        ):
            key = Gateway(server, model, client).key(sign_up(client), cacheSeconds=600)
            model.answer = answer(chat_answer({"content": "Hello."}))
            for number in range(20):
                assert verdict(client.post(CHAT, headers=bearer(key), json=chat(str(number)))) == "miss"
    found = Rows(own_database)
    assert found.one("select count(*) as kept from cached_answers")["kept"] == 20
    found.close()
