"""Keys of a LiteLLM proxy, through its key API: generate, update, delete, info (docs.litellm.ai, virtual keys).

A key's alias there is our public key id, so that a key whose making was interrupted can be found and deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from bailiwick.billing.plans import MICROS_PER_USD
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.outbound import Outbound, OutboundResponse
from bailiwick.kernel.runtime import runtime

_TIMEOUT_SECONDS = 10


class GatewayFailed(Exception):
    """The proxy did not answer, or refused. Says nothing of whether it did what was asked."""


class IssuedKey(msgspec.Struct, frozen=True):
    """A key just made: the raw key, and the id under which the proxy keeps it (the hash of it)."""

    raw: str
    external_id: str

    def __repr__(self) -> str:
        return "IssuedKey(***)"


def is_configured() -> bool:
    """Whether this installation's virtual keys come from a LiteLLM proxy."""
    return runtime().settings.litellm_url is not None


async def generate_key(alias: str, *, budget_micros: int, period_days: int, metadata: Mapping[str, str]) -> IssuedKey:
    """Makes a key with a budget of micro-dollars that starts anew every `period_days`. Raises GatewayFailed."""
    body = {
        "key_alias": alias,
        "max_budget": budget_micros / MICROS_PER_USD,
        "budget_duration": f"{period_days}d",
        "metadata": dict(metadata),
    }
    answer = _object(await _call("POST", "/key/generate", body))
    raw = answer.get("key")
    if not isinstance(raw, str) or not raw:
        raise GatewayFailed("the answer holds no key")
    return IssuedKey(raw, sha256(raw.encode()).hexdigest())


async def update_budget(raw: str, *, budget_micros: int, period_days: int, anew: bool) -> None:
    """Sets a key's budget; `anew` also sets what it has spent to nothing. Raises GatewayFailed."""
    body: dict[str, Any] = {
        "key": raw,
        "max_budget": budget_micros / MICROS_PER_USD,
        "budget_duration": f"{period_days}d",
    }
    if anew:
        body["spend"] = 0
    _object(await _call("POST", "/key/update", body))


async def delete_key(*, raw: str | None = None, alias: str | None = None) -> None:
    """Deletes a key; one that the proxy does not know counts as deleted. Raises GatewayFailed."""
    body = {"keys": [raw]} if raw is not None else {"key_aliases": [alias]}
    answer = await _call("POST", "/key/delete", body, accept=(200, 404))
    if answer.status == 404 and not _is_litellm_error(answer):
        raise GatewayFailed("the address is not that of a LiteLLM proxy")


async def budget_left_micros(raw: str) -> int | None:
    """What the key may still spend, in micro-dollars; None when it has no limit there. Raises GatewayFailed."""
    # By its hash: an address stands in access logs.
    answer = _object(await _call("GET", "/key/info", params={"key": sha256(raw.encode()).hexdigest()}))
    info = answer.get("info")
    limit, spend = (info.get("max_budget"), info.get("spend")) if isinstance(info, dict) else (None, None)
    if not isinstance(limit, int | float) or not isinstance(spend, int | float):
        return None
    return max(0, int(limit * MICROS_PER_USD) - round(spend * MICROS_PER_USD))


@contextlib.asynccontextmanager
async def operator_outbound(url: str) -> AsyncIterator[Outbound]:
    """A client for one server that the operator configured, which may be private; nobody else can name it."""
    client = runtime().outbound.allowing([url])
    try:
        yield client
    finally:
        await client.close()


async def _call(
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    params: Mapping[str, str] | None = None,
    accept: tuple[int, ...] = (200,),
) -> OutboundResponse:
    settings = runtime().settings
    url = (settings.litellm_url or "").rstrip("/")
    headers = {}
    if settings.litellm_master_key is not None:
        headers["authorization"] = f"Bearer {settings.litellm_master_key.get_secret_value()}"
    try:
        async with operator_outbound(url) as outbound:
            answer = await outbound.request(
                method, url + path, headers=headers, params=params, json=body, timeout_seconds=_TIMEOUT_SECONDS
            )
    except BailiwickError as error:
        raise GatewayFailed(error.message) from None
    if answer.status not in accept:
        raise GatewayFailed(f"{path} answered {answer.status}")
    return answer


def _object(answer: OutboundResponse) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
    if not isinstance(decoded, dict):
        raise GatewayFailed("the answer is no JSON object")
    return decoded


def _is_litellm_error(answer: OutboundResponse) -> bool:
    """Whether a 404 speaks of the key (`error` or `detail` with a message of keys), not of the address."""
    return b"key" in answer.body.lower()
