"""Log sources through HTTP: the contract's four operations, other organizations, and inbound webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bailiwick.logsources import SIGNATURE_HEADER
from bailiwick.logsources.connectors.webhook import sign
from bailiwick.secrets import Secret
from tests.api.accounts import Account, sign_up
from tests.api.conftest import Rows, contract_client, contract_client_async
from tests.api.servers import Server, running_server
from tests.api.test_keys import member_of

URL = "/api/v1/log-sources"
M365: dict[str, Any] = {
    "sourceType": "m365_unified_audit",
    "displayName": "Contoso M365 Audit",
    "config": {"tenantId": "contoso.onmicrosoft.com"},
    "secretRef": "m365__contoso__audit-secret",
}


def create(client: httpx.Client, account: Account, **members: Any) -> dict[str, Any]:
    answer = client.post(URL, headers=account.headers, json={**M365, **members})
    assert answer.status_code == 201, answer.text
    source: dict[str, Any] = answer.json()["source"]
    return source


def listed(client: httpx.Client, account: Account) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = client.get(URL, headers=account.headers).json()["sources"]
    return sources


def test_a_source_from_registration_to_removal(client: httpx.Client, account: Account) -> None:
    first = create(client, account)
    second = create(client, account, sourceType="custom_webhook", config={}, unknown="ignored")
    assert first["enabled"] is True
    assert first["org_id"] == account.workspace_id
    assert first["secret_ref"] == M365["secretRef"]
    assert (first["last_fetched_at"], first["fetch_error"]) == (None, None)
    assert [source["id"] for source in listed(client, account)] == [first["id"], second["id"]]
    answer = client.patch(f"{URL}/{first['id']}", headers=account.headers, json={"enabled": False, "sourceType": "x"})
    changed = answer.json()["source"]
    assert (changed["enabled"], changed["source_type"]) == (False, "m365_unified_audit")
    assert changed["updated_at"] > first["updated_at"]
    removed = client.delete(f"{URL}/{first['id']}", headers=account.headers)
    assert (removed.status_code, removed.json()) == (200, {"ok": True})
    again = client.delete(f"{URL}/{first['id']}", headers=account.headers)
    assert (again.status_code, again.json()["code"]) == (404, "NOT_FOUND")
    assert [source["id"] for source in listed(client, account)] == [second["id"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sourceType": "syslog"},
        {"displayName": ""},
        {"displayName": "x" * 201},
        {"displayName": None},
        {"config": {}},
        {"config": {"tenantId": ["x"]}},
        {"config": {"tenantId": "x", "api-key": "k"}},
        {"config": None},
        {"secretRef": "value of a secret!"},
        {"secretRef": "ends\n"},
        {"secretRef": None},
        {"sourceType": "splunk_hec", "config": {"endpoint": "http://splunk.example"}},
        {"sourceType": "splunk_hec", "config": {"endpoint": " https://splunk.example"}},
        {"sourceType": "splunk_hec", "config": {"endpoint": "https://spl unk.example"}},
        {"config": {"tenantId": "a\u0000b"}},
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(
    client: httpx.Client, account: Account, wrong: dict[str, Any]
) -> None:
    answer = client.post(URL, headers=account.headers, json={**M365, **wrong})
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert listed(client, account) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"enabled":1}', b'{"enabled":"true"}', b'{"config":{"tenantId":""}}']
)
def test_a_wrong_change_changes_nothing(client: httpx.Client, account: Account, body: bytes) -> None:
    source = create(client, account)
    answer = client.patch(f"{URL}/{source['id']}", headers=account.headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert listed(client, account) == [source]


def test_another_organizations_source(client: httpx.Client, account: Account) -> None:
    source, other = create(client, account), sign_up(client)
    assert listed(client, other) == []
    change = client.patch(f"{URL}/{source['id']}", headers=other.headers, json={"enabled": False})
    assert (change.status_code, change.json()["code"]) == (404, "NOT_FOUND")
    removal = client.delete(f"{URL}/{source['id']}", headers=other.headers)
    assert (removal.status_code, removal.json()["code"]) == (403, "FORBIDDEN")
    assert listed(client, account) == [source]


def test_a_viewer_reads_and_changes_nothing(client: httpx.Client, account: Account, rows: Rows) -> None:
    source = create(client, account)
    headers, _ = member_of(rows, account, "VIEWER", client)
    assert client.get(URL, headers=headers).json() == {"sources": [source]}
    refused = [
        client.post(URL, headers=headers, json=M365),
        client.patch(f"{URL}/{source['id']}", headers=headers, json={"config": {"tenantId": "elsewhere"}}),
        client.delete(f"{URL}/{source['id']}", headers=headers),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(403, "INSUFFICIENT_PERMISSIONS")}
    assert listed(client, account) == [source]


SECRET = Secret("whsec_for_tests")


@pytest.fixture(scope="module")
def hook_server(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has the webhook's secret in its environment, granted to every organization."""
    from tests.conftest import clone, drop

    database_url = clone(server_url, template_database)
    folder: Path = tmp_path_factory.mktemp("hooks")
    with running_server(
        database_url, folder, secret_hook=SECRET.reveal(), secret_hook__organizations="*", secret_own="not granted"
    ) as started:
        yield started
    drop(server_url, database_url)


