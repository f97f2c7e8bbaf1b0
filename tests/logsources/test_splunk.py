"""Splunk: search export, and the HTTP Event Collector's write check."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors import Splunk
from bailiwick.logsources.errors import ConfigUnusable, FetchFailed, ProviderRefused, SecretRefused
from bailiwick.logsources.events import LogEvent
from bailiwick.secrets import Secret
from tests.logsources.conftest import Clock
from tests.logsources.stubs import splunk as stub
from tests.logsources.stubs.server import serving

SECRET = Secret(json.dumps({"search_token": stub.SEARCH_TOKEN, "hec_token": stub.HEC_TOKEN}))


@pytest.fixture
def connector(clock: Clock) -> Splunk:
    return Splunk(now=clock, schemes=("https", "http"))


async def test_events_of_one_second_are_paged_without_loss(connector: Splunk, outbound: Outbound, clock: Clock) -> None:
    server = stub.Splunk()
    indexed = int((clock.time - timedelta(minutes=10)).timestamp())
    server.events = [(indexed, stub.result(n, clock.time - timedelta(hours=3))) for n in range(23)]
    server.events.append((indexed + 1, stub.result(99, clock.time, info="denied", user=["a", "b"])))
    async with serving(server.app()) as url:
        events: list[LogEvent] = []
        cursor, more = None, True
        while more:
            result = await connector.fetch(outbound, {"endpoint": url + "/"}, SECRET, cursor, 5)
            cursor, more = json.loads(json.dumps(result.cursor)), result.more
            events += result.events
        assert len({event.event_id for event in events}) == len(events) == 24
        assert (events[0].actor, events[0].action, events[0].outcome) == ("admin", "edit_user", "success")
        assert (events[-1].actor, events[-1].outcome) == ("a", "failure")
        assert not any(name.startswith("_") for name in events[0].attributes)
        clock.advance(minutes=2)
        assert not (await connector.fetch(outbound, {"endpoint": url}, SECRET, cursor, 50)).events
    assert all(form["search"].startswith("search (index=_audit) ") for form in server.searches)


async def test_an_older_splunk_is_asked_by_its_own_path(connector: Splunk, outbound: Outbound, clock: Clock) -> None:
    server = stub.Splunk(version_2=False)
    server.events = [(int((clock.time - timedelta(minutes=10)).timestamp()), stub.result(1, clock.time))]
    async with serving(server.app()) as url:
        result = await connector.fetch(outbound, {"endpoint": url}, Secret(stub.SEARCH_TOKEN), None, 5)
    assert len(result.events) == 1


async def test_a_collector_given_as_endpoint_is_recognised(connector: Splunk, outbound: Outbound) -> None:
    async with serving(stub.Splunk(search=False, collector=True).app()) as url:
        with pytest.raises(ConfigUnusable, match="HTTP Event Collector, which only takes events"):
            await connector.fetch(outbound, {"endpoint": url}, SECRET, None, 5)


async def test_the_collector_is_checked_by_writing_once(connector: Splunk, outbound: Outbound) -> None:
    server = stub.Splunk(collector=True)
    async with serving(server.app()) as url:
        config = {"endpoint": url, "hecEndpoint": url}
        first = await connector.fetch(outbound, config, SECRET, None, 5)
        await connector.fetch(outbound, config, SECRET, first.cursor, 5)
        assert len(server.written) == 1
        with pytest.raises(ProviderRefused, match="Invalid token") as raised:
            await connector.fetch(outbound, config, Secret(stub.SEARCH_TOKEN), None, 5)
        assert stub.SEARCH_TOKEN not in str(raised.value)


async def test_refusals_of_the_search(connector: Splunk, outbound: Outbound) -> None:
    server = stub.Splunk()
    async with serving(server.app()) as url:
        with pytest.raises(SecretRefused):
            await connector.fetch(outbound, {"endpoint": url}, Secret("wrong-token"), None, 5)
        server.fatal = f"Unknown search command; token {stub.SEARCH_TOKEN}"
        with pytest.raises(ProviderRefused, match="Unknown search command") as raised:
            await connector.fetch(outbound, {"endpoint": url}, SECRET, None, 5)
        assert stub.SEARCH_TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    "config",
    [
        {"endpoint": "http://splunk.example:8089"},
        {"endpoint": "https://user:pw@splunk.example"},
        {"endpoint": "https://splunk.example/?x=1"},
        {"endpoint": "splunk.example"},
        {"endpoint": "https://splunk.example", "search": "index=main | delete"},
        {"endpoint": "https://splunk.example", "search": "index=main [search x]"},
        {"endpoint": "https://splunk.example", "search": "`macro`"},
    ],
)
async def test_unusable_config(outbound: Outbound, config: dict[str, str]) -> None:
    with pytest.raises(ConfigUnusable):
        await Splunk().fetch(outbound, config, SECRET, None, 5)


async def test_a_private_address_is_not_called(clock: Clock) -> None:
    guarded = Outbound()
    with pytest.raises(FetchFailed, match="may not be called"):
        await Splunk(now=clock).fetch(guarded, {"endpoint": "https://127.0.0.1:8089"}, SECRET, None, 5)
    await guarded.close()
