"""Reading a growing log by windows of time, page by page, without missing late events or giving one twice.

A source has one or more streams (content types, applications, tables). For each, the cursor keeps `since` (all before
it has been read), the window under way (`from`, `until`, `page`) and digests of the ids lately given. Providers deliver
late, so each new window reaches back by `overlap`; what was given already is recognised by its id. The digests are
bounded (MAX_SEEN, the newest kept): beyond it the store's own uniqueness of (source, event id) takes over.
"""

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bailiwick.logsources.connectors.interface import Cursor, FetchResult
from bailiwick.logsources.errors import (
    AnswerUnusable,
    ConfigUnusable,
    FetchFailed,
    ProviderRefused,
    SecretRefused,
    Throttled,
)
from bailiwick.logsources.events import LogEvent

MAX_SEEN = 4_000
MAX_PAGES_PER_FETCH = 200
MAX_PAGES_PER_WINDOW = 10_000
MAX_SECONDS_PER_FETCH = 120.0


class Policy(msgspec.Struct, frozen=True):
    """How a provider's log grows. Windows are [from, until)."""

    overlap: timedelta
    """How late an event may turn up behind the window's end."""
    lookback: timedelta
    """How far back a source without a cursor begins."""
    longest: timedelta
    """The longest window that one listing may cover."""
    settle: timedelta = timedelta(0)
    """How far behind now a window ends."""
    retention: timedelta = timedelta(days=3650)
    """How far back the provider answers at all."""
    page_max: int = 1_000
    """The most records of one page."""
    by_event_time: bool = False
    """Whether a window selects by the time of the event itself; else by when the provider took it in."""


class Window(msgspec.Struct, frozen=True):
    """One window being read; `page` is the connector's own token, None for the first page."""

    start: datetime
    end: datetime
    page: Any


class Page(msgspec.Struct, frozen=True):
    """What one page held. `records` counts the provider's records, which the limit bounds; `next` None ends it."""

    events: Sequence[LogEvent]
    next: Any
    records: int


ReadPage = Callable[[str, Window, int], Awaitable[Page]]


class _Stream(msgspec.Struct, rename={"start": "from"}):
    since: datetime | None = None
    start: datetime | None = None
    until: datetime | None = None
    page: Any = None
    pages: int = 0
    seen: dict[str, int] = {}


class _Place(msgspec.Struct):
    streams: dict[str, _Stream] = {}


async def read_windows(
    names: Sequence[str], cursor: Cursor | None, limit: int, *, now: datetime, policy: Policy, read: ReadPage
) -> FetchResult:
    """Read pages of the streams, the one furthest behind first, until about `limit` records, all up to date, or the
    bound of pages or time of one fetch is met.

    A stream that fails leaves the others be; FetchFailed is raised when no stream got on.
    """
    place = _decode(cursor)
    streams = {name: place.streams.get(name, _Stream()) for name in names}
    order = sorted(names, key=lambda name: (streams[name].since or datetime.min.replace(tzinfo=now.tzinfo), name))
    budget = _Budget(limit)
    events: list[LogEvent] = []
    failures: list[FetchFailed] = []
    advanced = False
    for name in order:
        if budget.spent:
            break
        stream = streams[name] = msgspec.structs.replace(streams[name], seen=dict(streams[name].seen))
        try:
            async for page in _pages(name, stream, budget, now=now, policy=policy, read=read):
                events.extend(page)
                advanced = True
        except FetchFailed as failure:
            failures.append(failure)
            if isinstance(failure, Throttled | SecretRefused | ConfigUnusable):
                break  # it would be the same for the next stream
    if failures and not advanced:
        raise failures[0]
    behind = any(streams[name].page is not None or _is_behind(streams[name], now, policy) for name in names)
    return FetchResult(
        events=events,
        cursor=msgspec.to_builtins(_Place(streams)),
        more=behind and not failures,
        failure=failures[0].reason if failures else None,
    )


