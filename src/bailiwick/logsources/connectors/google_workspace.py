"""Google Workspace audit reports: Admin SDK Reports API, activities.list
(developers.google.com/workspace/admin/reports/reference/rest/v1/activities/list).

Each application (login, admin, drive, ...) is a stream. Activities are listed newest first by their own time and turn
up late, by the lag that Google documents for the application (support.google.com/a/answer/7061566): hence the overlap.

config: customerId; adminEmail, the administrator in whose name the service account reads (domain-wide delegation), when
the account has no admin role itself; applications (comma-separated).
Secret: a service account key with scope admin.reports.audit.readonly.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.calls import members_of, names_setting, object_at, objects_in, text_setting
from bailiwick.logsources.connectors.google import service_account_caller, when
from bailiwick.logsources.connectors.interface import Config, Cursor, FetchResult
from bailiwick.logsources.connectors.windows import Page, Policy, Window, read_windows
from bailiwick.logsources.errors import AnswerUnusable
from bailiwick.logsources.events import LogEvent, Outcome, log_event, read_time
from bailiwick.secrets import GOOGLE_TOKEN_URL, Secret

_NAME = "Google Workspace"
_SCOPE = "https://www.googleapis.com/auth/admin.reports.audit.readonly"
_APPLICATIONS = "admin,login,token"
_POLICY = Policy(
    overlap=timedelta(hours=3),
    lookback=timedelta(hours=24),
    longest=timedelta(days=7),
    retention=timedelta(days=179),  # 180 are kept
    page_max=1_000,
    by_event_time=True,
)


class GoogleWorkspace:
    """Connector of source type google_workspace_admin."""

    def __init__(
        self,
        *,
        base_url: str = "https://admin.googleapis.com",
        token_url: str = GOOGLE_TOKEN_URL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url, self._token_url, self._now = base_url, token_url, now

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        customer = text_setting(config, "customerId", r"[A-Za-z0-9_]{1,100}")
        administrator = text_setting(config, "adminEmail", r"[^@\s]{1,100}@[A-Za-z0-9.-]{1,200}", "")
        applications = names_setting(config, "applications", r"[a-z][a-z0-9_]{0,60}", _APPLICATIONS)
        now = self._now()
        caller = await service_account_caller(
            session, _NAME, secret, scopes=[_SCOPE], now=now, token_url=self._token_url, subject=administrator or None
        )

        async def read(application: str, window: Window, size: int) -> Page:
            params = {"startTime": when(window.start), "endTime": when(window.end), "maxResults": str(size)}
            if customer != "my_customer":  # the alias of other Google APIs: here it is meant by leaving it out
                params["customerId"] = customer
            if window.page is not None:
                params["pageToken"] = str(window.page)
            url = f"{self._base_url}/admin/reports/v1/activity/users/all/applications/{quote(application, safe='')}"
            answer = members_of(_NAME, caller.decode((await caller.send("GET", url, params=params)).body))
            items = objects_in(_NAME, answer.get("items"))
            events = [event for item in items for event in _events(application, item)]
            return Page(events=events, next=answer.get("nextPageToken") or None, records=len(items))

        return await read_windows(applications, cursor, limit, now=now, policy=_POLICY, read=read)


def _events(application: str, activity: Mapping[str, Any]) -> list[LogEvent]:
    """An activity holds one or more events; its id is unique by time and qualifier."""
    identity, actor = object_at(activity, "id"), object_at(activity, "actor")
    at = read_time(identity.get("time"))
    if at is None or not identity.get("uniqueQualifier"):
        raise AnswerUnusable(f"{_NAME} sent an activity without time or qualifier.")
    found = []
    for index, event in enumerate(objects_in(_NAME, activity.get("events"))):
        parameters = _parameters(event)
        found.append(
            log_event(
                event_id=f"{application}:{identity['time']}:{identity['uniqueQualifier']}:{index}",
                at=at,
                action=event.get("name"),
                actor=actor.get("email") or actor.get("key") or actor.get("profileId"),
                target=_target(parameters),
                outcome=_outcome(event),
                attributes={
                    "application": application,
                    "type": event.get("type"),
                    "ip_address": activity.get("ipAddress"),
                    "actor": {"profile_id": actor.get("profileId"), "caller_type": actor.get("callerType")},
                    "parameters": parameters,
                },
            )
        )
    return found


def _parameters(event: Mapping[str, Any]) -> dict[str, object]:
    """Name to value; each parameter carries its value under a name by type."""
    found: dict[str, object] = {}
    for parameter in objects_in(_NAME, event.get("parameters")):
        kinds = ("value", "intValue", "boolValue", "multiValue", "multiIntValue", "messageValue", "multiMessageValue")
        value = next((parameter[kind] for kind in kinds if kind in parameter), None)
        found[str(parameter.get("name", ""))] = value
    return found


def _target(parameters: Mapping[str, object]) -> object:
    names = ("USER_EMAIL", "GROUP_EMAIL", "doc_title", "app_name", "SETTING_NAME", "affected_email_address")
    return next((parameters[name] for name in names if parameters.get(name)), "")


def _outcome(event: Mapping[str, Any]) -> Outcome:
    """Reports say what happened, so an event is a success unless its name says that something failed."""
    name = str(event.get("name", "")).lower()
    if name.endswith(("_failure", "_failed", "_blocked", "_denied")):
        return "failure"
    return "success" if name else "unknown"
