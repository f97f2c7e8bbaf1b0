"""Microsoft's token endpoint, Management Activity API and Log Analytics query API, as their public references say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

TENANT = "3f2a1b6c-0d4e-4f5a-8b9c-0123456789ab"
WORKSPACE = "7c1d9f00-1111-4222-8333-944455566677"
CLIENT = {"client_id": "11111111-2222-3333-4444-555555555555", "client_secret": "wr0ng-if-shown~Aa1"}


class Microsoft:
    """State of the stub: blobs by content type with the time at which they became available, rows by table."""

    def __init__(self) -> None:
        self.blobs: dict[str, list[tuple[datetime, str, list[dict[str, Any]]]]] = {}
        self.tables: dict[str, list[tuple[datetime, dict[str, Any]]]] = {}
        self.subscribed: set[str] = set()
        self.expired: set[str] = set()
        self.page_size = 2
        self.requests: list[str] = []
        self.answers: list[web.Response] = []
        """Answers given before the real ones, to API requests (not to token requests)."""
        self.foreign_content_uri = False
        self.partial = False

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self.token)
        feed = f"/api/v1.0/{TENANT}/activity/feed"
        app.router.add_post(feed + "/subscriptions/start", self.start)
        app.router.add_get(feed + "/subscriptions/content", self.content)
        app.router.add_get(feed + "/audit/{blob}", self.blob)
        app.router.add_post(f"/v1/workspaces/{WORKSPACE}/query", self.query)
        return app

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("grant_type") != "client_credentials" or form.get("client_secret") != CLIENT["client_secret"]:
            body = {
                "error": "invalid_client",
                "error_description": f"AADSTS7000215: Invalid client secret provided: {form.get('client_secret')!r}",
            }
            return web.json_response(body, status=401)
        self._audience = str(form["scope"]).removesuffix("/.default")
        claims = base64.urlsafe_b64encode(json.dumps({"tid": TENANT, "aud": self._audience}).encode()).decode()
        self._token = f"e30.{claims.rstrip('=')}.c2ln"
        return web.json_response({"token_type": "Bearer", "expires_in": 3599, "access_token": self._token})

    def _refused(self, request: web.Request, audience: str) -> web.Response | None:
        self.requests.append(f"{request.method} {request.path_qs}")
        if request.headers.get("Authorization") != f"Bearer {self._token}" or self._audience != audience:
            return web.json_response({"error": {"code": "AF10001", "message": "no permission"}}, status=401)
        return self.answers.pop(0) if self.answers else None

    async def start(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request, "https://manage.office.com")) is not None:
            return refused
        content_type = request.query["contentType"]
        if content_type in self.subscribed:
            return _error("AF20024", "The subscription is already enabled. No property change.")
        self.subscribed.add(content_type)
        return web.json_response({"contentType": content_type, "status": "enabled", "webhook": None})

    async def content(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request, "https://manage.office.com")) is not None:
            return refused
        content_type = request.query["contentType"]
        if content_type not in self.subscribed:
            return _error("AF20022", "No subscription found for the specified content type")
        start, end = (datetime.fromisoformat(request.query[name] + "+00:00") for name in ("startTime", "endTime"))
        if end - start > timedelta(hours=24):
            return _error("AF20030", "startTime and endTime must be less than or equal to 24 hours apart")
        listed = [blob for blob in self.blobs.get(content_type, []) if start <= blob[0] < end]
        first = int(request.query.get("nextPage", "0"))
        origin = "https://elsewhere.example" if self.foreign_content_uri else str(request.url.origin())
        items = [
            {
                "contentType": content_type,
                "contentId": name,
                "contentUri": f"{origin}/api/v1.0/{TENANT}/activity/feed/audit/{name}",
                "contentCreated": at.isoformat(),
                "contentExpiration": (at + timedelta(days=7)).isoformat(),
            }
            for at, name, _ in listed[first : first + self.page_size]
        ]
        headers = {}
        if first + self.page_size < len(listed):
            following = request.url.update_query(nextPage=str(first + self.page_size))
            headers["NextPageUri"] = str(following)
        return web.json_response(items, headers=headers)

    async def blob(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request, "https://manage.office.com")) is not None:
            return refused
        name = request.match_info["blob"]
        if name in self.expired:
            return _error("AF20051", f"Content requested with the key {name} has already expired.")
        return web.json_response(next(r for blobs in self.blobs.values() for _, n, r in blobs if n == name))

    async def query(self, request: web.Request) -> web.Response:
        """Understands just the one shape of KQL that the connector sends."""
        if (refused := self._refused(request, "https://api.loganalytics.io")) is not None:
            return refused
        kql = (await request.json())["query"]
        table = kql.split("\n", 1)[0]
        start, end = re.findall(r"ingestion_time\(\) [><]=? datetime\((.*?)\)", kql)
        take = int(re.search(r"take (\d+)$", kql)[1])  # type: ignore[index]
        after = re.search(r"strcmp\(bailiwick_key, '(.*?)'\) > 0", kql)
        place = (re.search(r"bailiwick_ingested > datetime\((.*?)\)", kql)[1], after[1]) if after else ("", "")  # type: ignore[index]
        keyed = []
        for at, row in self.tables.get(table, []):
            if datetime.fromisoformat(start) <= at < datetime.fromisoformat(end):
                # Kusto writes seven digits.
                keyed.append((at.strftime("%Y-%m-%dT%H:%M:%S.%f0Z"), _digest(at, row), row))
        rows = sorted(((at, key, row) for at, key, row in keyed if (at, key) > place), key=lambda item: item[:2])[:take]
        names = sorted({name for _, _, row in rows for name in row})
        body: dict[str, Any] = {
            "tables": [
                {
                    "name": "PrimaryResult",
                    "columns": [{"name": n, "type": "string"} for n in [*names, "bailiwick_key", "bailiwick_ingested"]],
                    "rows": [[*(row.get(name) for name in names), key, at] for at, key, row in rows],
                }
            ]
        }
        if self.partial:
            body["error"] = {"code": "PartialError", "message": "There were some errors when processing your query."}
        return web.json_response(body)


def _digest(at: datetime, row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([at.isoformat(), row], sort_keys=True).encode()).hexdigest()


def _error(code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=400)


def audit_record(number: int, at: datetime, **members: Any) -> dict[str, Any]:
    """A record in the Management Activity API's common schema."""
    return {
        "Id": f"00000000-0000-4000-8000-{number:012d}",
        "CreationTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "Operation": "UserLoggedIn",
        "OrganizationId": TENANT,
        "RecordType": 15,
        "ResultStatus": "Success",
        "UserKey": "10030000",
        "UserType": 0,
        "Workload": "AzureActiveDirectory",
        "ClientIP": "203.0.113.7",
        "UserId": "ana@contoso.example",
        "ObjectId": "app-1",
        **members,
    }
