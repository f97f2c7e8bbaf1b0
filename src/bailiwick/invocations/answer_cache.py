"""Answers that are repeated to exactly the same request: found by a hash of it, sealed at rest, one store for all
processes. Off unless a key's `cache_seconds` says otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import text

from bailiwick.invocations.deployments import Deployment
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.crypto import SealBroken
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.runtime import runtime

MOST_BYTES = 256 * 1024
"""Of an answer; a longer one is not kept."""
_MOST_WAITING = 256
_OF_ANSWER = ("anthropic-version", "anthropic-beta", "openai-beta")
"""Header fields of a client's that change what a provider answers."""
_sorted = msgspec.json.Encoder(order="sorted")
_log = structlog.get_logger(__name__)

# The key is looked at once more, so that a change of its setting holds in every process at once.
_FIND = text(
    "select a.content, a.provider, a.model, a.input_tokens, a.output_tokens, a.cached_tokens, a.reasoning_tokens,"
    " a.cost_micros from cached_answers a"
    " join virtual_keys k on k.organization_id = a.organization_id and k.id = a.virtual_key_id"
    " where a.organization_id = :organization_id and a.virtual_key_id = :virtual_key_id"
    " and a.request_hash = :request_hash and k.revoked_at is null"
    " and least(a.expires_at, a.created_at + make_interval(secs => k.cache_seconds)) > clock_timestamp()"
)
_KEEP = text(
    "insert into cached_answers (organization_id, virtual_key_id, request_hash, kind, is_stream, content, provider,"
    " model, input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_micros, created_at, expires_at)"
    " select k.organization_id, k.id, :request_hash, :kind, :is_stream, :content, :provider, :model, :input_tokens,"
    " :output_tokens, cast(:cached_tokens as bigint), cast(:reasoning_tokens as bigint), :cost_micros,"
    " clock_timestamp(), clock_timestamp() + make_interval(secs => k.cache_seconds)"
    " from virtual_keys k where k.organization_id = :organization_id and k.id = :virtual_key_id"
    " and k.cache_seconds > 0 and k.revoked_at is null and k.deleted_at is null for share"
    " on conflict (organization_id, virtual_key_id, request_hash) do update set content = excluded.content,"
    " provider = excluded.provider, model = excluded.model, input_tokens = excluded.input_tokens,"
    " output_tokens = excluded.output_tokens, cached_tokens = excluded.cached_tokens,"
    " reasoning_tokens = excluded.reasoning_tokens, cost_micros = excluded.cost_micros,"
    " created_at = excluded.created_at, expires_at = excluded.expires_at"
)
_FORGET = text(
    "delete from cached_answers where (organization_id, virtual_key_id, request_hash) in ("
    " select organization_id, virtual_key_id, request_hash from cached_answers where expires_at <= clock_timestamp()"
    " order by expires_at limit :most for update skip locked) returning 1"
)


class CachePlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the answer to one request of one key stands."""

    organization_id: UUID
    virtual_key_id: UUID
    request_hash: bytes
    kind: str
    is_stream: bool

    @property
    def _seal(self) -> str:
        return f"{self.organization_id}:{self.virtual_key_id}:{self.request_hash.hex()}"


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What went out after inspection (a body, or all events of a stream), and what it took to make it."""

    content: bytes
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_micros: int


def request_hash(
    kind: str, body: Mapping[str, Any], headers: Mapping[str, str], deployments: Sequence[Deployment]
) -> bytes:
    """SHA-256 of all that decides an answer: the form, every member of the body whatever their order, the header fields
    of the provider's protocol, and the deployments that may answer."""
    decides = {
        "kind": kind,
        "body": body,
        "headers": {name: headers[name] for name in _OF_ANSWER if name in headers},
        "deployments": sorted((place.provider, place.model, place.base_url) for place in deployments),
    }
    return hashlib.sha256(_sorted.encode(decides)).digest()


def cache_directives(headers: Mapping[str, str]) -> frozenset[str]:
    """What a request's `Cache-Control` asks for (RFC 9111 §5.2.1)."""
    return frozenset(directive.strip().lower() for directive in headers.get("cache-control", "").split(","))


class AnswerCache:
    """One process's way to the answers that all processes share. Answers are written behind their callers' backs, one
    by one; under more than that can take, some are not kept."""

    def __init__(self, most_waiting: int = _MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[CachePlace, KeptAnswer]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def find(self, place: CachePlace) -> KeptAnswer | None:
        """The answer that stands there and is still good."""
        async with tenant_transaction(place.organization_id) as session:
            row = (
                await session.execute(
                    _FIND,
                    {
                        "organization_id": place.organization_id,
                        "virtual_key_id": place.virtual_key_id,
                        "request_hash": place.request_hash,
                    },
                )
            ).one_or_none()
        if row is None:
            return None
        try:
            content = runtime().sealer("cached_answers").open(row.content, place._seal)
        except SealBroken:  # of another installation key: as good as none
            return None
        return KeptAnswer(**{**row._mapping, "content": content})

    def keep(self, place: CachePlace, answer: KeptAnswer) -> None:
        """Keeps an answer, soon. One that is too long is not kept."""
        if len(answer.content) > MOST_BYTES or len(self._waiting) >= self._most_waiting:
            return
        self._waiting.append((place, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                place, answer = self._waiting.popleft()
                try:
                    await _keep(place, answer)
                except Exception as error:
                    _log.warning("answer_not_cached", error=type(error).__name__)
        finally:
            self._writer = None

    async def close(self) -> None:
        """Writes what is waiting."""
        while self._writer is not None:
            await asyncio.wait((self._writer,))


async def _keep(place: CachePlace, answer: KeptAnswer) -> None:
    row = msgspec.structs.asdict(place) | msgspec.structs.asdict(answer)
    row["content"] = runtime().sealer("cached_answers").seal(answer.content, place._seal)
    async with tenant_transaction(place.organization_id) as session:
        await session.execute(_KEEP, row)


async def forget_expired_answers(most: int = 1000) -> int:
    """Deletes answers that are good no more, in pieces; how many. Safe to run anywhere, any time."""
    deleted = 0
    while True:
        async with system_transaction(CrossTenantUse.MAINTENANCE) as session:
            some = len((await session.execute(_FORGET, {"most": most})).all())
        deleted += some
        if some < most:
            return deleted
