"""Log sources: audit events of other systems, fetched or received, for the narrator and for search."""

from bailiwick.logsources.connectors import Connector, FetchResult, connectors
from bailiwick.logsources.connectors.webhook import SIGNATURE_HEADER
from bailiwick.logsources.errors import FetchFailed, LogSourceForeign, LogSourceNotFound, WebhookSignatureInvalid
from bailiwick.logsources.events import LogEvent
from bailiwick.logsources.fetching import fetch_due
from bailiwick.logsources.sources import Source, create_source, delete_source, list_sources, update_source
from bailiwick.logsources.stored import SourcedEvent, recent_events
from bailiwick.logsources.webhooks import Received, receive_events

__all__ = [
    "SIGNATURE_HEADER",
    "Connector",
    "FetchFailed",
    "FetchResult",
    "LogEvent",
    "LogSourceForeign",
    "LogSourceNotFound",
    "Received",
    "Source",
    "SourcedEvent",
    "WebhookSignatureInvalid",
    "connectors",
    "create_source",
    "delete_source",
    "fetch_due",
    "list_sources",
    "receive_events",
    "recent_events",
    "update_source",
]
