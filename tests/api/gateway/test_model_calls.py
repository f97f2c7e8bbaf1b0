"""Model calls against the running server, with a model server behind it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows, contract_client_async
from tests.api.gateway.calls import CHAT, KEY, MESSAGES, RESPONSES, SECRET, books_are_right, chat, last
from tests.api.gateways import Gateway, running_gateway
from tests.api.model_servers import (
    answer,
    chat_answer,
    chat_text,
    events_of,
    message_answer,
    response_answer,
    write_models,
)
from tests.invocations.conftest import ModelServer
from tests.invocations.test_streams import LONG, anthropic_events, endless, openai_events, sent
from tests.waiting import PATIENCE_SECONDS, until, until_async


@pytest.fixture(scope="module")
def gateway(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server for this module alone; two workers, so that limits have to hold across processes."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(server_url, template_database, folder, write_models, workers=2) as running:
        yield running


def test_a_call_is_governed_and_paid_for(gateway: Gateway, model: ModelServer, account: Account, rows: Rows) -> None:
    sent_body = chat("Hi", temperature=0.5, brand_new_field={"x": [1]})
    content = json.dumps(sent_body)
    got = gateway.client.post(CHAT, headers=bearer(account.virtual_key), content=content)
    assert got.status_code == 200, got.text
    assert got.json()["choices"][0]["message"]["content"] == "Hello."
    assert got.headers["x-intutic-verdict"] == "bypass"
    row = last(rows, account)
    assert decode(Prefix.TRACE, got.headers["x-intutic-trace-id"]) == row["id"]
    assert (row["status"], row["kind"], row["target_name"], row["model"]) == ("completed", "chat", "fast", "stub-1")
    assert (row["cost_micros"], row["input_tokens"], row["output_tokens"]) == (200, 100, 50)
    assert row["virtual_key_id"] is not None
    assert row["input_hash"] == hashlib.sha256(content.encode()).hexdigest()
    assert row["output_hash"] == hashlib.sha256(got.content).hexdigest()
    assert model.requests[0]["brand_new_field"] == {"x": [1]}
    assert model.requests[0]["temperature"] == 0.5
    assert model.headers[0]["authorization"] == "Bearer sk-test"
    remaining = float(got.headers["x-intutic-budget-remaining"])
    assert 0 < remaining < 1000
    assert 0 <= float(got.headers["x-intutic-budget-pct"]) <= 100
    books_are_right(rows, account)


@pytest.mark.parametrize("credential", ["bearer key", "x-api-key", "access token"])
def test_every_credential_calls(gateway: Gateway, model: ModelServer, account: Account, credential: str) -> None:
    headers = {
        "bearer key": bearer(account.virtual_key),
        "x-api-key": {"x-api-key": account.virtual_key},
        "access token": account.headers,
    }[credential]
    assert gateway.client.post(CHAT, headers=headers, json=chat()).status_code == 200
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "case", list(itertools.product([CHAT, MESSAGES, RESPONSES], ["fast", "smart", "responder"], [False, True]))
)
def test_every_client_calls_every_provider(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, case: tuple[str, str, bool]
) -> None:
    client, name, stream = case
    text = "".join(LONG)
    if name == "smart":
        model.answer = (
            sent(*anthropic_events(LONG, 100, 50))
            if stream
            else answer(message_answer([{"type": "text", "text": text}]))
        )
    elif name == "responder" and client == RESPONSES:
        part = {"type": "output_text", "text": text}
        whole = response_answer([{"type": "message", "id": "m", "role": "assistant", "content": [part]}])
        place = {"item_id": "m", "output_index": 0, "content_index": 0}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**whole, "output": [], "status": "in_progress"}},
            *({"type": "response.output_text.delta", "delta": one, **place} for one in LONG),
            {"type": "response.completed", "response": whole},
        ]
        lines = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]
        model.answer = sent(*lines) if stream else answer(whole)
    else:
        usage = {"prompt_tokens": 100, "completion_tokens": 50}
        model.answer = sent(*openai_events(LONG, usage)) if stream else answer(chat_answer({"content": text}))
    body: dict[str, Any] = {"model": name, "stream": stream}
    body |= {"input": "Hi"} if client == RESPONSES else {"messages": [{"role": "user", "content": "Hi"}]}
    if client == MESSAGES:
        body["max_tokens"] = 500
    got = gateway.client.post(client, headers=bearer(account.virtual_key), json=body)
    assert got.status_code == 200, got.text
    if not stream:
        told = got.json()
        said = {
            CHAT: lambda: told["choices"][0]["message"]["content"],
            MESSAGES: lambda: told["content"][0]["text"],
            RESPONSES: lambda: told["output"][0]["content"][0]["text"],
        }[client]()
    else:
        assert got.headers["content-type"].startswith("text/event-stream")
        assert got.headers["cache-control"] == "no-cache"
        assert got.headers["x-intutic-verdict"] == "bypass"
        found = events_of(got.text)
        said = {
            CHAT: lambda: chat_text(found),
            MESSAGES: lambda: "".join(
                e["delta"]["text"] for e in found if e["type"] == "content_block_delta" and "text" in e["delta"]
            ),
            RESPONSES: lambda: "".join(e["delta"] for e in found if e["type"] == "response.output_text.delta"),
        }[client]()
        ending = {CHAT: None, MESSAGES: "message_stop", RESPONSES: "response.completed"}[client]
        assert (found[-1] and found[-1]["type"]) == ending
    assert said == text
    row = last(rows, account)
    assert (row["status"], row["cost_micros"], row["decision"]) == ("completed", 200, "BYPASS")
    assert (row["first_token_ms"] is not None) == stream
    books_are_right(rows, account)


def test_tools_go_through_masked_both_ways(gateway: Gateway, model: ModelServer, account: Account) -> None:
    arguments = json.dumps({"command": f"export AWS={SECRET}"})
    call = {"id": "call_1", "type": "function", "function": {"name": "run", "arguments": arguments}}
    model.answer = answer(chat_answer({"content": None, "tool_calls": [call]}))
    tools = [{"type": "function", "function": {"name": "run", "parameters": {"type": "object"}}}]
    messages = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": f"key {SECRET}"},
    ]
    got = gateway.client.post(
        CHAT, headers=bearer(account.virtual_key), json={"model": "fast", "messages": messages, "tools": tools}
    )
    assert got.headers["x-intutic-verdict"] == "hijack"
    assert SECRET not in json.dumps(model.requests)
    assert SECRET not in got.text
    function = got.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    assert json.loads(function["arguments"]) == {"command": "export AWS=[REDACTED_SECRET]"}


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_what_may_not_leave_is_refused_in_the_clients_form(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, path: str
) -> None:
    body = {"model": "fast", "max_tokens": 10, "messages": [{"role": "user", "content": f"use {KEY} please"}]}
    body["input"] = body["messages"]
    got = gateway.client.post(path, headers=bearer(account.virtual_key), json=body)
    assert got.status_code == 400
    assert got.json()["error"]["code"] == "dlp_policy_violation"
    assert got.headers["x-intutic-verdict"] == "kill"
    assert ("type" in got.json()) == (path == MESSAGES)
    assert model.requests == []
    assert (last(rows, account)["status"], last(rows, account)["cost_micros"]) == ("blocked", 0)


def test_a_caller_who_wants_to_understand_a_kill_gets_a_success(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    headers = bearer(account.virtual_key) | {"x-intutic-context": '{"branch":"main"}', "x-intutic-sensitivity": "high"}
    got = gateway.client.post(CHAT, headers=headers, json=chat(f"use {KEY} please"))
    assert (got.status_code, got.json()["choices"], got.headers["x-intutic-verdict"]) == (200, [], "kill")
    assert last(rows, account)["context"] == {"branch": "main", "sensitivity": "high"}
    streamed = gateway.client.post(CHAT, headers=headers, json=chat(f"use {KEY} please", stream=True))
    assert streamed.status_code == 200
    assert events_of(streamed.text)[-1] is None
    assert model.requests == []


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages": []}',
        b'{"model": "fast"}',
        b'{"model": 7, "messages": []}',
        b'{"model": "nobody-has-it", "messages": []}',
        b'{"model": "fast", "messages": "Hi"}',
        b'{"model": "fast", "messages": [], "max_tokens": 0}',
        b'{"model": "fast", "messages": [], "n": "x"}',
        b'{"model": "fast", "messages": [], "stream": "yes"}',
        b'{"model": "fast", "messages": [], "service_tier": ["priority"]}',
        b'{"model": "fast", "messages": [], "max_cost_usd": -1}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_none_is_refused(gateway: Gateway, model: ModelServer, account: Account, broken: bytes) -> None:
    got = gateway.client.post(CHAT, headers=bearer(account.virtual_key), content=broken)
    assert (got.status_code, got.json()["error"]["code"]) == (400, "invalid_body"), got.text
    assert model.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"x-intutic-context": "nonsense"},
        {"x-intutic-context": "[]"},
        {"x-intutic-context": json.dumps({"x": "y" * 9000})},
        {"x-intutic-cost-limit": "much"},
        {"x-intutic-cost-limit": "nan"},
        {"x-intutic-sensitivity": "extreme"},
        {"x-session-id": "x" * 257},
        {"x-session-id": "a\tb"},
    ],
)
def test_header_fields_that_say_nothing_are_refused(
    gateway: Gateway, model: ModelServer, account: Account, headers: dict[str, str]
) -> None:
    got = gateway.client.post(CHAT, headers=bearer(account.virtual_key) | headers, json=chat())
    assert (got.status_code, got.json()["error"]["code"]) == (400, "invalid_body"), got.text
    assert model.requests == []


def test_credentials_models_and_workspaces_are_checked(gateway: Gateway, model: ModelServer, account: Account) -> None:
    def refused(headers: dict[str, str], **more: Any) -> tuple[int, str]:
        got = gateway.client.post(CHAT, headers=headers, json=chat(**more))
        return got.status_code, got.json()["error"]["code"]

    other = sign_up(gateway.client)
    assert refused({}) == (401, "missing_key")
    assert refused(bearer("vk_nonsense")) == (401, "unauthorized")
    assert refused(bearer(account.virtual_key) | {"x-workspace-id": other.workspace_id}) == (403, "workspace_mismatch")
    limited = gateway.key(account, allowedModels=["smart"])
    assert refused(bearer(limited)) == (403, "model_not_allowed")
    narrow = gateway.key(account, scopes=["traces:read"])
    assert refused(bearer(narrow)) == (403, "policy_denied")
    assert model.requests == []
    same = bearer(account.virtual_key) | {"x-workspace-id": account.workspace_id}
    assert gateway.client.post(CHAT, headers=same, json=chat()).status_code == 200


def test_a_keys_models_change_everywhere_at_once(gateway: Gateway, model: ModelServer, account: Account) -> None:
    made = gateway.client.post("/api/v1/keys", headers=account.headers, json={"label": "test"}).json()
    headers = bearer(made["key"])
    assert [gateway.client.post(CHAT, headers=headers, json=chat()).status_code for _ in range(6)] == [200] * 6
    changed = gateway.client.patch(
        f"/api/v1/keys/{made['keyId']}", headers=account.headers, json={"allowedModels": ["smart"]}
    )
    assert changed.status_code == 200, changed.text
    assert {gateway.client.post(CHAT, headers=headers, json=chat()).status_code for _ in range(6)} == {403}
    gateway.client.patch(f"/api/v1/keys/{made['keyId']}", headers=account.headers, json={"allowedModels": []})
    assert {gateway.client.post(CHAT, headers=headers, json=chat()).status_code for _ in range(6)} == {200}


def test_a_cost_limit_caps_the_output(gateway: Gateway, model: ModelServer, account: Account) -> None:
    headers = bearer(account.virtual_key) | {"x-intutic-cost-limit": "0.0005"}
    assert gateway.client.post(CHAT, headers=headers, json=chat("Hi", max_tokens=900)).status_code == 200
    assert 100 < model.requests[0]["max_tokens"] < 250
    assert gateway.client.post(CHAT, headers=headers, json=chat("Hi", max_cost_usd=0.0003)).status_code == 200
    assert model.requests[1]["max_tokens"] < model.requests[0]["max_tokens"]
    assert "max_cost_usd" not in model.requests[1]
    dearer = chat("Hi", max_tokens=900, service_tier="priority")  # at two and a half times the price
    assert gateway.client.post(CHAT, headers=headers, json=dearer).status_code == 200
    assert model.requests[2]["max_tokens"] < model.requests[0]["max_tokens"] / 2
    poor = bearer(account.virtual_key) | {"x-intutic-cost-limit": "0.000001"}
    got = gateway.client.post(CHAT, headers=poor, json=chat())
    assert (got.status_code, got.json()["error"]["code"]) == (429, "BUDGET_EXCEEDED")
    assert got.headers["x-intutic-verdict"] == "kill"


def test_a_budget_that_runs_out_caps_the_output_and_then_refuses(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    headers = bearer(gateway.key(account, budgetUsd=0.001))
    asked = []
    for _ in range(10):
        got = gateway.client.post(CHAT, headers=headers, json=chat("Hi", max_tokens=900))
        if got.status_code == 429:
            assert got.json()["error"]["code"] == "BUDGET_EXCEEDED"
            break
        asked.append(model.requests[-1]["max_tokens"])
    assert 4 <= len(asked) <= 5  # 200 of 1000 each
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] < 500
    refused = rows.one(
        "select count(*) as n from invocations where organization_id = %s and status = 'refused'",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert 1 <= refused["n"] <= 3  # the last, and at most one for each process that did not know
    books_are_right(rows, account)


async def test_a_budget_is_never_overspent_by_calls_at_once(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    headers = bearer(gateway.key(account, budgetUsd=0.005))
    async with contract_client_async(gateway.server) as client:
        answers = await asyncio.gather(
            *(client.post(CHAT, headers=headers, json=chat("Hi", max_tokens=100)) for _ in range(60))
        )
    assert {got.status_code for got in answers} == {200, 429}
    done = sum(got.status_code == 200 for got in answers)
    assert 10 <= done <= 30  # the last have less held than the model says that it used
    spent = rows.one(
        "select sum(cost_micros)::bigint as cost from invocations where organization_id = %s",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert 4000 < spent["cost"] <= 5000
    books_are_right(rows, account)


def test_requests_per_minute_are_refused_with_a_time(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    headers = bearer(gateway.key(account, rateLimitRpm=2)) | {"x-intutic-context": '{"ticket":"T-1"}'}
    answers = [gateway.client.post(CHAT, headers=headers, json=chat()) for _ in range(3)]
    assert [got.status_code for got in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "RATE_LIMITED"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    traces = rows.all("select status, context from invocations order by id desc limit 3")
    assert [trace["status"] for trace in traces] == ["refused", "completed", "completed"]
    assert [trace["context"] for trace in traces] == [{"ticket": "T-1"}] * 3


def test_calls_are_grouped_into_sessions(gateway: Gateway, model: ModelServer, account: Account, rows: Rows) -> None:
    headers = bearer(account.virtual_key)
    gateway.client.post(CHAT, headers=headers | {"x-session-id": "Session 7"}, json=chat())
    assert last(rows, account)["session_name"] == "Session 7"
    names = set()
    for _ in range(2):
        gateway.client.post(CHAT, headers=headers, json=chat())
        names.add(last(rows, account)["session_name"])
    gateway.client.post(CHAT, headers=account.headers, json=chat())
    names.add(last(rows, account)["session_name"])
    assert len(names) == 2
    assert None not in names


def test_what_a_caller_says_of_a_call_stands_where_the_trace_can_hold_it(
    gateway: Gateway, model: ModelServer, account: Account
) -> None:
    def traced(**context: Any) -> dict[str, Any]:
        headers = bearer(account.virtual_key) | {"x-intutic-context": json.dumps(context)}
        called = gateway.client.post(CHAT, headers=headers, json=chat())
        address = f"/api/v1/traces/{called.headers['x-intutic-trace-id']}"
        trace: dict[str, Any] = gateway.client.get(address, headers=account.headers).json()
        assert trace["context"] == context
        return trace

    fitting = {"requestId": "r-1", "appId": "app", "harnessType": "codex", "taskType": "review", "agentChainId": "c"}
    assert traced(**fitting).items() >= fitting.items()
    other = traced(requestId=7, appId=["app"], harnessType="vi", taskType={}, agentChainId=None)
    assert other["requestId"] == other["traceId"]
    assert [other.get(name) for name in ("appId", "harnessType", "taskType", "agentChainId")] == [None] * 4


def test_a_kill_switch_cuts_a_stream_in_the_middle(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    model.answer = endless(*openai_events(LONG)[:31])
    with gateway.client.stream(
        "POST", CHAT, headers=bearer(account.virtual_key), json=chat(stream=True, max_tokens=1000)
    ) as got:
        pieces = got.iter_text()
        content = next(pieces)
        engaged = gateway.client.post(
            "/api/v1/kill-switches", headers=account.headers, json={"scope": "organization", "reason": "runaway"}
        )
        assert engaged.status_code in (200, 201), engaged.text
        content += "".join(pieces)
    events = events_of(content)
    assert events[-1] is None
    assert events[-2]["choices"][0]["finish_reason"] == "content_filter"
    row = last(rows, account)
    assert (row["status"], row["decision"], row["error_code"]) == ("blocked", "KILL", "KILL_SWITCH")
    assert row["cost_micros"] > 0
    until(model.disconnected.is_set)
    refused = gateway.client.post(CHAT, headers=bearer(account.virtual_key), json=chat())
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "policy_denied")
    books_are_right(rows, account)


def test_a_stream_that_uses_more_than_was_held_is_cut_as_by_length(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    over = b'data: {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 100000}}\n\n'
    model.answer = endless(*openai_events(LONG)[:31], over)
    got = gateway.client.post(
        CHAT, headers=bearer(account.virtual_key), json=chat(stream=True, stream_options={"include_usage": True})
    )
    events = events_of(got.text)
    assert events[-1] is None
    assert [e["choices"][0]["finish_reason"] for e in events[:-1] if e["choices"]][-1] == "length"
    assert chat_text(events) == "".join(LONG[:30])
    assert last(rows, account)["status"] == "failed"
    until(model.disconnected.is_set)
    books_are_right(rows, account)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_may_not_go_out_is_withheld(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, stream: bool
) -> None:
    text = "".join(LONG) + KEY + " and more. " + "".join(LONG)
    model.answer = sent(*openai_events([text[at : at + 9] for at in range(0, len(text), 9)]))
    if not stream:
        model.answer = answer(chat_answer({"content": text}))
    got = gateway.client.post(CHAT, headers=bearer(account.virtual_key), json=chat(stream=stream))
    assert KEY[:12] not in got.text
    if stream and got.status_code == 200:
        assert events_of(got.text)[-2]["choices"][0]["finish_reason"] == "content_filter", got.text[-600:]
    else:
        assert (got.status_code, got.json()["error"]["code"]) == (403, "policy_denied")
    row = last(rows, account)
    assert (row["status"], row["decision"], row["error_code"]) == ("blocked", "KILL", "policy_denied")
    assert row["cost_micros"] > 0
    books_are_right(rows, account)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_is_settled_and_the_model_stopped(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, stream: bool
) -> None:
    model.answer = endless(*(openai_events(LONG)[:31] if stream else []))
    has_begun = asyncio.Event()

    async def read() -> None:
        body = chat(stream=stream)
        async with leaving.stream("POST", CHAT, headers=bearer(account.virtual_key), json=body) as answer:
            async for _ in answer.aiter_raw():
                has_begun.set()

    async def is_under_way() -> bool:
        return has_begun.is_set() if stream else len(model.requests) == 1

    async with httpx.AsyncClient(base_url=gateway.server.base_url, timeout=PATIENCE_SECONDS) as leaving:
        reading = asyncio.create_task(read())
        await until_async(is_under_way)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    row = last(rows, account)
    assert (row["status"], row["error_code"]) == ("cancelled", "CANCELLED")
    until(model.disconnected.is_set)
    books_are_right(rows, account)


def test_a_providers_own_error_keeps_status_and_form(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    theirs = {"error": {"message": "No.", "type": "invalid_request_error", "param": "x", "code": "bad_thing"}}
    model.answer = answer(theirs, 422, **{"x-request-id": "req_7"})
    with httpx.Client(base_url=gateway.server.base_url, headers=bearer(account.virtual_key), timeout=30) as plain:
        for stream in (False, True):
            got = plain.post(CHAT, json=chat(stream=stream))
            assert (got.status_code, got.json()) == (422, theirs)
            assert got.headers["x-intutic-verdict"] == "bypass"
        translated = plain.post(MESSAGES, json={**chat(), "max_tokens": 5})
    assert translated.status_code == 422
    assert translated.json()["type"] == "error"
    assert translated.json()["error"]["message"] == "No."
    assert last(rows, account)["status"] == "failed"
    books_are_right(rows, account)


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_stream_that_breaks_off_ends_with_an_error_event(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, path: str
) -> None:
    model.answer = sent(*openai_events(LONG)[:31])
    body = chat(stream=True, max_tokens=1000)
    if path == RESPONSES:
        body = {"model": "fast", "input": "Hi", "stream": True}
    got = gateway.client.post(path, headers=bearer(account.virtual_key), json=body)
    if got.status_code != 200:  # nothing had gone out
        assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_error")
    else:
        ending = events_of(got.text)[-1]
        assert "error" in (ending if path == CHAT else {ending["type"]: None})
    assert last(rows, account)["status"] == "failed"
    assert last(rows, account)["cost_micros"] > 0
    books_are_right(rows, account)


def test_other_methods_and_large_bodies_are_refused(gateway: Gateway, account: Account) -> None:
    headers = bearer(account.virtual_key)
    got = gateway.client.get(CHAT, headers=headers)
    assert (got.status_code, got.headers["allow"]) == (405, "OPTIONS, POST")
    assert gateway.client.options(CHAT).headers["allow"] == "OPTIONS, POST"
    assert gateway.client.post(CHAT, headers=headers, content=b" " * (33 * 1024 * 1024)).status_code == 413
