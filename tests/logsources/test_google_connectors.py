"""Google Workspace reports and Cloud audit logs: grant, paging, lateness, faults."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors import Cursor, GoogleCloudAudit, GoogleWorkspace
from bailiwick.logsources.errors import AnswerUnusable, ProviderRefused, SecretRefused
from bailiwick.secrets import Secret
from tests.logsources.conftest import Clock
from tests.logsources.stubs.google import Google, account_key, activity, entry
from tests.logsources.stubs.server import serving

WORKSPACE = {"customerId": "C03az79cb", "adminEmail": "root@example.com", "applications": "login"}
AUDIT = {"projectId": "acme-1"}


@pytest.fixture
def google() -> Google:
    return Google()


@pytest.fixture
async def base_url(google: Google) -> AsyncIterator[str]:
    async with serving(google.app()) as url:
        yield url


@pytest.fixture
def workspace(base_url: str, clock: Clock) -> GoogleWorkspace:
    return GoogleWorkspace(base_url=base_url, token_url=f"{base_url}/token", now=clock)


@pytest.fixture
def audit(base_url: str, clock: Clock) -> GoogleCloudAudit:
    return GoogleCloudAudit(base_url=base_url, token_url=f"{base_url}/token", now=clock)


def secret() -> Secret:
    return Secret(account_key())


async def read_all(connector: Any, outbound: Outbound, config: Any, cursor: Cursor | None, limit: int) -> Any:
    """Every event until the connector is up to date, and the last cursor."""
    events = []
    for _ in range(50):
        result = await connector.fetch(outbound, config, secret(), cursor, limit)
        cursor = json.loads(json.dumps(result.cursor))
        events += result.events
        if not result.more:
            return events, cursor
    raise AssertionError("never up to date")


async def test_activities_are_read_over_pages_in_the_administrators_name(
    google: Google, workspace: GoogleWorkspace, outbound: Outbound, clock: Clock
) -> None:
    google.activities["login"] = [
        activity(n, clock.time - timedelta(minutes=n + 1), "login_success") for n in range(25)
    ]
    events, _ = await read_all(workspace, outbound, WORKSPACE, None, 10)
    assert len({event.event_id for event in events}) == len(events) == 25
    assert google.assertions[0]["sub"] == "root@example.com"
    assert {request["customerId"] for request in google.requests} == {"C03az79cb"}
    event = events[0]
    assert (event.action, event.actor, event.outcome) == ("login_success", "ana@example.com", "success")
    assert event.attributes["parameters.login_type"] == "exchange"
    assert event.attributes["parameters.is_suspicious"] is False
    assert event.attributes["parameters.login_challenge_method"] == '["password","security_key"]'


async def test_an_activity_that_arrives_hours_late_is_found_once(
    google: Google, workspace: GoogleWorkspace, outbound: Outbound, clock: Clock
) -> None:
    google.activities["login"] = [activity(1, clock.time - timedelta(minutes=1), "login_success", "login_failure")]
    first, cursor = await read_all(workspace, outbound, WORKSPACE, None, 100)
    assert [event.outcome for event in first] == ["success", "failure"]
    late = activity(2, clock.time - timedelta(hours=2), "login_success")
    clock.advance(minutes=5)
    google.activities["login"].append(late)
    second, cursor = await read_all(workspace, outbound, WORKSPACE, cursor, 100)
    assert [":2:" in event.event_id for event in second] == [True]
    for _ in range(5):
        clock.advance(hours=1)
        again, cursor = await read_all(workspace, outbound, WORKSPACE, cursor, 100)
        assert again == []
    # What cannot come again is not remembered for ever.
    assert cursor["streams"]["login"]["seen"] == {}


async def test_pages_that_repeat_are_an_error_not_a_loop(
    google: Google, workspace: GoogleWorkspace, outbound: Outbound, clock: Clock
) -> None:
    google.activities["login"] = [activity(1, clock.time - timedelta(minutes=1), "login_success")]
    google.forever = True
    result = await workspace.fetch(outbound, WORKSPACE, secret(), None, 100)
    assert result.failure is not None
    assert "do not end" in result.failure
    assert len(google.requests) <= 3
    with pytest.raises(AnswerUnusable, match="do not end"):
        await workspace.fetch(outbound, WORKSPACE, secret(), result.cursor, 0)


async def test_an_expired_page_token_begins_the_window_again_without_duplicates(
    google: Google, workspace: GoogleWorkspace, outbound: Outbound, clock: Clock
) -> None:
    google.activities["login"] = [
        activity(n, clock.time - timedelta(minutes=n + 1), "login_success") for n in range(25)
    ]
    first = await workspace.fetch(outbound, WORKSPACE, secret(), None, 10)
    assert first.more
    body = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Invalid page token"}}
    google.answers = [web.json_response(body, status=400)]
    rest, _ = await read_all(workspace, outbound, WORKSPACE, first.cursor, 10)
    ids = [event.event_id for event in [*first.events, *rest]]
    assert len(set(ids)) == len(ids) == 25


@pytest.mark.parametrize(
    "key",
    [
        "just-a-password",
        '{"client_email": "x@y", "private_key": "-----BEGIN PRIVATE KEY-----\\nbm8=\\n-----END PRIVATE KEY-----"}',
    ],
)
async def test_a_secret_that_is_no_service_account_key(
    workspace: GoogleWorkspace, outbound: Outbound, key: str
) -> None:
    with pytest.raises(SecretRefused) as raised:
        await workspace.fetch(outbound, WORKSPACE, Secret(key), None, 100)
    assert "BEGIN" not in str(raised.value)
    assert "just-a" not in str(raised.value)


async def test_a_refused_assertion(workspace: GoogleWorkspace, outbound: Outbound) -> None:
    with pytest.raises(SecretRefused, match="invalid_grant"):
        await workspace.fetch(outbound, WORKSPACE, Secret(account_key(client_email="other@example.com")), None, 100)


async def test_cloud_audit_entries(google: Google, audit: GoogleCloudAudit, outbound: Outbound, clock: Clock) -> None:
    at = clock.time - timedelta(minutes=30)
    google.entries = [entry(n, at, at + timedelta(seconds=1)) for n in range(5)]
    google.entries.append(entry(9, at, at, status={"code": 7, "message": "denied"}))
    events, cursor = await read_all(audit, outbound, AUDIT, None, 4)
    assert len({event.event_id for event in events}) == len(events) == 6
    assert sorted(event.outcome for event in events) == ["failure", *["success"] * 5]
    assert (events[0].action, events[0].target) == ("SetIamPolicy", "projects/acme-1")
    assert events[0].attributes["resource.labels.project_id"] == "acme-1"
    assert google.requests[0]["resourceNames"] == ["projects/acme-1"]
    # Happened long ago, arrives now.
    clock.advance(minutes=5)
    google.entries.append(entry(10, at - timedelta(hours=5), clock.time - timedelta(minutes=2)))
    late, cursor = await read_all(audit, outbound, AUDIT, cursor, 4)
    assert [event.event_id.rpartition(":")[2] for event in late] == ["ins10"]
    clock.advance(minutes=5)
    assert (await read_all(audit, outbound, AUDIT, cursor, 4))[0] == []


async def test_a_missing_permission_names_itself(google: Google, audit: GoogleCloudAudit, outbound: Outbound) -> None:
    message = "Permission 'logging.logEntries.list' denied on resource"
    body = {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": message}}
    google.answers = [web.json_response(body, status=403)]
    with pytest.raises(ProviderRefused, match=r"PERMISSION_DENIED.*logEntries\.list"):
        await audit.fetch(outbound, AUDIT, secret(), None, 100)
