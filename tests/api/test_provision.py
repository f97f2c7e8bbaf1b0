"""Provisioning and statistics through HTTP: who may, in which order it is refused, what is left behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, sign_up, sign_up_async
from tests.api.conftest import Rows, contract_client_async
from tests.api.servers import running_server
from tests.billing.stubs import LiteLLMStub
from tests.waiting import until

TENANT = "/api/v1/provision/tenant"
STATUS = f"{TENANT}/status"
NOT_PROVISIONED = {"provisioned": False, "plan": "free", "keyId": None, "budgetUsd": None}
TICKET = {"agentId": "helpdesk-tier1-triage", "message": "Router offline at floor 3"}


def provision(client: httpx.Client, account: Account, plan: str = "pro", **more: object) -> httpx.Response:
    body = {"orgId": account.workspace_id, "plan": plan, **more}
    return client.post(TENANT, headers=account.headers, json=body)


def state(client: httpx.Client, account: Account) -> dict[str, Any]:
    answer = client.get(STATUS, headers=account.headers)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def demote(client: httpx.Client, rows: Rows, account: Account, role: str) -> None:
    """Changes the only member's role behind the server's back, and waits until it has heard of it."""
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update memberships set role = %s where organization_id = %s", role, organization_id)
    rows.run("select pg_notify('bailiwick', %s)", f"organization:{organization_id}")
    until(lambda: client.post(TENANT, headers=account.headers, content=b"{").status_code == 403)


def test_the_life_of_a_key(client: httpx.Client, account: Account) -> None:
    assert state(client, account) == NOT_PROVISIONED
    assert refusal(client.get("/api/v1/stats", headers=account.headers)) == (404, "TENANT_NOT_FOUND")

    first = provision(client, account, "pro").json()
    assert set(first) == {"success", "keyId"}
    assert state(client, account) == {"provisioned": True, "plan": "pro", "keyId": first["keyId"], "budgetUsd": 50}

    again = provision(client, account, "enterprise").json()
    assert again == {
        "success": True,
        "keyId": first["keyId"],
        "message": "Tenant already provisioned. Use DELETE to re-provision.",
    }
    assert state(client, account)["plan"] == "pro"

    assert client.delete(TENANT, headers=account.headers).json() == {"success": True}
    gone = client.delete(TENANT, headers=account.headers).json()
    assert gone == {"success": True, "message": "Tenant was not provisioned."}
    assert state(client, account) == NOT_PROVISIONED
    assert client.get("/api/v1/stats", headers=account.headers).json()["plan"] == "pro"
    assert refusal(client.post("/api/v1/agent/run", headers=account.headers, json=TICKET)) == (404, "TENANT_NOT_FOUND")

    second = provision(client, account, "starter").json()
    assert second["keyId"] != first["keyId"]
    assert state(client, account)["budgetUsd"] == 25


@pytest.mark.parametrize(
    ("plan", "runs", "budget"), [("pilot", 100, 10), ("starter", 250, 25), ("enterprise", 10_000, 500)]
)
def test_plans(client: httpx.Client, account: Account, plan: str, runs: int, budget: float) -> None:
    provision(client, account, plan)
    assert state(client, account)["budgetUsd"] == budget
    stats = client.get("/api/v1/stats", headers=account.headers).json()
    assert (stats["plan"], stats["plan_run_limit"], stats["runs_remaining"]) == (plan, runs, runs)


def test_refusals_come_in_their_order_and_change_nothing(client: httpx.Client, account: Account, rows: Rows) -> None:
    other = sign_up(client)
    assert client.post(TENANT, content=b"{").status_code == 401
    wrong_bodies: tuple[Any, ...] = (
        {"orgId": account.workspace_id},
        {"plan": "pro"},
        {"orgId": "", "plan": "pro"},
        {"orgId": 5, "plan": "pro"},
        {"orgId": other.workspace_id, "plan": "free"},
        {"orgId": account.workspace_id, "plan": "pro", "vertical": "aerospace"},
        {"orgId": account.workspace_id, "plan": "pro", "baaSigned": "yes"},
        {"orgId": account.workspace_id, "plan": "pro", "baaSigned": None},
        [],
    )
    for wrong in wrong_bodies:
        assert refusal(client.post(TENANT, headers=account.headers, json=wrong)) == (400, "VALIDATION_ERROR"), wrong
    assert refusal(client.post(TENANT, headers=account.headers, content=b"{")) == (400, "VALIDATION_ERROR")

    mismatch = client.post(TENANT, headers=account.headers, json={"orgId": other.workspace_id, "plan": "pro"})
    assert mismatch.json() == {
        "error": "orgId in request does not match authenticated organization",
        "code": "ORG_MISMATCH",
    }
    assert mismatch.status_code == 403
    assert state(client, account) == state(client, other) == NOT_PROVISIONED

    provision(client, account)
    before = state(client, account)
    demote(client, rows, account, "DEVELOPER")
    # The role is refused before the body is looked at; a member may read.
    for answer in (
        client.post(TENANT, headers=account.headers, content=b"{"),
        client.delete(TENANT, headers=account.headers),
    ):
        assert refusal(answer) == (403, "INSUFFICIENT_PERMISSIONS")
    assert state(client, account) == before


def test_runs_lower_the_budget_and_are_counted(client: httpx.Client, account: Account) -> None:
    provision(client, account, "pilot")
    answers = [client.post("/api/v1/agent/run", headers=account.headers, json=TICKET) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    blocked = {**TICKET, "message": "Patient SSN 123-45-6789 cannot log in"}
    assert client.post("/api/v1/agent/run", headers=account.headers, json=blocked).status_code == 422

    spent = sum(answer.json()["cost_usd_micros"] for answer in answers)
    assert spent > 0
    assert state(client, account)["budgetUsd"] == (10_000_000 - spent) // 10_000 / 100
    stats = client.get("/api/v1/stats", headers=account.headers).json()
    tokens = sum(answer.json()["tokens_used"] for answer in answers)
    assert (stats["runs_total"], stats["runs_remaining"], stats["tokens_total"]) == (3, 97, tokens)
    assert stats["by_agent"] == {"helpdesk-tier1-triage": {"runs": 3, "tokens": tokens}}
    assert stats["tenant_id"].startswith("ten_")
    start, end = (datetime.fromisoformat(stats["period"][name]) for name in ("start", "end"))
    assert (start.day, start.hour) == (1, 0)
    assert stats["period"]["end"].endswith("T23:59:59Z")
    assert start <= datetime.now(UTC) <= end


def test_used_up_runs_are_refused_until_the_key_s_plan_allows_more(
    client: httpx.Client, account: Account, rows: Rows
) -> None:
    provision(client, account, "pilot")
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update budgets set spent = 100 where organization_id = %s", organization_id)
    refused = client.post("/api/v1/agent/run", headers=account.headers, json=TICKET)
    assert refusal(refused) == (429, "PLAN_LIMIT_REACHED")
    client.delete(TENANT, headers=account.headers)
    provision(client, account, "starter")
    assert client.post("/api/v1/agent/run", headers=account.headers, json=TICKET).status_code == 200


def test_vertical_and_baa_count_from_the_next_run_on(client: httpx.Client, account: Account) -> None:
    provision(client, account)
    assert client.post("/api/v1/agent/run", headers=account.headers, json=TICKET).status_code == 200
    assert "message" in provision(client, account, vertical="healthcare").json()
    refused = client.post("/api/v1/agent/run", headers=account.headers, json=TICKET)
    assert refusal(refused) == (403, "BAA_REQUIRED")
    provision(client, account, baaSigned=True)
    assert client.post("/api/v1/agent/run", headers=account.headers, json=TICKET).status_code == 200
    shown = client.get("/api/v1/workspace", headers=account.headers).json()
    assert (shown["vertical"], shown["baaSigned"], shown["baaSignedBy"]) == ("healthcare", True, account.user_id)


async def test_racing_requests_issue_one_key(async_client: httpx.AsyncClient, account: Account, rows: Rows) -> None:
    body = {"orgId": account.workspace_id, "plan": "pro"}
    answers = await asyncio.gather(*(async_client.post(TENANT, headers=account.headers, json=body) for _ in range(8)))
    assert len({answer.json()["keyId"] for answer in answers}) == 1
    assert sum("message" not in answer.json() for answer in answers) == 1
    issued = rows.one(
        "select count(*) from virtual_keys where organization_id = %s and label = 'hosted agents'",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert issued["count"] == 1


def test_one_organisation_s_key_is_nothing_to_another(client: httpx.Client, account: Account) -> None:
    other = sign_up(client)
    provision(client, account)
    before = state(client, account)
    assert state(client, other) == NOT_PROVISIONED
    client.delete(TENANT, headers=other.headers)
    assert state(client, account) == before
    assert refusal(client.get("/api/v1/stats", headers=other.headers)) == (404, "TENANT_NOT_FOUND")


async def test_a_gateway_that_fails_is_502_and_leaves_nothing_changed(own_database: str, tmp_path: Path) -> None:
    async with LiteLLMStub("sk-master") as stub:
        with running_server(
            own_database, tmp_path / "server", litellm_url=stub.url, litellm_master_key="sk-master"
        ) as server:
            async with contract_client_async(server) as client:
                account = await sign_up_async(client)
                body = {"orgId": account.workspace_id, "plan": "pro"}
                stub.broken.add("/key/generate")
                refused = await client.post(TENANT, headers=account.headers, json=body)
                assert refusal(refused) == (502, "KEY_ISSUE_FAILED")
                assert (await client.get(STATUS, headers=account.headers)).json() == NOT_PROVISIONED
                stats = await client.get("/api/v1/stats", headers=account.headers)
                assert refusal(stats) == (404, "TENANT_NOT_FOUND")

                stub.broken.clear()
                issued = (await client.post(TENANT, headers=account.headers, json=body)).json()
                assert [key["key_alias"] for key in stub.keys.values()] == [issued["keyId"]]
                stub.broken.add("/key/delete")
                refused = await client.delete(TENANT, headers=account.headers)
                assert refused.json() == {
                    "error": "Failed to revoke virtual key. Please try again.",
                    "code": "KEY_REVOCATION_FAILED",
                }
                shown = (await client.get(STATUS, headers=bearer(account.access_token))).json()
                assert shown == {"provisioned": True, "plan": "pro", "keyId": issued["keyId"], "budgetUsd": 50}
                stub.broken.clear()
                assert (await client.delete(TENANT, headers=account.headers)).json() == {"success": True}
                assert stub.keys == {}
        assert "sk-master" not in (tmp_path / "server" / "server.log").read_text()
