"""Google Cloud audit logs: Cloud Logging API, entries.list
(cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list).

Selected by `receiveTimestamp`, so that an entry that arrives late is found in the window in which it arrived.

config: projectId; logs (comma-separated: activity, system_event, policy, data_access).
Secret: a service account key with the role Logs Viewer (Private Logs Viewer for data_access).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.calls import members_of, names_setting, object_at, objects_in, text_setting
from bailiwick.logsources.connectors.google import service_account_caller, when
from bailiwick.logsources.connectors.interface import Config, Cursor, FetchResult
from bailiwick.logsources.connectors.windows import Page, Policy, Window, read_windows
from bailiwick.logsources.errors import AnswerUnusable
from bailiwick.logsources.events import LogEvent, Outcome, log_event, read_time
from bailiwick.secrets import GOOGLE_TOKEN_URL, Secret

_NAME = "Cloud Logging"
_SCOPE = "https://www.googleapis.com/auth/logging.read"
_LOGS = "activity,system_event,policy"
_LATEST_ARRIVAL = timedelta(days=1)  # Cloud Logging accepts older ones, but bounding `timestamp` makes the query fast
_POLICY = Policy(
    overlap=timedelta(minutes=10),
    lookback=timedelta(hours=24),
    longest=timedelta(days=1),
    settle=timedelta(seconds=30),
    retention=timedelta(days=400),  # what the _Required bucket keeps
    page_max=1_000,
)


class GoogleCloudAudit:
    """Connector of source type gcp_cloud_audit."""

    def __init__(
        self,
        *,
        base_url: str = "https://logging.googleapis.com",
        token_url: str = GOOGLE_TOKEN_URL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url, self._token_url, self._now = base_url, token_url, now

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        project = text_setting(config, "projectId", r"[a-z0-9][a-z0-9.:-]{0,100}")
        logs = names_setting(config, "logs", r"activity|system_event|policy|data_access", _LOGS)
        now = self._now()
        caller = await service_account_caller(
            session, _NAME, secret, scopes=[_SCOPE], now=now, token_url=self._token_url
        )

        async def read(_stream: str, window: Window, size: int) -> Page:
            body: dict[str, object] = {
                "resourceNames": [f"projects/{project}"],
                "filter": _filter(logs, window),
                "orderBy": "timestamp asc",
                "pageSize": size,
            }
            if window.page is not None:
                body["pageToken"] = window.page
            answer = await caller.send("POST", f"{self._base_url}/v2/entries:list", json=body)
            members = members_of(_NAME, caller.decode(answer.body))
            entries = objects_in(_NAME, members.get("entries"))
            return Page(
                events=[_event(entry) for entry in entries],
                next=members.get("nextPageToken") or None,
                records=len(entries),
            )

        return await read_windows(["audit"], cursor, limit, now=now, policy=_POLICY, read=read)


def _filter(logs: list[str], window: Window) -> str:
    chosen = " OR ".join(f'log_id("cloudaudit.googleapis.com/{log}")' for log in logs)
    return (
        f'({chosen}) AND timestamp>="{when(window.start - _LATEST_ARRIVAL)}"'
        f' AND receiveTimestamp>="{when(window.start)}" AND receiveTimestamp<"{when(window.end)}"'
    )


def _event(entry: Mapping[str, Any]) -> LogEvent:
    """A LogEntry whose payload is google.cloud.audit.AuditLog. Entries of one log with the same timestamp and insertId
    are the same entry (LogEntry.insertId)."""
    payload, resource = object_at(entry, "protoPayload"), object_at(entry, "resource")
    at = read_time(entry.get("timestamp")) or read_time(entry.get("receiveTimestamp"))
    if at is None or not entry.get("insertId"):
        raise AnswerUnusable(f"{_NAME} sent an entry without timestamp or insertId.")
    authentication, request = object_at(payload, "authenticationInfo"), object_at(payload, "requestMetadata")
    log = str(entry.get("logName", ""))
    return log_event(
        event_id=f"{log}:{entry.get('timestamp')}:{entry['insertId']}",
        at=at,
        action=payload.get("methodName"),
        actor=authentication.get("principalEmail") or authentication.get("principalSubject"),
        target=payload.get("resourceName"),
        outcome=_outcome(payload),
        attributes={
            "log": log.rpartition("%2F")[2],
            "severity": entry.get("severity"),
            "service": payload.get("serviceName"),
            "caller_ip": request.get("callerIp"),
            "user_agent": request.get("callerSuppliedUserAgent"),
            "status": object_at(payload, "status"),
            "resource": resource,
            "authorization": payload.get("authorizationInfo"),
        },
    )


def _outcome(payload: Mapping[str, Any]) -> Outcome:
    """`status` is google.rpc.Status: absent, empty or code 0 is success."""
    if not payload:
        return "unknown"
    return "failure" if object_at(payload, "status").get("code") else "success"
