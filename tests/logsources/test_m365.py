"""Microsoft 365: subscription, listing by pages, blobs, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors import Microsoft365
from bailiwick.logsources.errors import AnswerUnusable, FetchFailed, SecretRefused, Throttled
from bailiwick.secrets import Secret
from tests.logsources.conftest import Clock
from tests.logsources.stubs.microsoft import CLIENT, TENANT, Microsoft, audit_record
from tests.logsources.stubs.server import serving

SECRET = Secret(json.dumps(CLIENT))
CONFIG = {"tenantId": "contoso.onmicrosoft.com", "contentTypes": "Audit.General"}


@pytest.fixture
def microsoft() -> Microsoft:
    return Microsoft()


@pytest.fixture
async def connector(microsoft: Microsoft, clock: Clock) -> AsyncIterator[Microsoft365]:
    async with serving(microsoft.app()) as url:
        yield Microsoft365(base_url=url, login_url=url, now=clock)


async def test_reads_every_blob_of_every_page_once(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    made = clock.time - timedelta(hours=1)
    microsoft.blobs["Audit.General"] = [
        (made + timedelta(minutes=n), f"b{n}", [audit_record(10 * n + k, made) for k in range(3)]) for n in range(5)
    ]
    result = await connector.fetch(outbound, CONFIG, SECRET, None, 100)
    assert len({event.event_id for event in result.events}) == len(result.events) == 15
    assert not result.more
    event = result.events[0]
    assert (event.action, event.actor, event.target, event.outcome) == (
        "UserLoggedIn", "ana@contoso.example", "app-1", "success",
    )  # fmt: skip
    assert event.at == made
    assert event.attributes["ClientIP"] == "203.0.113.7"
    # The domain in config became the tenant's id, by which Microsoft also counts the requests.
    assert f"PublisherIdentifier={TENANT}" in microsoft.requests[0]
    assert microsoft.subscribed == {"Audit.General"}


async def test_late_content_comes_once_and_earlier_content_not_again(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    first_at = clock.time - timedelta(minutes=5)
    microsoft.blobs["Audit.General"] = [(first_at, "b1", [audit_record(1, first_at)])]
    first = await connector.fetch(outbound, CONFIG, SECRET, None, 100)
    # It became listed only now, with a time inside the window that was read.
    microsoft.blobs["Audit.General"].append((first_at, "b2", [audit_record(2, first_at - timedelta(days=2))]))
    clock.advance(minutes=10)
    second = await connector.fetch(outbound, CONFIG, SECRET, json.loads(json.dumps(first.cursor)), 100)
    assert [event.event_id[-1] for event in second.events] == ["2"]
    clock.advance(minutes=10)
    assert not (await connector.fetch(outbound, CONFIG, SECRET, second.cursor, 100)).events


async def test_a_large_blob_is_given_in_parts(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    made = clock.time - timedelta(minutes=5)
    microsoft.blobs["Audit.General"] = [(made, "b1", [audit_record(n, made) for n in range(25)])]
    cursor, given, more = None, [], True
    while more:
        result = await connector.fetch(outbound, CONFIG, SECRET, cursor, 10)
        assert len(result.events) <= 10
        given += [event.event_id for event in result.events]
        cursor, more = result.cursor, result.more
    assert len(set(given)) == len(given) == 25


async def test_a_source_that_takes_many_fetches_becomes_up_to_date_while_time_goes_on(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    made = clock.time - timedelta(minutes=5)
    microsoft.blobs["Audit.General"] = [(made, "b1", [audit_record(n, made) for n in range(25)])]
    cursor, fetches, more = None, 0, True
    while more:
        result = await connector.fetch(outbound, CONFIG, SECRET, cursor, 10)
        cursor, more, fetches = result.cursor, result.more, fetches + 1
        clock.advance(seconds=1)
        assert fetches < 10
    assert fetches == 3


async def test_expired_content_is_passed_over(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    made = clock.time - timedelta(minutes=5)
    microsoft.blobs["Audit.General"] = [(made, name, [audit_record(n, made)]) for n, name in enumerate(["b1", "b2"])]
    microsoft.expired = {"b1"}
    result = await connector.fetch(outbound, CONFIG, SECRET, None, 100)
    assert [event.event_id[-1] for event in result.events] == ["1"]


async def test_the_token_goes_to_no_other_host(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    made = clock.time - timedelta(minutes=5)
    microsoft.blobs["Audit.General"] = [(made, "b1", [audit_record(1, made)])]
    microsoft.foreign_content_uri = True
    result = await connector.fetch(outbound, CONFIG, SECRET, None, 100)
    assert not result.events
    assert result.failure is not None
    assert "outside its own API" in result.failure
    with pytest.raises(AnswerUnusable, match="outside its own API"):
        await connector.fetch(outbound, CONFIG, SECRET, result.cursor, 100)


async def test_a_wrong_secret_is_told_without_showing_it(connector: Microsoft365, outbound: Outbound) -> None:
    wrong = Secret(json.dumps({**CLIENT, "client_secret": "not-the-secret~42"}))
    with pytest.raises(SecretRefused, match="invalid_client") as raised:
        await connector.fetch(outbound, CONFIG, wrong, None, 100)
    assert "not-the-secret" not in str(raised.value)


async def test_throttling_keeps_what_was_read_and_says_when_to_return(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound
) -> None:
    microsoft.answers = [web.Response(status=429, headers={"Retry-After": "90"})]
    with pytest.raises(Throttled) as raised:
        await connector.fetch(outbound, CONFIG, SECRET, None, 100)
    assert raised.value.retry_after_seconds == 90


async def test_one_failing_content_type_does_not_hold_up_the_others(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, clock: Clock
) -> None:
    made = clock.time - timedelta(minutes=5)
    microsoft.blobs["Audit.SharePoint"] = [(made, "b1", [audit_record(1, made)])]
    config = {**CONFIG, "contentTypes": "Audit.Exchange,Audit.SharePoint"}
    message = {"error": {"code": "AF20010", "message": f"quoting {CLIENT['client_secret']}"}}
    microsoft.answers = [web.json_response(message, status=403)]
    result = await connector.fetch(outbound, config, SECRET, None, 100)
    assert len(result.events) == 1
    assert result.failure is not None
    assert "AF20010" in result.failure
    assert CLIENT["client_secret"] not in result.failure
    # The next fetch gets what failed, and nothing twice.
    microsoft.blobs["Audit.Exchange"] = [(made, "b2", [audit_record(2, made)])]
    again = await connector.fetch(outbound, config, SECRET, result.cursor, 100)
    assert [event.event_id[-1] for event in again.events] == ["2"]
    assert again.failure is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (web.Response(text="<html>proxy</html>"), "not JSON"),
        (web.json_response({"value": []}), "another form"),
        (web.Response(body=b"[" + b" " * 17_000_000 + b"]"), "larger than"),
        (web.Response(status=302, headers={"Location": "https://elsewhere.example"}), "status 302"),
    ],
)
async def test_unusable_answers(
    microsoft: Microsoft, connector: Microsoft365, outbound: Outbound, answer: web.Response, reason: str
) -> None:
    microsoft.subscribed.add("Audit.General")
    microsoft.answers = [answer]
    with pytest.raises(FetchFailed, match=reason):
        await connector.fetch(outbound, CONFIG, SECRET, None, 100)


@pytest.mark.parametrize("tenant", [None, "", "a/../b", "x" * 300, 7])
async def test_a_tenant_that_is_none_is_refused(connector: Microsoft365, outbound: Outbound, tenant: str | int) -> None:
    with pytest.raises(FetchFailed, match="tenantId"):
        await connector.fetch(outbound, {**CONFIG, "tenantId": tenant}, SECRET, None, 100)
