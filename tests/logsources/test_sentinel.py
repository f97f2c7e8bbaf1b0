"""Sentinel: keyset paging over ingestion time, several tables, partial answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors import Sentinel
from bailiwick.logsources.errors import AnswerUnusable, FetchFailed, ProviderRefused
from bailiwick.logsources.events import LogEvent
from bailiwick.secrets import Secret
from tests.logsources.conftest import Clock
from tests.logsources.stubs.microsoft import CLIENT, TENANT, WORKSPACE, Microsoft
from tests.logsources.stubs.server import serving

SECRET = Secret(CLIENT["client_secret"])
CONFIG = {
    "workspaceId": WORKSPACE,
    "tenantId": TENANT,
    "clientId": CLIENT["client_id"],
    "tables": "SigninLogs,AuditLogs",
}


@pytest.fixture
def microsoft() -> Microsoft:
    return Microsoft()


@pytest.fixture
async def connector(microsoft: Microsoft, clock: Clock) -> AsyncIterator[Sentinel]:
    async with serving(microsoft.app()) as url:
        yield Sentinel(base_url=url, login_url=url, now=clock)


async def test_rows_of_equal_time_are_paged_without_loss(
    microsoft: Microsoft, connector: Sentinel, outbound: Outbound, clock: Clock
) -> None:
    ingested = clock.time - timedelta(minutes=10)
    microsoft.tables["SigninLogs"] = [
        (
            ingested,
            {
                "TimeGenerated": "2026-05-12T13:40:00.1234567Z",
                "UserPrincipalName": f"u{n}@contoso.example",
                "OperationName": "Sign-in activity",
                "ResultType": "0" if n % 2 else "50126",
                "AppDisplayName": "Azure Portal",
            },
        )
        for n in range(23)
    ]
    microsoft.tables["AuditLogs"] = [
        (
            ingested,
            {
                "TimeGenerated": "2026-05-12T13:41:00Z",
                "OperationName": "Add user",
                "Result": "success",
                "InitiatedBy": '{"user":{"userPrincipalName":"root@contoso.example"}}',
                "TargetResources": '[{"displayName":"New User"}]',
            },
        )
    ]
    events: list[LogEvent] = []
    cursor, more = None, True
    while more:
        result = await connector.fetch(outbound, CONFIG, SECRET, cursor, 5)
        cursor, more = json.loads(json.dumps(result.cursor)), result.more
        events += result.events
    assert len({event.event_id for event in events}) == len(events) == 24
    audited = next(event for event in events if event.action == "Add user")
    assert (audited.actor, audited.target, audited.outcome) == ("root@contoso.example", "New User", "success")
    signins = [event for event in events if event.attributes["table"] == "SigninLogs"]
    assert [event.outcome for event in signins].count("failure") == 12
    clock.advance(minutes=5)
    assert not (await connector.fetch(outbound, CONFIG, SECRET, cursor, 50)).events


async def test_a_partial_result_is_not_taken_for_the_whole(
    microsoft: Microsoft, connector: Sentinel, outbound: Outbound
) -> None:
    microsoft.partial = True
    with pytest.raises(AnswerUnusable, match="only in part"):
        await connector.fetch(outbound, CONFIG, SECRET, None, 5)


async def test_a_refused_query_names_the_code(microsoft: Microsoft, connector: Sentinel, outbound: Outbound) -> None:
    body = {"error": {"message": "insufficient access", "code": "InsufficientAccessError"}}
    microsoft.answers = [web.json_response(body, status=403) for _ in range(2)]
    with pytest.raises(ProviderRefused, match="InsufficientAccessError"):
        await connector.fetch(outbound, CONFIG, SECRET, None, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tables": "SigninLogs | union secrets"},
        {"workspaceId": "../x"},
        {"clientId": None},
        {"tables": ",".join("abcdefghijklmnopq")},
    ],
)
async def test_what_could_change_the_query_is_refused(
    connector: Sentinel, outbound: Outbound, wrong: dict[str, str | None]
) -> None:
    with pytest.raises(FetchFailed, match=r"config\."):
        await connector.fetch(outbound, {**CONFIG, **wrong}, SECRET, None, 5)


async def test_a_foreign_cursor_cannot_change_the_query(connector: Sentinel, outbound: Outbound, clock: Clock) -> None:
    place = ["2026-05-12T13:00:00Z) or true //", "0" * 64]
    stream = {"from": "2026-05-12T12:00:00Z", "until": "2026-05-12T13:00:00Z", "page": place}
    with pytest.raises(AnswerUnusable, match="unreadable"):
        await connector.fetch(outbound, {**CONFIG, "tables": "T"}, SECRET, {"streams": {"T": stream}}, 5)
