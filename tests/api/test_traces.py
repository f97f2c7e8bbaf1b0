"""Traces over HTTP: every invocation is one, whatever its kind and end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import timedelta
from typing import Any

import httpx
import pytest

from bailiwick.invocations import sweep
from bailiwick.kernel.clock import rfc3339
from bailiwick.kernel.database import Database
from bailiwick.kernel.ids import Prefix, decode, time_of
from bailiwick.settings import Settings
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows
from tests.api.contract import check_hook_async
from tests.api.servers import Server
from tests.api.test_crash import a_world
from tests.waiting import PATIENCE_SECONDS, until_async

URL = "/api/v1/traces"
TRIAGE, NARRATOR = "helpdesk-tier1-triage", "audit-trail-narrator"
PHI = "Patient SSN 123-45-6789 cannot log in"


@pytest.fixture
def tenant(client: httpx.Client, account: Account) -> Account:
    """An account with a key."""
    order = {"orgId": account.workspace_id, "plan": "enterprise"}
    assert client.post("/api/v1/provision/tenant", headers=account.headers, json=order).status_code == 200
    return account


def run(client: httpx.Client, account: Account, message: str = "Router offline at floor 3", agent: str = TRIAGE) -> int:
    body = {"agentId": agent, "message": message}
    return client.post("/api/v1/agent/run", headers=account.headers, json=body).status_code


def listed(client: httpx.Client, account: Account, **query: int | str) -> dict[str, Any]:
    answer = client.get(URL, headers=account.headers, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def one(client: httpx.Client, account: Account, trace_id: str) -> dict[str, Any]:
    answer = client.get(f"{URL}/{trace_id}", headers=account.headers)
    assert answer.status_code == 200, answer.text
    trace: dict[str, Any] = answer.json()
    return trace


def test_a_completed_a_blocked_and_a_refused_run_are_traces(client: httpx.Client, tenant: Account, rows: Rows) -> None:
    assert [run(client, tenant), run(client, tenant, PHI)] == [200, 422]
    organization_id = decode(Prefix.ORGANIZATION, tenant.workspace_id)
    rows.run("update budgets set limit_amount = spent where organization_id = %s and unit = 'runs'", organization_id)
    assert run(client, tenant) == 429
    page = listed(client, tenant)
    assert (page["total"], page["limit"], page["offset"]) == (3, 20, 0)
    refused, blocked, completed = page["traces"]
    assert [trace["status"] for trace in page["traces"]] == ["refused", "blocked", "completed"]
    assert [trace["enforcementAction"] for trace in page["traces"]] == ["KILL", "KILL", "BYPASS"]
    assert all(trace["requestedModel"] == TRIAGE and trace["complianceScore"] == 1 for trace in page["traces"])
    whole = one(client, tenant, completed["traceId"])
    assert {name: whole[name] for name in completed} == completed
    assert (whole["tokenUtility"], whole["tokenUtilityScore"]) == ("USEFUL", 0.9)
    assert whole["rawCostUsd"] == whole["actualCostUsd"] > 0
    assert whole["savingsUsd"] == 0
    assert whole["actualModelRouted"]
    assert whole["workspaceId"] == tenant.workspace_id
    assert whole["virtualKeyId"].startswith("vk_")
    assert whole["memberId"].startswith("mem_")
    assert whole["steps"] == []
    stopped = one(client, tenant, blocked["traceId"])
    assert (stopped["tokenUtility"], stopped["tokenUtilityScore"]) == ("WASTED", 1.0)
    assert stopped["errorCode"] == "DLP_INPUT_BLOCKED"
    assert {"category": "pii", "pattern_name": "SSN", "action": "block", "offset": 12, "length": 11} in stopped[
        "dlpFindings"
    ]
    assert stopped["actualCostUsd"] == 0
    assert one(client, tenant, refused["traceId"])["errorCode"] == "allowance_exhausted"


def test_a_masked_secret_is_a_finding(client: httpx.Client, tenant: Account) -> None:
    assert run(client, tenant, "The key is AKIAIOSFODNN7EXAMPLQ") == 200
    (trace,) = listed(client, tenant, enforcement="HIJACK")["traces"]
    (finding,) = one(client, tenant, trace["traceId"])["dlpFindings"]
    assert (finding["category"], finding["action"], finding["offset"]) == ("secret", "redact", 11)


def test_filters_and_pages(client: httpx.Client, tenant: Account) -> None:
    for number in range(5):
        assert run(client, tenant, f"Printer {number} is jammed") == 200
        assert run(client, tenant, PHI) == 422
    assert run(client, tenant, "What happened today?", NARRATOR) == 200
    everything = listed(client, tenant, limit=100)["traces"]
    assert [trace["traceId"] for trace in everything] == sorted((t["traceId"] for t in everything), reverse=True)
    paged = [trace for offset in range(0, 12, 4) for trace in listed(client, tenant, limit=4, offset=offset)["traces"]]
    assert paged == everything
    assert listed(client, tenant, offset=11) == {"traces": [], "total": 11, "limit": 20, "offset": 11}
    assert listed(client, tenant, offset=2**63 - 1)["total"] == 11
    routed = next(trace for trace in everything if trace["requestedModel"] == NARRATOR)["actualModelRouted"]
    key = one(client, tenant, everything[0]["traceId"])["virtualKeyId"]
    for query, total in (
        ({"enforcement": "KILL"}, 5),
        ({"enforcement": "HIJACK"}, 0),
        ({"model": NARRATOR}, 1),
        ({"model": TRIAGE}, 10),
        ({"model": TRIAGE.upper()}, 0),
        ({"model": TRIAGE[:-1]}, 0),
        ({"model": TRIAGE, "enforcement": "BYPASS"}, 5),
        ({"status": "blocked"}, 5),
        ({"virtualKeyId": key}, 11),
        ({"virtualKeyId": "vk_nonsense"}, 0),
        ({"sessionId": "none"}, 0),
        ({"unknown": "parameter"}, 11),
    ):
        page = listed(client, tenant, limit=100, **query)
        assert (page["total"], len(page["traces"])) == (total, total), query
    assert listed(client, tenant, model=routed)["total"] >= 1
    third = everything[2]["timestamp"]
    later = [trace for trace in everything if trace["timestamp"] > third]
    assert listed(client, tenant, since=third)["traces"] == later
    assert listed(client, tenant, until=third)["total"] == 11 - len(later)
    assert listed(client, tenant, since=third, until=third)["total"] == 0


def test_since_is_exclusive_to_the_millisecond(client: httpx.Client, tenant: Account) -> None:
    run(client, tenant)
    (trace,) = listed(client, tenant)["traces"]
    identifier = decode(Prefix.TRACE, trace["traceId"])
    assert identifier is not None
    moment = time_of(identifier)
    assert trace["timestamp"] == rfc3339(moment)
    millisecond = timedelta(milliseconds=1)
    assert listed(client, tenant, since=rfc3339(moment))["total"] == 0
    assert listed(client, tenant, since=rfc3339(moment - millisecond))["total"] == 1
    assert listed(client, tenant, since=rfc3339(moment - millisecond).replace("Z", "+00:00"))["total"] == 1
    assert listed(client, tenant, until=rfc3339(moment))["total"] == 1
    assert listed(client, tenant, until=rfc3339(moment - millisecond))["total"] == 0
    assert listed(client, tenant, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z")["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "many"},
        {"offset": -1},
        {"offset": 2**63},
        {"since": "yesterday"},
        {"enforcement": "kill"},
        {"status": "over"},
    ],
)
def test_a_value_out_of_bounds_is_refused(client: httpx.Client, account: Account, query: dict[str, Any]) -> None:
    answer = client.get(URL, headers=account.headers, params=query)
    assert answer.status_code == 400
    assert answer.json()["code"] == "E_VALIDATION_FAILED"
    assert next(iter(query)) in answer.json()["details"][0]["path"]


def test_a_viewer_may_read_and_strangers_see_nothing(client: httpx.Client, tenant: Account, rows: Rows) -> None:
    run(client, tenant)
    (trace,) = listed(client, tenant)["traces"]
    organization_id = decode(Prefix.ORGANIZATION, tenant.workspace_id)
    rows.run("update memberships set role = 'VIEWER' where organization_id = %s", organization_id)
    assert listed(client, tenant)["total"] == 1
    stranger = sign_up(client)
    assert listed(client, stranger) == {"traces": [], "total": 0, "limit": 20, "offset": 0}
    for name in (trace["traceId"], "tr_nonsense", trace["traceId"].replace("tr_", "aud_")):
        answer = client.get(f"{URL}/{name}", headers=stranger.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "E_NOT_FOUND")


async def answers(server: Server) -> bool:
    """Whether a worker has taken the place of the one that died."""
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient(timeout=30) as client:
            return (await client.get(f"{server.base_url}/ready")).status_code == 200
    return False


@pytest.mark.timeout(180)
async def test_what_is_under_way_cancelled_or_lost_is_a_trace(
    db: Database, database_url: str, settings_for_test: Settings
) -> None:
    settings_for_test.data_dir.mkdir(parents=True, exist_ok=True)
    async with (
        a_world(database_url, settings_for_test.data_dir, hold_lease_seconds="3") as world,
        httpx.AsyncClient(
            base_url=world.server.base_url,
            headers=bearer(world.key),
            event_hooks={"response": [check_hook_async]},
            timeout=30,
        ) as reader,
        httpx.AsyncClient() as client,
    ):

        async def statuses(**query: str) -> list[str]:
            page = (await reader.get(URL, params=query)).json()
            assert page["total"] == len(page["traces"])
            return [trace["status"] for trace in page["traces"]]

        tasks = [asyncio.create_task(world.run(client)) for _ in range(2)]
        await world.gate.reached(2)
        assert await statuses() == await statuses(enforcement="BYPASS") == await statuses(status="started")
        assert await statuses() == ["started", "started"]
        assert await statuses(enforcement="KILL") == await statuses(status="completed") == []
        running = (await reader.get(URL)).json()["traces"][0]
        whole = (await reader.get(f"{URL}/{running['traceId']}")).json()
        assert (whole["tokenUtility"], whole["finishedAt"], whole["actualCostUsd"]) == (None, None, 0)

        tasks[0].cancel()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sorted(await statuses()) != ["cancelled", "started"]:  # noqa: ASYNC110 - the server does not tell
                await asyncio.sleep(0.05)
            assert await statuses(status="cancelled") == ["cancelled"]
            (worker,) = world.server.children()
            os.kill(worker, signal.SIGKILL)  # as long as it lives, it keeps what it holds
            assert isinstance((await asyncio.gather(tasks[1], return_exceptions=True))[0], httpx.TransportError)
            while not await sweep():  # noqa: ASYNC110 - until the lease is over
                await asyncio.sleep(0.1)
        await until_async(lambda: answers(world.server))
        assert sorted(await statuses()) == ["cancelled", "lost"]
        assert await statuses(enforcement="KILL") == ["lost"]
        assert await statuses(status="started") == []
