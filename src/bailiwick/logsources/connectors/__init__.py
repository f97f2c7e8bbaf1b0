"""Connectors by source type (contract LogSourceType)."""

from collections.abc import Mapping

from bailiwick.logsources.connectors.gcp_audit import GoogleCloudAudit
from bailiwick.logsources.connectors.google_workspace import GoogleWorkspace
from bailiwick.logsources.connectors.interface import Config, Connector, Cursor, FetchResult
from bailiwick.logsources.connectors.m365 import Microsoft365
from bailiwick.logsources.connectors.sentinel import Sentinel
from bailiwick.logsources.connectors.splunk import Splunk
from bailiwick.logsources.connectors.webhook import CustomWebhook


def connectors() -> Mapping[str, Connector]:
    """One of each, against the providers' own addresses."""
    return {
        "m365_unified_audit": Microsoft365(),
        "google_workspace_admin": GoogleWorkspace(),
        "gcp_cloud_audit": GoogleCloudAudit(),
        "splunk_hec": Splunk(),
        "azure_sentinel": Sentinel(),
        "custom_webhook": CustomWebhook(),
    }


__all__ = [
    "Config",
    "Connector",
    "Cursor",
    "CustomWebhook",
    "FetchResult",
    "GoogleCloudAudit",
    "GoogleWorkspace",
    "Microsoft365",
    "Sentinel",
    "Splunk",
    "connectors",
]
