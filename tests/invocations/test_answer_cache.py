"""The store of answers: what is found, what is kept, what is forgotten."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from bailiwick import identity
from bailiwick.identity import KeySettings
from bailiwick.invocations import forget_expired_answers
from bailiwick.invocations.answer_cache import (
    MOST_BYTES,
    AnswerCache,
    CachePlace,
    KeptAnswer,
    cache_directives,
    request_hash,
)
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from tests.invocations.conftest import Tenant, make_tenant

ANSWER = KeptAnswer(
    content=b'{"said": "Hello."}',
    provider="openai",
    model="stub-1",
    input_tokens=7,
    output_tokens=3,
    cached_tokens=None,
    reasoning_tokens=2,
    cost_micros=13,
)


async def key_of(tenant: Tenant, cache_seconds: int = 600) -> UUID:
    """A key with a cache."""
    async with tenant_transaction(tenant.organization_id) as session:
        key, _ = await identity.create_virtual_key(
            session,
            tenant.organization_id,
            membership_id=None,
            label="test",
            settings=KeySettings(cache_seconds=cache_seconds),
        )
        return key.id


def place_of(tenant: Tenant, key_id: UUID, body: str = "a") -> CachePlace:
    """Where the answer to a request stands."""
    return CachePlace(
        organization_id=tenant.organization_id,
        virtual_key_id=key_id,
        request_hash=request_hash("chat", {"x": body}, {}, ()),
        kind="chat",
        is_stream=False,
    )


async def run(statement: str, **parameters: object) -> list[Any]:
    """A statement over all organisations."""
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        return list((await session.execute(text(statement), parameters)).all())


async def test_what_is_kept_is_found_as_it_was(tenant: Tenant) -> None:
    place, cache = place_of(tenant, await key_of(tenant)), AnswerCache()
    assert await cache.find(place) is None
    cache.keep(place, ANSWER)
    await cache.close()
    assert await AnswerCache().find(place) == ANSWER
    newer = msgspec.structs.replace(ANSWER, content=b"{}", cost_micros=0)
    cache.keep(place, newer)
    await cache.close()
    assert await cache.find(place) == newer


async def test_another_place_finds_nothing(tenant: Tenant) -> None:
    key_id, cache = await key_of(tenant), AnswerCache()
    cache.keep(place_of(tenant, key_id), ANSWER)
    await cache.close()
    other = await make_tenant()
    for place in (
        place_of(tenant, key_id, "b"),
        place_of(tenant, await key_of(tenant)),
        place_of(other, await key_of(other)),
        place_of(other, key_id),
    ):
        assert await cache.find(place) is None
    async with tenant_transaction(other.organization_id) as session:
        assert (await session.execute(text("select count(*) from cached_answers"))).scalar_one() == 0


async def test_the_longest_answer_is_kept_and_a_longer_one_is_not(tenant: Tenant) -> None:
    key_id, cache = await key_of(tenant), AnswerCache()
    for size in (MOST_BYTES, MOST_BYTES + 1):
        cache.keep(place_of(tenant, key_id, str(size)), msgspec.structs.replace(ANSWER, content=b"x" * size))
    await cache.close()
    assert await cache.find(place_of(tenant, key_id, str(MOST_BYTES))) is not None
    assert await cache.find(place_of(tenant, key_id, str(MOST_BYTES + 1))) is None


async def test_more_than_can_be_written_is_let_go(tenant: Tenant) -> None:
    key_id, cache = await key_of(tenant), AnswerCache(most_waiting=3)
    for number in range(10):
        cache.keep(place_of(tenant, key_id, str(number)), ANSWER)
    await cache.close()
    assert await run("select count(*) from cached_answers") == [(3,)]


@pytest.mark.parametrize(
    "change", ["cache_seconds = 0", "revoked_at = now()", "deleted_at = now()", "cache_seconds = 5"]
)
async def test_a_key_s_change_reaches_what_was_kept_before(tenant: Tenant, change: str) -> None:
    key_id, cache = await key_of(tenant), AnswerCache()
    cache.keep(place_of(tenant, key_id), ANSWER)
    await cache.close()
    await run("update cached_answers set created_at = created_at - interval '10 seconds' returning 1")
    await run(f"update virtual_keys set {change} where id = :id returning 1", id=key_id)  # noqa: S608 - from above
    assert await cache.find(place_of(tenant, key_id)) is None
    if change != "cache_seconds = 5":
        cache.keep(place_of(tenant, key_id), ANSWER)  # it was under way when the key changed
        await cache.close()
        assert await run("select 1 from cached_answers") == []


async def test_expired_answers_are_deleted(tenant: Tenant) -> None:
    key_id, cache = await key_of(tenant), AnswerCache()
    for number in range(5):
        cache.keep(place_of(tenant, key_id, str(number)), ANSWER)
    await cache.close()
    await run(
        "update cached_answers set expires_at = now() - interval '1 second' where request_hash <> :good returning 1",
        good=place_of(tenant, key_id, "0").request_hash,
    )
    assert await forget_expired_answers(most=2) == 4
    assert await forget_expired_answers() == 0
    assert await cache.find(place_of(tenant, key_id, "0")) == ANSWER


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def reordered(value: Any) -> Any:
    """The same JSON, its members in another order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_the_order_of_members_does_not_matter(body: dict[str, Any]) -> None:
    assert request_hash("chat", body, {}, ()) == request_hash("chat", reordered(body), {}, ())


@given(JSON, JSON)
def test_another_value_is_another_request(one: Any, other: Any) -> None:
    alike = msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
    assert (request_hash("chat", {"x": one}, {}, ()) == request_hash("chat", {"x": other}, {}, ())) is alike
    assert request_hash("chat", {"x": one}, {}, ()) != request_hash("messages", {"x": one}, {}, ())


@pytest.mark.parametrize(
    ("header", "directives"),
    [("", {""}), ("no-cache", {"no-cache"}), (" No-Store , max-age=0", {"no-store", "max-age=0"})],
)
def test_directives(header: str, directives: set[str]) -> None:
    assert cache_directives({"cache-control": header}) == directives
