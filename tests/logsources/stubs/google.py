"""Google's token endpoint, Reports API, Cloud Logging and Secret Manager, as their public references say."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

ACCOUNT = "reader@project.iam.gserviceaccount.com"


@cache
def private_key() -> str:
    """One key for the whole run: making it is slow."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def account_key(**members: str) -> str:
    """A service account key as the console hands it out."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "key-1",
            "private_key": private_key(),
            "client_email": ACCOUNT,
            "token_uri": "https://elsewhere.example/token",
            **members,
        }
    )


class Google:
    """State of the stub. A token is good for the scopes of its assertion only."""

    def __init__(self) -> None:
        self.activities: dict[str, list[dict[str, Any]]] = {}
        self.entries: list[dict[str, Any]] = []
        self.secrets: dict[str, bytes] = {}
        self.requests: list[dict[str, Any]] = []
        self.assertions: list[dict[str, Any]] = []
        self.answers: list[web.Response] = []
        self.forever = False

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/token", self.token)
        app.router.add_get("/admin/reports/v1/activity/users/all/applications/{application}", self.list_activities)
        app.router.add_post("/v2/entries:list", self.list_entries)
        app.router.add_get("/v1/projects/{project}/secrets/{secret}/versions/latest:access", self.access)
        return app

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        try:
            if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
                raise ValueError("unsupported_grant_type")
            token = jwt.decode(str(form["assertion"]), RSAKey.import_key(private_key()), algorithms=["RS256"])
            claims = token.claims
            if claims["aud"] != str(request.url) or claims["iss"] != ACCOUNT or token.header.get("kid") != "key-1":
                raise ValueError("wrong claims")
            if not 0 < claims["exp"] - claims["iat"] <= 3600:
                raise ValueError("wrong lifetime")
        except Exception:
            return web.json_response({"error": "invalid_grant", "error_description": "Invalid JWT"}, status=400)
        self.assertions.append(claims)
        return web.json_response(
            {"access_token": "ya29." + claims["scope"], "expires_in": 3599, "token_type": "Bearer"}
        )

    def _refused(self, request: web.Request, scope: str) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer ya29.https://www.googleapis.com/auth/{scope}":
            body = {"error": {"code": 401, "message": "Invalid Credentials", "status": "UNAUTHENTICATED"}}
            return web.json_response(body, status=401)
        return self.answers.pop(0) if self.answers else None

    async def list_activities(self, request: web.Request) -> web.Response:
        self.requests.append(dict(request.query))
        if (refused := self._refused(request, "admin.reports.audit.readonly")) is not None:
            return refused
        start, end = (datetime.fromisoformat(request.query[name]) for name in ("startTime", "endTime"))
        found = [
            activity
            for activity in self.activities.get(request.match_info["application"], [])
            if start <= datetime.fromisoformat(activity["id"]["time"]) < end
        ]
        found.sort(key=lambda activity: activity["id"]["time"], reverse=True)
        first, size = int(request.query.get("pageToken", "0")), int(request.query["maxResults"])
        body: dict[str, Any] = {"kind": "admin#reports#activities", "items": found[first : first + size]}
        if self.forever:
            body["nextPageToken"] = "0"
        elif first + size < len(found):
            body["nextPageToken"] = str(first + size)
        return web.json_response(body)

    async def list_entries(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        if (refused := self._refused(request, "logging.read")) is not None:
            return refused
        start = datetime.fromisoformat(re.search(r'receiveTimestamp>="(.*?)"', body["filter"])[1])  # type: ignore[index]
        end = datetime.fromisoformat(re.search(r'receiveTimestamp<"(.*?)"', body["filter"])[1])  # type: ignore[index]
        found = [e for e in self.entries if start <= datetime.fromisoformat(e["receiveTimestamp"]) < end]
        found.sort(key=lambda entry: entry["timestamp"])
        first, size = int(body.get("pageToken", "0")), body["pageSize"]
        answer: dict[str, Any] = {"entries": found[first : first + size]}
        if first + size < len(found):
            answer["nextPageToken"] = str(first + size)
        return web.json_response(answer)

    async def access(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request, "cloud-platform")) is not None:
            return refused
        name = request.match_info["secret"]
        if name not in self.secrets:
            return web.json_response({"error": {"code": 404, "status": "NOT_FOUND"}}, status=404)
        data = base64.b64encode(self.secrets[name]).decode()
        return web.json_response({"name": f"projects/1/secrets/{name}/versions/3", "payload": {"data": data}})


def activity(qualifier: int, at: datetime, *names: str) -> dict[str, Any]:
    """An activity of the Reports API with one event for each name."""
    return {
        "kind": "admin#reports#activity",
        "id": {
            "time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "uniqueQualifier": str(qualifier),
            "applicationName": "login",
            "customerId": "C03az79cb",
        },
        "actor": {"email": "ana@example.com", "profileId": "1001"},
        "ipAddress": "203.0.113.9",
        "events": [
            {
                "type": "login",
                "name": name,
                "parameters": [
                    {"name": "login_type", "value": "exchange"},
                    {"name": "is_suspicious", "boolValue": False},
                    {"name": "login_challenge_method", "multiValue": ["password", "security_key"]},
                ],
            }
            for name in names
        ],
    }


def entry(number: int, at: datetime, received: datetime, **payload: Any) -> dict[str, Any]:
    """A LogEntry of the admin activity log."""
    return {
        "insertId": f"ins{number}",
        "logName": "projects/acme-1/logs/cloudaudit.googleapis.com%2Factivity",
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "receiveTimestamp": received.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "severity": "NOTICE",
        "resource": {"type": "project", "labels": {"project_id": "acme-1"}},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "cloudresourcemanager.googleapis.com",
            "methodName": "SetIamPolicy",
            "resourceName": "projects/acme-1",
            "authenticationInfo": {"principalEmail": "ana@example.com"},
            "requestMetadata": {"callerIp": "203.0.113.5"},
            **payload,
        },
    }
