"""Microsoft Sentinel: tables of its Log Analytics workspace by the Azure Monitor query API
(learn.microsoft.com/azure/azure-monitor/logs/api/overview, .../response-format).

Selected and paged by `ingestion_time()` and a digest of the row, so that late rows are found and no page boundary falls
between equal times.

config: workspaceId; tenantId; clientId unless the secret holds it; tables (comma-separated).
Secret: the client secret of an app registration with the role Log Analytics Reader, or JSON with client_id too.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.calls import Caller, members_of, names_setting, objects_in, text_setting
from bailiwick.logsources.connectors.interface import Config, Cursor, FetchResult
from bailiwick.logsources.connectors.microsoft import LOGIN_URL, TENANT_PATTERN, application_caller
from bailiwick.logsources.connectors.windows import Page, Policy, Window, read_windows
from bailiwick.logsources.errors import AnswerUnusable
from bailiwick.logsources.events import LogEvent, Outcome, log_event, read_time
from bailiwick.secrets import Secret

_NAME = "Log Analytics"
_SCOPE = "https://api.loganalytics.io/.default"
_TABLES = "SigninLogs,AuditLogs,SecurityEvent"
_TIME = "bailiwick_ingested"
_KEY = "bailiwick_key"
_POLICY = Policy(
    overlap=timedelta(minutes=10),
    lookback=timedelta(hours=24),
    longest=timedelta(days=1),
    settle=timedelta(minutes=1),
    retention=timedelta(days=90),
    page_max=1_000,
)
_KQL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")
_KQL_KEY = re.compile(r"[0-9a-f]{64}")
# The column that names each part of an event, best first: SigninLogs, AuditLogs, SecurityEvent, OfficeActivity,
# AzureActivity, CommonSecurityLog.
_ACTIONS = ("OperationName", "Operation", "OperationNameValue", "Activity", "EventID", "Type")
_ACTORS = ("UserPrincipalName", "InitiatedBy", "UserId", "Caller", "Account", "SubjectUserName", "SourceUserName")
_TARGETS = ("AppDisplayName", "TargetResources", "OfficeObjectId", "_ResourceId", "TargetAccount", "Computer")
_RESULTS = ("ResultType", "Result", "ResultStatus", "ActivityStatusValue", "EventOutcome")


class Sentinel:
    """Connector of source type azure_sentinel."""

    def __init__(
        self,
        *,
        base_url: str = "https://api.loganalytics.azure.com",
        login_url: str = LOGIN_URL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url, self._login_url, self._now = base_url, login_url, now

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        workspace = text_setting(config, "workspaceId", r"[0-9A-Fa-f-]{36}")
        tenant = text_setting(config, "tenantId", TENANT_PATTERN, secret.members().get("tenant_id"))
        tables = names_setting(config, "tables", r"[A-Za-z][A-Za-z0-9_]{0,62}", _TABLES)
        caller = await application_caller(
            session, _NAME, config, secret, tenant=tenant, login_url=self._login_url, scope=_SCOPE
        )
        url = f"{self._base_url}/v1/workspaces/{quote(workspace, safe='')}/query"

        async def read(table: str, window: Window, size: int) -> Page:
            return await _page(caller, url, table, window, size)

        return await read_windows(tables, cursor, limit, now=self._now(), policy=_POLICY, read=read)


async def _page(caller: Caller, url: str, table: str, window: Window, size: int) -> Page:
    answer = await caller.send("POST", url, json={"query": _query(table, window, size)}, headers={"prefer": "wait=50"})
    if answer.status == 204 or not answer.body:  # "no data in workspace" is an empty answer
        return Page(events=[], next=None, records=0)
    members = members_of(_NAME, caller.decode(answer.body))
    if "error" in members:  # 200 with `error` is a partial result; the rows left out would be lost
        raise AnswerUnusable(f"{_NAME} answered {table} only in part.")
    rows = _rows(members)
    marked = [(row.pop(_TIME, None), row.pop(_KEY, None), row) for row in rows]
    for ingested, key, _ in marked:
        if not (isinstance(ingested, str) and _KQL_TIME.fullmatch(ingested)) or not (
            isinstance(key, str) and _KQL_KEY.fullmatch(key)
        ):
            raise AnswerUnusable(f"{_NAME} sent a row of {table} without its place.")
    last = [marked[-1][0], marked[-1][1]] if len(rows) >= size else None
    return Page(
        events=[_event(table, key, ingested, row) for ingested, key, row in marked], next=last, records=len(rows)
    )


def _query(table: str, window: Window, size: int) -> str:
    """KQL for one page; every part of it is checked or made here."""
    after = ""
    if window.page is not None:
        ingested, key = window.page
        if not _KQL_TIME.fullmatch(str(ingested)) or not _KQL_KEY.fullmatch(str(key)):
            raise AnswerUnusable(f"The place to go on from in {table} is unreadable.")
        after = (
            f"| where {_TIME} > datetime({ingested})"
            f" or ({_TIME} == datetime({ingested}) and strcmp({_KEY}, '{key}') > 0)\n"
        )
    return (
        f"{table}\n"
        f"| where ingestion_time() >= datetime({_when(window.start)})"
        f" and ingestion_time() < datetime({_when(window.end)})\n"
        f"| extend {_KEY} = hash_sha256(tostring(pack_all()))\n"
        f"| extend {_TIME} = ingestion_time()\n"
        f"{after}"
        f"| order by {_TIME} asc, {_KEY} asc\n"
        f"| take {size}"
    )


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _rows(members: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the first table as column name to value."""
    tables = objects_in(_NAME, members.get("tables"))
    if not tables:
        return []
    names = [str(column.get("name")) for column in objects_in(_NAME, tables[0].get("columns"))]
    rows = tables[0].get("rows") or []
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise AnswerUnusable(f"{_NAME} sent an answer of another form than it documents.")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _event(table: str, key: str, ingested: str, row: dict[str, Any]) -> LogEvent:
    """A row; its id is the digest of all its columns, since not every table has an id of its own."""
    at = read_time(row.get("TimeGenerated")) or read_time(ingested)
    if at is None:
        raise AnswerUnusable(f"{_NAME} sent a row of {table} without a time.")
    return log_event(
        event_id=f"{table}:{key}",
        at=at,
        action=_first(row, _ACTIONS) or table,
        actor=_named(_first(row, _ACTORS)),
        target=_named(_first(row, _TARGETS)),
        outcome=_outcome(_first(row, _RESULTS)),
        attributes={"table": table, **{name: value for name, value in row.items() if name != "TimeGenerated"}},
    )


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> object:
    return next((row[name] for name in names if row.get(name) not in (None, "")), "")


def _named(value: object) -> object:
    """Dynamic columns arrive as JSON text: of AuditLogs' InitiatedBy and TargetResources the name is wanted."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        found = re.search(r'"(?:userPrincipalName|displayName)"\s*:\s*"([^"\\]{1,200})"', value)
        return found[1] if found else value
    return value


def _outcome(result: object) -> Outcome:
    """SigninLogs' ResultType is an error number, 0 for success; the others are words."""
    text = str(result).strip().lower()
    if text in {"0", "success", "succeeded", "true"}:
        return "success"
    if not text or text in {"start", "started", "none", "accept", "accepted"}:
        return "unknown"
    return "failure" if text.isdigit() or text in {"failure", "failed", "false", "error", "denied"} else "unknown"
