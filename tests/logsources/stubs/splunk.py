"""Splunk's search export and HTTP Event Collector, as the REST API reference says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

SEARCH_TOKEN = "eyJraWQ.search-token"
HEC_TOKEN = "b0221cd8-c4b4-465a-9a3c-273e3a75aa29"


class Splunk:
    """State of the stub: events with index time; understands just the one shape of SPL that the connector sends."""

    def __init__(self, *, version_2: bool = True, search: bool = True, collector: bool = False) -> None:
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.written: list[dict[str, Any]] = []
        self.searches: list[dict[str, str]] = []
        self.fatal: str | None = None
        self._version_2, self._search, self._collector = version_2, search, collector

    def app(self) -> web.Application:
        app = web.Application()
        if self._search:
            app.router.add_post("/services/search/jobs/export", self.export)
            if self._version_2:
                app.router.add_post("/services/search/v2/jobs/export", self.export)
        if self._collector:
            app.router.add_get("/services/collector/health", self.health)
            app.router.add_post("/services/collector/event", self.collect)
        return app

    async def export(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {SEARCH_TOKEN}":
            return web.json_response(
                {"messages": [{"type": "WARN", "text": "call not properly authenticated"}]}, status=401
            )
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.searches.append(form)
        if self.fatal:
            return web.Response(text=json.dumps({"messages": [{"type": "FATAL", "text": self.fatal}]}))
        spl = form["search"]
        start, end = re.search(r"_indextime>=(\d+) AND _indextime<(\d+)", spl).groups()  # type: ignore[union-attr]
        after = re.search(r'_indextime=(\d+) AND bailiwick_key>"(.*?)"', spl)
        place = (int(after[1]), after[2]) if after else (0, "")
        size = int(re.search(r"sort (\d+) ", spl)[1])  # type: ignore[index]
        keyed = [
            (indexed, f"idx1/main~7~A1/{result['_cd']}", result)
            for indexed, result in self.events
            if int(start) <= indexed < int(end)
        ]
        rows = sorted((item for item in keyed if item[:2] > place), key=lambda item: item[:2])[:size]
        lines = [
            {
                "preview": False,
                "offset": offset,
                "result": {**result, "_indextime": str(indexed), "_bkt": "main~7~A1", "bailiwick_key": key},
            }
            for offset, (indexed, key, result) in enumerate(rows)
        ]
        return web.Response(text="\n".join(json.dumps(line) for line in lines) or '{"preview":false,"lastrow":true}')

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"text": "HEC is healthy", "code": 17})

    async def collect(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Splunk {HEC_TOKEN}":
            return web.json_response({"text": "Invalid token", "code": 4}, status=403)
        self.written.append(await request.json())
        return web.json_response({"text": "Success", "code": 0})


def result(number: int, at: datetime, **fields: Any) -> dict[str, Any]:
    """An event of index _audit, as an export gives it."""
    return {
        "_time": at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "_cd": f"7:{number:04d}",
        "_raw": "Audit:[...]",
        "host": "sh1",
        "index": "_audit",
        "sourcetype": "audittrail",
        "splunk_server": "idx1",
        "user": "admin",
        "action": "edit_user",
        "info": "granted",
        **fields,
    }
