"""Log sources: audit events of other systems, fetched or received, for the narrator and for search."""

from bailiwick.logsources.connectors import Connector, FetchResult, connectors
from bailiwick.logsources.errors import FetchFailed, WebhookRefused
from bailiwick.logsources.events import LogEvent

__all__ = ["Connector", "FetchFailed", "FetchResult", "LogEvent", "WebhookRefused", "connectors"]
