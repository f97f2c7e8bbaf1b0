"""Splunk: events by search over the management endpoint, and a write check of the HTTP Event Collector
(Splunk REST API Reference: search/jobs/export, collector/event, collector/health).

Selected and paged by index time and the event's address in the index, which is unique and never changes.

config: endpoint, the https management URL (usually port 8089); search, plain search terms, default `index=_audit`;
hecEndpoint, an https collector URL (usually port 8088), checked at the first fetch.
Secret: an authentication token (bearer), or {"search_token": ..., "hec_token": ...}.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.calls import Caller, members_of
from bailiwick.logsources.connectors.interface import Config, Cursor, FetchResult
from bailiwick.logsources.connectors.windows import Page, Policy, Window, read_windows
from bailiwick.logsources.errors import AnswerUnusable, ConfigUnusable, FetchFailed, ProviderRefused
from bailiwick.logsources.events import LogEvent, Outcome, log_event, read_time
from bailiwick.secrets import Secret

_NAME = "Splunk"
_SEARCH = "index=_audit"
_PATHS = ("/services/search/v2/jobs/export", "/services/search/jobs/export")  # the second before Splunk 9.0.1
_ACCEPTED_LATENESS = timedelta(days=30)  # bounds the buckets that a search opens
_POLICY = Policy(
    overlap=timedelta(minutes=5),
    lookback=timedelta(hours=24),
    longest=timedelta(days=1),
    settle=timedelta(seconds=10),  # an indexed event is searchable a little later
    page_max=1_000,
)
_INTERNAL = {"_bkt", "_cd", "_indextime", "_raw", "_serial", "_si", "_time", "_sourcetype", "bailiwick_key"}


class Splunk:
    """Connector of source type splunk_hec."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        schemes: tuple[str, ...] = ("https",),
    ) -> None:
        """`schemes` is for tests against a loopback stub without TLS; the contract wants https."""
        self._now, self._schemes = now, schemes

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        endpoint = self._endpoint(config, "endpoint")
        terms = _terms(config)
        if cursor is None and config.get("hecEndpoint"):
            await self.check_collector(session, config, secret)
        token = secret.members().get("search_token") or secret.reveal()
        caller = Caller(session, _NAME, secret, Secret(f"Bearer {token}"))

        async def read(_stream: str, window: Window, size: int) -> Page:
            results = await self._export(caller, endpoint, _spl(terms, window, size), window)
            last = results[-1] if len(results) >= size else None
            token = [last["_indextime"], last["bailiwick_key"]] if last else None
            return Page(events=[_event(result) for result in results], next=token, records=len(results))

        return await read_windows(["search"], cursor, limit, now=self._now(), policy=_POLICY, read=read)

    async def check_collector(self, session: Outbound, config: Config, secret: Secret) -> None:
        """Make sure that the HTTP Event Collector is up (health) and takes events with this token (one is written).
        FetchFailed says what is wrong."""
        endpoint = self._endpoint(config, "hecEndpoint")
        token = secret.members().get("hec_token") or secret.reveal()
        caller = Caller(session, "Splunk HEC", secret, Secret(f"Splunk {token}"))
        await caller.send("GET", f"{endpoint}/services/collector/health")
        event = {"event": {"action": "bailiwick.log_source.checked"}, "source": "bailiwick", "sourcetype": "_json"}
        answer = await caller.send("POST", f"{endpoint}/services/collector/event", json=event)
        if members_of("Splunk HEC", caller.decode(answer.body)).get("code") != 0:
            raise AnswerUnusable("Splunk HEC did not take the test event.")

    async def _export(self, caller: Caller, endpoint: str, spl: str, window: Window) -> list[dict[str, Any]]:
        form = {
            "search": spl,
            "output_mode": "json",
            "preview": "false",
            "earliest_time": str(int((window.start - _ACCEPTED_LATENESS).timestamp())),
            "latest_time": str(int((window.end + timedelta(days=1)).timestamp())),
        }
        for path in _PATHS:
            try:
                answer = await caller.send("POST", endpoint + path, data=form)
            except ProviderRefused as refusal:
                if refusal.status != 404:
                    raise
                continue
            return _results(caller, answer.body)
        raise await self._no_search_there(caller, endpoint)

    async def _no_search_there(self, caller: Caller, endpoint: str) -> FetchFailed:
        try:
            await caller.send("GET", f"{endpoint}/services/collector/health")
        except FetchFailed:
            return ConfigUnusable("config.endpoint is no Splunk management endpoint: it knows no search.")
        return ConfigUnusable(
            "config.endpoint is an HTTP Event Collector, which only takes events; give the management endpoint "
            "(usually port 8089), and the collector as config.hecEndpoint."
        )

    def _endpoint(self, config: Config, name: str) -> str:
        value = config.get(name)
        parts = urlsplit(value) if isinstance(value, str) else None
        if parts is None or parts.scheme not in self._schemes or not parts.hostname or parts.query or parts.fragment:
            raise ConfigUnusable(f"config.{name} must be an https URL without query.")
        if parts.username or parts.password:
            raise ConfigUnusable(f"config.{name} must not hold a user or password.")
        return str(value).rstrip("/")


