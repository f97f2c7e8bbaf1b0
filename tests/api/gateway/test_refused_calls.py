"""Every refused call of a model that is here is a trace, which its answer names; nothing is spent on it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows
from tests.api.gateway.calls import CHAT, MESSAGES, RESPONSES, books_are_right, chat, last
from tests.api.gateways import Gateway
from tests.api.model_servers import events_of
from tests.invocations.conftest import ModelServer

TRACES, EMBEDDINGS = "/api/v1/traces", "/v1/embeddings"
KINDS = {CHAT: "chat", MESSAGES: "messages", RESPONSES: "responses", EMBEDDINGS: "embeddings"}
# What is refused before admission: the key's limits, header fields of the call, and what the answer and the trace say.
BEFORE: dict[str, tuple[dict[str, Any], dict[str, str], int, str, str]] = {
    "model": ({"allowedModels": ["smart"]}, {}, 403, "model_not_allowed", "model_not_allowed"),
    "workspace": ({}, {"x-workspace-id": "ws_other"}, 403, "workspace_mismatch", "workspace_mismatch"),
    "scope": ({"scopes": ["traces:read"]}, {}, 403, "policy_denied", "gateway_not_allowed"),
    "cost limit": ({}, {"x-intutic-cost-limit": "0.000001"}, 429, "BUDGET_EXCEEDED", "COST_LIMIT_EXCEEDED"),
}


def asked(path: str, **more: Any) -> dict[str, Any]:
    """A request of one word."""
    words = {"messages": [{"role": "user", "content": "Hi"}]} if path in (CHAT, MESSAGES) else {"input": "Hi"}
    return {"model": "fast", "max_tokens": 9, **words, **more}


def listed(gateway: Gateway, account: Account, **query: str) -> dict[str, Any]:
    """The account's traces."""
    page: dict[str, Any] = gateway.client.get(TRACES, headers=account.headers, params=query).json()
    return page


def trace_of(gateway: Gateway, account: Account, got: httpx.Response) -> dict[str, Any]:
    """The trace that an answer names."""
    found = gateway.client.get(f"{TRACES}/{got.headers['x-intutic-trace-id']}", headers=account.headers)
    assert found.status_code == 200, found.text
    trace: dict[str, Any] = found.json()
    return trace


@pytest.mark.parametrize("case", list(itertools.product(KINDS, BEFORE)))
def test_what_is_refused_before_admission_is_a_trace(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, case: tuple[str, str]
) -> None:
    path, cause = case
    limits, headers, status, code, traced = BEFORE[cause]
    key = bearer(gateway.key(account, **limits))
    got = gateway.client.post(path, headers={**key, **headers, "x-session-id": "s 1"}, json=asked(path))
    assert (got.status_code, got.json()["error"]["code"]) == (status, code), got.text
    assert got.headers["x-intutic-verdict"] == "kill"
    trace = trace_of(gateway, account, got)
    told = {name: trace[name] for name in ("status", "enforcementAction", "errorCode", "kind", "target", "sessionId")}
    assert told == {
        "status": "refused",
        "enforcementAction": "KILL",
        "errorCode": traced,
        "kind": KINDS[path],
        "target": "fast",
        "sessionId": "s 1",
    }
    assert (trace["actualCostUsd"], trace["outputTokens"], trace["auditId"]) == (0, 0, None)
    assert trace["memberId"].startswith("mem_")
    assert trace["finishedAt"] is not None
    matching: list[dict[str, str]] = [
        {},
        {"status": "refused"},
        {"enforcement": "KILL"},
        {"model": "fast"},
        {"virtualKeyId": trace["virtualKeyId"]},
        {"sessionId": "s 1", "status": "refused"},
    ]
    for query in matching:
        page = listed(gateway, account, **query)
        assert (page["total"], [one["traceId"] for one in page["traces"]]) == (1, [trace["traceId"]]), query
    assert listed(gateway, account, enforcement="BYPASS")["total"] == 0
    stranger = sign_up(gateway.client)
    assert listed(gateway, stranger)["total"] == 0
    assert gateway.client.get(f"{TRACES}/{trace['traceId']}", headers=stranger.headers).status_code == 404
    assert model.requests == []
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    assert rows.all("select 1 from holds where organization_id = %s", organization_id) == []
    used = rows.one(
        "select coalesce(sum(spent + held), 0)::bigint as used from budgets where organization_id = %s", organization_id
    )
    assert used["used"] == 0
    books_are_right(rows, account)


def test_a_key_calls_on_after_a_refusal(gateway: Gateway, model: ModelServer, account: Account) -> None:
    headers = bearer(account.virtual_key)
    poor = gateway.client.post(CHAT, headers=headers | {"x-intutic-cost-limit": "0"}, json=chat())
    paid = gateway.client.post(CHAT, headers=headers, json=chat())
    assert [poor.status_code, paid.status_code] == [429, 200]
    assert [one["status"] for one in listed(gateway, account)["traces"]] == ["completed", "refused"]
    assert trace_of(gateway, account, paid)["status"] == "completed"


