"""Runs as a program of someone else sees them: recomputing the chain, paging, and what an agent tells of them."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
import rfc8785

from tests.api.accounts import Account

URL = "/api/v1/runs"
TICKET = {"agentId": "helpdesk-tier1-triage", "message": "Router offline at floor 3"}
BLOCKED = {**TICKET, "message": "Patient SSN 123-45-6789 cannot log in"}


@pytest.fixture
def tenant(client: httpx.Client, account: Account) -> Account:
    """An account with a key."""
    order = {"orgId": account.workspace_id, "plan": "enterprise"}
    assert client.post("/api/v1/provision/tenant", headers=account.headers, json=order).status_code == 200
    return account


def run(client: httpx.Client, account: Account, **members: Any) -> httpx.Response:
    return client.post("/api/v1/agent/run", headers=account.headers, json={**TICKET, **members})


def page(client: httpx.Client, account: Account, **query: int | str) -> dict[str, Any]:
    answer = client.get(URL, headers=account.headers, params=query)
    assert answer.status_code == 200, answer.text
    listed: dict[str, Any] = answer.json()
    return listed


def test_anyone_can_recompute_the_chain_from_the_answers(client: httpx.Client, tenant: Account) -> None:
    for number in range(4):
        assert run(client, tenant, message=f"Printer {number} is jammed — “again” 😀").status_code == 200
        assert run(client, tenant, message=BLOCKED["message"]).status_code == 422
    newest_first = [entry for number in (1, 2, 3) for entry in page(client, tenant, page=number, per_page=3)["runs"]]
    previous = "0" * 64
    for listed in reversed(newest_first):
        detail = client.get(f"{URL}/{listed['id']}", headers=tenant.headers).json()["run"]
        chain = detail.pop("chain")
        assert {name: detail[name] for name in listed} == listed
        assert chain["prev_hash"] == previous
        previous = hashlib.sha256(previous.encode() + rfc8785.dumps(detail)).hexdigest()
        assert chain["row_hash"] == previous
    assert len(newest_first) == 8


@pytest.mark.parametrize("number", [2, 10_000_001, 2**63 - 1])
def test_a_page_beyond_the_end_is_empty(client: httpx.Client, tenant: Account, number: int) -> None:
    run(client, tenant)
    assert page(client, tenant, page=number) == {"runs": [], "total": 1, "page": number, "per_page": 25}


def test_the_narrator_misses_nothing_where_runs_and_activity_take_turns(client: httpx.Client, tenant: Account) -> None:
    source = {"sourceType": "custom_webhook", "displayName": "hook", "config": {}}
    for _ in range(2):
        run(client, tenant)
        assert client.post("/api/v1/log-sources", headers=tenant.headers, json=source).status_code == 201
    told = run(client, tenant, agentId="audit-trail-narrator", message="What happened today?").json()["response"]
    assert "log_source" in told or "log source" in told
    assert "not among those read" not in told


def test_what_is_allowed_now_is_run_at_once(client: httpx.Client, tenant: Account) -> None:
    """A process may hear late of a change; it must not refuse for that."""
    order = {"orgId": tenant.workspace_id, "plan": "pro"}
    for _ in range(5):
        client.post("/api/v1/provision/tenant", headers=tenant.headers, json={**order, "vertical": "healthcare"})
        assert run(client, tenant).json()["code"] == "BAA_REQUIRED"
        client.post("/api/v1/provision/tenant", headers=tenant.headers, json={**order, "baaSigned": True})
        assert run(client, tenant).status_code == 200
        client.delete("/api/v1/provision/tenant", headers=tenant.headers)
        assert run(client, tenant).json()["code"] == "TENANT_NOT_FOUND"
        client.post("/api/v1/provision/tenant", headers=tenant.headers, json={**order, "baaSigned": False})
        assert run(client, tenant).json()["code"] == "BAA_REQUIRED"
        client.post("/api/v1/provision/tenant", headers=tenant.headers, json={**order, "vertical": "general"})
        assert run(client, tenant).status_code == 200


def test_a_body_too_deep_to_read_is_refused(client: httpx.Client, tenant: Account) -> None:
    deep = b'{"agentId":"helpdesk-tier1-triage","message":"x","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = client.post("/api/v1/agent/run", headers=tenant.headers, content=deep)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


def test_the_reference_s_own_ticket(client: httpx.Client, tenant: Account) -> None:
    told = run(client, tenant, message="Router at floor 3 is offline since 09:00 — ticket ITSD-4421").json()["response"]
    assert told.startswith("P2 — Network / Infrastructure.")
    assert "Found: ticket ITSD-4421; location floor 3; since 09:00\n" in told