class _Budget:
    """Records, pages and time left to this fetch."""

    def __init__(self, limit: int) -> None:
        self.limit = self.records = max(1, limit)
        self.pages = MAX_PAGES_PER_FETCH
        self.until = time.monotonic() + MAX_SECONDS_PER_FETCH

    @property
    def spent(self) -> bool:
        return self.records <= 0 or self.pages <= 0 or time.monotonic() > self.until

    def page_size(self, policy: Policy) -> int:
        """The same for every page, as a page token holds only for the request that it came from: so the last page may
        exceed the limit."""
        return min(self.limit, policy.page_max)


async def _pages(
    name: str, stream: _Stream, budget: _Budget, *, now: datetime, policy: Policy, read: ReadPage
) -> AsyncIterator[list[LogEvent]]:
    """New events page by page; `stream` is moved on after each, so that it may be kept whenever reading stops."""
    if stream.start is None or stream.until is None:
        _open_window(stream, now, policy)
    tokens = {_digest(stream.page)}
    while not budget.spent and stream.start is not None and stream.until is not None:
        if stream.start >= stream.until:  # the clock went back
            _close_window(stream, policy)
            return
        window = Window(stream.start, stream.until, stream.page)
        budget.pages -= 1
        try:
            page = await read(name, window, budget.page_size(policy))
        except ProviderRefused as refusal:
            if stream.page is None or refusal.status not in {400, 404, 410}:
                raise
            # The page token has expired: begin the window again; what was given is still recognised.
            stream.page, stream.pages, tokens = None, 0, {_digest(None)}
            continue
        budget.records -= page.records
        token = _digest(page.next)
        if page.next is not None and (token in tokens or stream.pages >= MAX_PAGES_PER_WINDOW):
            raise AnswerUnusable(f"The pages of {name} do not end: the provider repeats itself.")
        if b"\\u0000" in msgspec.json.encode(page.next):
            raise AnswerUnusable(f"The provider's page token for {name} cannot be stored.")
        tokens.add(token)
        fresh = _unseen(stream, window, page.events, policy)
        stream.page, stream.pages = page.next, stream.pages + 1
        if page.next is None:
            _close_window(stream, policy)
        yield fresh


def _open_window(stream: _Stream, now: datetime, policy: Policy) -> None:
    start = now - policy.lookback if stream.since is None else stream.since - policy.overlap
    stream.start = max(start, now - policy.retention)
    stream.until = min(now - policy.settle, stream.start + policy.longest)
    stream.page, stream.pages = None, 0


def _close_window(stream: _Stream, policy: Policy) -> None:
    if stream.until is not None and (stream.since is None or stream.until > stream.since):
        stream.since = stream.until
    if stream.since is not None:
        oldest = int((stream.since - policy.overlap).timestamp())
        stream.seen = {digest: at for digest, at in stream.seen.items() if at >= oldest}
    stream.start = stream.until = stream.page = None
    stream.pages = 0


def _is_behind(stream: _Stream, now: datetime, policy: Policy) -> bool:
    """Whether a window is missing. What has passed since this one began does not count: else a source whose overlap
    takes more than one fetch to read again would never be up to date."""
    return stream.since is None or stream.since < now - policy.settle - policy.overlap


def _unseen(stream: _Stream, window: Window, events: Sequence[LogEvent], policy: Policy) -> list[LogEvent]:
    """The events not given before. Each id is remembered with the latest time at which a window may find it again."""
    fresh = []
    for event in events:
        digest = _digest(event.event_id)
        if digest not in stream.seen:
            fresh.append(event)
        stream.seen[digest] = int((event.at if policy.by_event_time else window.end).timestamp())
    if len(stream.seen) > MAX_SEEN:
        newest_last = sorted(stream.seen.items(), key=lambda entry: entry[1])  # stable: the later found stays
        stream.seen = dict(newest_last[-MAX_SEEN:])
    return fresh


def _digest(value: object) -> str:
    """64 bits suffice to tell a few thousand apart."""
    return base64.urlsafe_b64encode(hashlib.sha256(msgspec.json.encode(value)).digest()[:8])[:11].decode()


def _decode(cursor: Cursor | None) -> _Place:
    if not cursor:
        return _Place()
    try:
        return msgspec.convert(cursor, _Place)
    except msgspec.ValidationError:
        # Only we write cursors; an unreadable one is from another version. Beginning anew loses nothing but time.
        return _Place()
