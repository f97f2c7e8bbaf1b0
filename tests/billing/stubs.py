"""A LiteLLM proxy's key API and Stripe's subscriptions on loopback, shaped by their public documentation."""

from __future__ import annotations

import asyncio
import secrets
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class _Server:
    """A server on a free loopback port for the length of a `with`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.url = ""
        self._application = web.Application()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self._application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


class LiteLLMStub(_Server):
    """`/key/generate`, `/key/delete`, `/key/update`, `/key/info` (docs.litellm.ai/docs/proxy/virtual_keys).

    `broken` answers 500 to the named paths; `deaf` does what is asked and answers 500 all the same.
    """

    def __init__(self, master_key: str) -> None:
        super().__init__()
        self.keys: dict[str, dict[str, Any]] = {}
        self.broken: set[str] = set()
        self.deaf: set[str] = set()
        self.together: asyncio.Barrier | None = None
        self.issued = asyncio.Event()
        self._master_key = master_key
        self._application.router.add_post("/key/generate", self._generate)
        self._application.router.add_post("/key/delete", self._delete)
        self._application.router.add_post("/key/update", self._update)
        self._application.router.add_get("/key/info", self._info)

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.calls.append(request.path)
        if request.headers.get("authorization") != f"Bearer {self._master_key}":
            return web.json_response({"error": {"message": "Authentication Error", "code": "401"}}, status=401)
        if request.path in self.broken:
            return web.json_response({"error": {"message": "Internal Server Error", "code": "500"}}, status=500)
        return None

    def _answer(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        if request.path in self.deaf:
            return web.json_response({"error": {"message": "Internal Server Error", "code": "500"}}, status=500)
        return web.json_response(body)

    def _find(self, key: str) -> dict[str, Any] | None:
        return self.keys.get(key if not key.startswith("sk-") else sha256(key.encode()).hexdigest())

    async def _generate(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        body = await request.json()
        if any(key["key_alias"] == body["key_alias"] for key in self.keys.values()):
            return web.json_response({"error": {"message": "Key with alias already exists."}}, status=400)
        raw = f"sk-{secrets.token_urlsafe(16)}"
        token = sha256(raw.encode()).hexdigest()
        self.keys[token] = {**body, "spend": 0.0, "raw": raw}
        self.issued.set()
        if self.together is not None:
            await self.together.wait()
        return self._answer(request, {"key": raw, "token": token, "token_id": token, "key_alias": body["key_alias"]})

    async def _delete(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        body = await request.json()
        aliases = body.get("key_aliases") or []
        tokens = [token for token, key in self.keys.items() if key["key_alias"] in aliases]
        tokens += [sha256(key.encode()).hexdigest() for key in body.get("keys") or []]
        if not any(token in self.keys for token in tokens):
            return web.json_response({"error": {"message": "{'error': 'No keys found'}", "code": "404"}}, status=404)
        for token in tokens:
            self.keys.pop(token, None)
        return self._answer(request, {"deleted_keys": body.get("keys") or aliases})

    async def _update(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        body = await request.json()
        key = self._find(body.pop("key"))
        if key is None:
            return web.json_response({"error": {"message": "Key not found"}}, status=404)
        key.update(body)
        return self._answer(request, {"key": "hash", **body})

    async def _info(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        key = self._find(request.query["key"])
        if key is None:
            return web.json_response({"error": {"message": "Key not found in database"}}, status=404)
        info = {name: value for name, value in key.items() if name != "raw"}
        return self._answer(request, {"key": request.query["key"], "info": info})


class StripeStub(_Server):
    """`GET /v1/subscriptions/{id}` (docs.stripe.com/api/subscriptions/retrieve)."""

    def __init__(self, api_key: str) -> None:
        super().__init__()
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.down = False
        self._api_key = api_key
        self._application.router.add_get("/v1/subscriptions/{id}", self._retrieve)

    async def _retrieve(self, request: web.Request) -> web.Response:
        self.calls.append(request.path)
        if request.headers.get("authorization") != f"Bearer {self._api_key}":
            return web.json_response({"error": {"type": "invalid_request_error", "message": "No key"}}, status=401)
        if self.down:
            return web.json_response({"error": {"type": "api_error", "message": "down"}}, status=500)
        known = self.subscriptions.get(request.match_info["id"])
        if known is None:
            missing = {"type": "invalid_request_error", "code": "resource_missing", "message": "No such subscription"}
            return web.json_response({"error": missing}, status=404)
        return web.json_response(known)
