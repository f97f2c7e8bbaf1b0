"""What every connector offers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.events import LogEvent, Scalar
from bailiwick.secrets import Secret

Config = Mapping[str, Scalar]
Cursor = Mapping[str, Any]
"""Where a source stands: JSON, meaningful only to the connector that wrote it."""


class FetchResult(msgspec.Struct, frozen=True):
    """Events and the cursor after them: store both together, or neither.

    `more`: fetch again at once, there is a backlog. `failure`: a part of the source (one content type, one table)
    failed while others delivered; its place in the cursor stays before what failed.
    """

    events: Sequence[LogEvent]
    cursor: Cursor
    more: bool
    failure: str | None = None


class Connector(Protocol):
    """Reads one kind of log source."""

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        """The next events, oldest window first: at most about `limit` of the provider's records, however many events
        those hold. `cursor` None begins with the recent past. Raises FetchFailed; then nothing has moved."""
        ...
