"""Microsoft 365 unified audit log by the Office 365 Management Activity API
(learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference).

A content type is subscribed to once; Microsoft then gathers events into blobs, which are listed by when they became
available (24 hours at most in one listing, 7 days back at most) and downloaded one by one.

config: tenantId; clientId unless the secret holds it; contentTypes (comma-separated).
Secret: the client secret of an app registration with ActivityFeed.Read, or {"client_id": ..., "client_secret": ...}.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from bailiwick.kernel.outbound import Outbound, OutboundResponse
from bailiwick.logsources.connectors.calls import (
    Caller,
    names_setting,
    object_at,
    objects_in,
    text_setting,
)
from bailiwick.logsources.connectors.interface import Config, Cursor, FetchResult
from bailiwick.logsources.connectors.microsoft import LOGIN_URL, TENANT_PATTERN, application_caller, tenant_id
from bailiwick.logsources.connectors.windows import Page, Policy, Window, read_windows
from bailiwick.logsources.errors import AnswerUnusable, ProviderRefused
from bailiwick.logsources.events import LogEvent, Outcome, log_event, read_time
from bailiwick.secrets import Secret

_NAME = "Microsoft 365"
_SCOPE = "https://manage.office.com/.default"
_CONTENT_TYPES = "Audit.AzureActiveDirectory,Audit.Exchange,Audit.SharePoint,Audit.General"
_CONTENT_TYPE_PATTERN = r"Audit\.(AzureActiveDirectory|Exchange|SharePoint|General)|DLP\.All"
_NO_SUBSCRIPTION = "AF20022"
_ALREADY_ENABLED = "AF20024"
_EXPIRED = "AF20051"
_POLICY = Policy(
    overlap=timedelta(minutes=30),
    lookback=timedelta(hours=24),
    longest=timedelta(hours=24),
    # Five minutes short of 7 days, so that a slow clock does not make the whole window refused.
    retention=timedelta(days=7) - timedelta(minutes=5),
)
_OUTCOMES: Mapping[str, Outcome] = {
    "success": "success",
    "succeeded": "success",
    "true": "success",
    "partiallysucceeded": "success",
    "failed": "failure",
    "failure": "failure",
    "false": "failure",
}


class Microsoft365:
    """Connector of source type m365_unified_audit."""

    def __init__(
        self,
        *,
        base_url: str = "https://manage.office.com",
        login_url: str = LOGIN_URL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url, self._login_url, self._now = base_url, login_url, now

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        content_types = names_setting(config, "contentTypes", _CONTENT_TYPE_PATTERN, _CONTENT_TYPES)
        tenant = text_setting(config, "tenantId", TENANT_PATTERN)
        caller = await application_caller(
            session, _NAME, config, secret, tenant=tenant, login_url=self._login_url, scope=_SCOPE
        )
        tenant = tenant_id(tenant, caller)

        async def read(content_type: str, window: Window, size: int) -> Page:
            return await self._page(caller, tenant, content_type, window, size)

        return await read_windows(content_types, cursor, limit, now=self._now(), policy=_POLICY, read=read)

    async def _page(self, caller: Caller, tenant: str, content_type: str, window: Window, size: int) -> Page:
        """One listing, or one blob (or what is left of it).

        The token: `listing`, the URL of the next listing or None; `blobs`, URLs to read; `done`, records of the first.
        """
        place = window.page or {"listing": None, "blobs": [], "done": 0}
        if not place["blobs"]:
            if place["listing"]:
                answer = await caller.send("GET", self._own(place["listing"]))
            else:
                answer = await self._first_listing(caller, tenant, content_type, window)
            listed = objects_in(_NAME, caller.decode(answer.body) if answer.body else [])
            blobs = [str(item.get("contentUri")) for item in listed]
            return Page(events=[], next=_token(answer.headers.get("nextpageuri"), blobs, 0), records=0)
        blobs, done = list(place["blobs"]), int(place["done"])
        records = await self._blob(caller, blobs[0])
        part = records[done : done + size]
        if done + len(part) < len(records):
            done += len(part)
        else:
            blobs, done = blobs[1:], 0
        events = [event for record in part if (event := _event(record)) is not None]
        return Page(events=events, next=_token(place["listing"], blobs, done), records=len(part))

    async def _first_listing(self, caller: Caller, tenant: str, content_type: str, window: Window) -> OutboundResponse:
        feed = f"{self._base_url}/api/v1.0/{quote(tenant, safe='')}/activity/feed/subscriptions"
        # Without PublisherIdentifier the requests count against a quota that all who leave it out share.
        params = {"contentType": content_type, "PublisherIdentifier": tenant}
        times = {"startTime": _when(window.start), "endTime": _when(window.end)}
        try:
            return await caller.send("GET", f"{feed}/content", params=params | times)
        except ProviderRefused as refusal:
            if refusal.code != _NO_SUBSCRIPTION:
                raise
        try:
            await caller.send("POST", f"{feed}/start", params=params)
        except ProviderRefused as refusal:
            if refusal.code != _ALREADY_ENABLED:
                raise
        return await caller.send("GET", f"{feed}/content", params=params | times)

    async def _blob(self, caller: Caller, url: str) -> list[dict[str, Any]]:
        try:
            answer = await caller.send("GET", self._own(url))
        except ProviderRefused as refusal:
            if refusal.code == _EXPIRED:
                return []  # older than 7 days: nobody can have it any more
            raise
        return objects_in(_NAME, caller.decode(answer.body))

    def _own(self, url: str) -> str:
        """`url` when it is Microsoft's: the token goes along with the request."""
        own, given = urlsplit(self._base_url), urlsplit(url)
        if (own.scheme, own.netloc) != (given.scheme, given.netloc):
            raise AnswerUnusable(f"{_NAME} named an address outside its own API.")
        return url


def _token(listing: str | None, blobs: list[str], done: int) -> dict[str, Any] | None:
    return {"listing": listing, "blobs": blobs, "done": done} if listing or blobs else None


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _event(record: Mapping[str, Any]) -> LogEvent | None:
    """By the common schema of the Management Activity API; `CreationTime` is UTC without saying so."""
    event_id, at = record.get("Id"), read_time(record.get("CreationTime"))
    if not isinstance(event_id, str) or not event_id or at is None:
        return None
    result = record.get("ResultStatus")
    rest = {
        name: value
        for name, value in record.items()
        if name not in {"Id", "CreationTime", "Operation", "UserId", "ObjectId"}
    }
    return log_event(
        event_id=event_id,
        at=at,
        action=record.get("Operation"),
        actor=record.get("UserId") or object_at(record, "AppAccessContext").get("ClientAppId"),
        target=record.get("ObjectId"),
        outcome=_OUTCOMES.get(str(result).lower(), "unknown"),
        attributes=rest,
    )