def _terms(config: Config) -> str:
    """Search terms only: no pipe, subsearch or macro, so that nothing but a search can come of them."""
    value = config.get("search")
    terms = value.strip() if isinstance(value, str) and value.strip() else _SEARCH
    if re.search(r"[|\[\]`\r\n]", terms):
        raise ConfigUnusable("config.search takes search terms only, without |, [, ] or `.")
    return terms


def _spl(terms: str, window: Window, size: int) -> str:
    start, end = _seconds(window.start), _seconds(window.end)
    after = ""
    if window.page is not None:
        indexed, key = int(window.page[0]), str(window.page[1]).replace("\\", "\\\\").replace('"', '\\"')
        after = f' | where _indextime>{indexed} OR (_indextime={indexed} AND bailiwick_key>"{key}")'
    return (
        # The terms in parentheses: an OR in them must not reach past the window.
        f"search ({terms}) _index_earliest={start} _index_latest={end + 1}"
        f" | where _indextime>={start} AND _indextime<{end}"
        f' | eval bailiwick_key=splunk_server."/"._bkt."/"._cd{after}'
        f" | sort {size} num(_indextime) str(bailiwick_key)"
        " | fields *, _time, _indextime, _bkt, _cd, bailiwick_key"
    )


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _results(caller: Caller, body: bytes) -> list[dict[str, Any]]:
    """One JSON object a line: {result: {...}} for each event, {messages: [...]} when something is to be said."""
    found = []
    for line in body.splitlines():
        if not line.strip():
            continue
        members = members_of(_NAME, caller.decode(line))
        for message in members.get("messages") or []:
            if isinstance(message, dict) and message.get("type") in {"FATAL", "ERROR"}:
                text = caller.secret.scrub(str(message.get("text", "")))[:200]
                raise ProviderRefused(_NAME, 200, str(message["type"]), text)
        if "result" in members and not members.get("preview"):
            result = members_of(_NAME, members["result"])
            if not str(result.get("_indextime", "")).isdigit() or not isinstance(result.get("bailiwick_key"), str):
                raise AnswerUnusable(f"{_NAME} sent an event without its place in the index.")
            found.append(result)
    return found


def _event(result: Mapping[str, Any]) -> LogEvent:
    indexed = datetime.fromtimestamp(int(result["_indextime"]), UTC)
    return log_event(
        event_id=result["bailiwick_key"],
        at=read_time(result.get("_time")) or indexed,
        action=_first(result, "action", "operation", "eventtype", "sourcetype"),
        actor=_first(result, "user", "src_user", "actor"),
        target=_first(result, "object", "dest", "file", "host"),
        outcome=_outcome(result),
        attributes={name: value for name, value in result.items() if name not in _INTERNAL},
    )


def _first(result: Mapping[str, Any], *names: str) -> object:
    for name in names:
        value = result.get(name)
        if isinstance(value, list) and value:  # a multi-value field
            value = value[0]
        if value not in (None, ""):
            return value
    return ""


def _outcome(result: Mapping[str, Any]) -> Outcome:
    """`info` is how _audit says it; `status` and `outcome` are common elsewhere."""
    text = str(_first(result, "outcome", "status", "info")).lower()
    if text in {"success", "succeeded", "granted", "completed", "allowed", "ok"}:
        return "success"
    return "failure" if text in {"failure", "failed", "denied", "error", "blocked"} else "unknown"