@pytest.fixture
def hooks(hook_server: Server) -> Iterator[httpx.Client]:
    with contract_client(hook_server) as opened:
        yield opened


def events(*names: str) -> bytes:
    return json.dumps(
        {
            "events": [
                {"id": name, "action": "door.opened", "at": "2026-05-12T14:22:00Z", "actor": "ana"} for name in names
            ]
        }
    ).encode()


def push(client: httpx.Client, source_id: str, body: bytes, **headers: str) -> httpx.Response:
    signed = {SIGNATURE_HEADER: sign(SECRET, body, at=datetime.now(UTC)), **headers}
    return client.post(f"{URL}/{source_id}/events", headers=signed, content=body)


def webhook(client: httpx.Client, account: Account, *, reference: str = "hook") -> str:
    source = create(client, account, sourceType="custom_webhook", config={}, secretRef=reference)
    source_id: str = source["id"]
    return source_id


def test_signed_events_are_stored_once(hooks: httpx.Client, hook_server: Server) -> None:
    account = sign_up(hooks)
    source_id = webhook(hooks, account)
    assert push(hooks, source_id, events("e1", "e2", "e1")).json() == {"received": 2, "stored": 2}
    assert push(hooks, source_id, events("e2", "e3")).json() == {"received": 2, "stored": 1}
    (source,) = listed(hooks, account)
    assert source["last_fetched_at"] is not None
    rows = Rows(hook_server.database_url)
    found = rows.all("select event_id, organization_id from log_events where actor = 'ana' order by event_id")
    assert [row["event_id"] for row in found] == ["e1", "e2", "e3"]
    assert len({row["organization_id"] for row in found}) == 1
    rows.run("delete from log_events")
    rows.close()


async def test_the_same_delivery_in_parallel_is_stored_once(hook_server: Server, hooks: httpx.Client) -> None:
    account = sign_up(hooks)
    source_id = webhook(hooks, account)
    body = events(*(f"e{number}" for number in range(50)))
    headers = {SIGNATURE_HEADER: sign(SECRET, body, at=datetime.now(UTC))}
    async with contract_client_async(hook_server) as client:
        answers = await asyncio.gather(
            *(client.post(f"{URL}/{source_id}/events", headers=headers, content=body) for _ in range(6))
        )
    assert sum(answer.json()["stored"] for answer in answers) == 50


def test_nothing_is_told_or_stored_without_a_sound_signature(hooks: httpx.Client, hook_server: Server) -> None:
    account = sign_up(hooks)
    source_id, polled = webhook(hooks, account), create(hooks, account)["id"]
    not_granted = webhook(hooks, account, reference="own")
    body = events("forged")
    refused = [
        push(hooks, source_id, body, **{SIGNATURE_HEADER: ""}),
        push(hooks, source_id, body, **{SIGNATURE_HEADER: sign(Secret("other"), body, at=datetime.now(UTC))}),
        push(hooks, source_id, body, **{SIGNATURE_HEADER: sign(SECRET, body, at=datetime(2026, 1, 1, tzinfo=UTC))}),
        push(hooks, polled, body),
        push(hooks, "ls_01JQ0000000000000000000000", body),
        push(hooks, "no-id", body),
        push(hooks, not_granted, body, **{SIGNATURE_HEADER: sign(Secret("not granted"), body, at=datetime.now(UTC))}),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(400, "WEBHOOK_SIGNATURE_INVALID")}
    rows = Rows(hook_server.database_url)
    assert rows.all("select 1 from log_events where event_id = 'forged'") == []
    rows.close()


def test_a_signed_body_that_is_wrong_stores_nothing(hooks: httpx.Client, hook_server: Server) -> None:
    source_id = webhook(hooks, sign_up(hooks))
    half = json.dumps({"events": [json.loads(events("half"))["events"][0], {"id": "bad"}]}).encode()
    for body in (half, b"no json", b"[]", events("half").replace(b"ana", b"\\u0000")):
        answer = push(hooks, source_id, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    rows = Rows(hook_server.database_url)
    assert rows.all("select 1 from log_events where event_id = 'half'") == []
    rows.close()


def test_a_disabled_source_takes_nothing(hooks: httpx.Client) -> None:
    account = sign_up(hooks)
    source_id = webhook(hooks, account)
    hooks.patch(f"{URL}/{source_id}", headers=account.headers, json={"enabled": False})
    answer = push(hooks, source_id, events("e1"))
    assert (answer.status_code, answer.json()["code"]) == (409, "LOG_SOURCE_DISABLED")