@pytest.mark.parametrize("stream", [False, True])
def test_who_wants_to_understand_a_refusal_gets_the_trace_too(
    gateway: Gateway, model: ModelServer, account: Account, stream: bool
) -> None:
    key = bearer(gateway.key(account, allowedModels=["smart"])) | {"x-intutic-context": '{"ticket":"T-1"}'}
    got = gateway.client.post(CHAT, headers=key, json=chat(stream=stream))
    assert (got.status_code, got.headers["x-intutic-verdict"]) == (200, "kill")
    if stream:
        assert events_of(got.text)[-1] is None
    else:
        assert got.json()["id"] == got.headers["x-intutic-trace-id"]
    trace = trace_of(gateway, account, got)
    assert (trace["status"], trace["errorCode"], trace["context"]) == (
        "refused",
        "model_not_allowed",
        {"ticket": "T-1"},
    )


def test_what_admission_refuses_names_its_trace(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows
) -> None:
    def refused(headers: dict[str, str]) -> tuple[int, str, str]:
        got = gateway.client.post(CHAT, headers=headers, json=chat())
        assert got.headers["x-intutic-verdict"] == "kill"
        assert decode(Prefix.TRACE, got.headers["x-intutic-trace-id"]) == last(rows, account)["id"]
        trace = trace_of(gateway, account, got)
        assert (trace["status"], trace["enforcementAction"]) == ("refused", "KILL")
        return got.status_code, got.json()["error"]["code"], trace["errorCode"]

    assert refused(bearer(gateway.key(account, budgetUsd=0.000001))) == (429, "BUDGET_EXCEEDED", "budget_exceeded")
    slow = bearer(gateway.key(account, rateLimitRpm=1))
    assert gateway.client.post(CHAT, headers=slow, json=chat()).status_code == 200
    assert refused(slow) == (429, "RATE_LIMITED", "rate_limited")
    switch = {"scope": "organization", "reason": "runaway"}
    assert gateway.client.post("/api/v1/kill-switches", headers=account.headers, json=switch).status_code in (200, 201)
    assert refused(bearer(account.virtual_key)) == (403, "policy_denied", "KILL_SWITCH")
    assert listed(gateway, account, status="refused")["total"] == 3
    books_are_right(rows, account)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"messages": []}',
        json.dumps({**chat(), "model": "nobody-has-it"}).encode(),
        json.dumps(chat(max_cost_usd=-1)).encode(),
        b" " * (33 << 20),
    ],
)
def test_what_is_no_call_leaves_no_trace(
    gateway: Gateway, model: ModelServer, account: Account, content: bytes
) -> None:
    """Also of a key that may call nothing: that is said first."""
    key = bearer(gateway.key(account, scopes=["traces:read"]))
    got = gateway.client.post(CHAT, headers=key, content=content)
    assert (got.status_code, got.json()["error"]["code"]) == (403, "policy_denied")
    assert "x-intutic-trace-id" not in got.headers
    got = gateway.client.post(CHAT, headers=bearer(account.virtual_key), content=content)
    assert got.status_code in (400, 413)
    assert "x-intutic-trace-id" not in got.headers
    assert listed(gateway, account)["total"] == 0


@pytest.mark.parametrize("path", list(KINDS))
def test_what_fits_into_no_minute_is_not_told_to_wait(
    gateway: Gateway, model: ModelServer, account: Account, path: str
) -> None:
    headers = bearer(gateway.key(account, rateLimitTpm=50))
    words = "A long question. " * 20
    text = {"messages": [{"role": "user", "content": words}]} if path in (CHAT, MESSAGES) else {"input": words}
    got = gateway.client.post(path, headers=headers, json={**asked(path), **text})
    assert (got.status_code, got.json()["error"]["code"]) == (429, "RATE_LIMITED"), got.text
    assert (got.headers["x-should-retry"], "retry-after" in got.headers) == ("false", False)
    assert trace_of(gateway, account, got)["status"] == "refused"
    assert model.requests == []


@pytest.mark.parametrize("is_attenuated", [False, True])
def test_an_answer_is_bounded_by_what_fits_into_a_minute(
    gateway: Gateway, model: ModelServer, account: Account, is_attenuated: bool
) -> None:
    key = gateway.key(account, scopes=["proxy"], rateLimitTpm=400)
    if is_attenuated:
        keys = gateway.client.get("/api/v1/keys", headers=account.headers).json()
        limited = next(one["keyId"] for one in keys["items"] if one["rateLimitTpm"])
        wanted = {"requestedCaps": ["proxy"], "ttlSeconds": 600}
        made = gateway.client.post(f"/api/v1/keys/{limited}/attenuate", headers=account.headers, json=wanted)
        key = made.json()["childKey"]
    got = gateway.client.post(CHAT, headers=bearer(key), json=chat())
    assert got.status_code == 200, got.text
    assert 300 < model.requests[0]["max_tokens"] < 400


def test_the_field_that_is_wrong_is_the_one_named(gateway: Gateway, model: ModelServer, account: Account) -> None:
    def named(headers: dict[str, str], **more: Any) -> str:
        got = gateway.client.post(CHAT, headers=bearer(account.virtual_key) | headers, json=chat(**more))
        assert got.status_code == 400, got.text
        return str(got.json()["error"]["param"])

    assert named({}, sensitivity_tier="extreme") == "sensitivity_tier"
    assert named({"x-intutic-sensitivity": "extreme"}, sensitivity_tier="low") == "X-Intutic-Sensitivity"
    assert named({}, max_cost_usd=-1) == "max_cost_usd"
