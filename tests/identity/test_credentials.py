"""Keys, sessions and signing keys against the database, and revocation felt by a process that keeps callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from bailiwick import identity
from bailiwick.identity import Caller, Credential, Founder, Role, SignedUp
from bailiwick.identity.process import process_state
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.errors import NotFound, Unauthenticated
from bailiwick.kernel.runtime import runtime
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture
async def founder(db: Database) -> SignedUp:
    return await identity.sign_up(Founder(email="ann@example.com", password="passw0rd", name="Ann"))


@pytest.fixture
async def listening(db: Database) -> AsyncIterator[None]:
    """This process hears notifications, and so keeps callers; they are stopped with the runtime."""
    listener = runtime().listener
    listener.start()
    await listener.ready.wait()
    yield


async def _virtual_key(founder: SignedUp, **given: object) -> tuple[identity.VirtualKey, str]:
    async with tenant_transaction(founder.organization.id) as session:
        return await identity.create_virtual_key(
            session,
            founder.organization.id,
            membership_id=founder.member.membership_id,
            label="test",
            **given,  # type: ignore[arg-type]
        )


async def test_a_virtual_key_acts_as_the_member_who_made_it_within_its_scopes(db: Database, founder: SignedUp) -> None:
    row, plaintext = await _virtual_key(founder, scopes=("proxy",))
    caller = await identity.authenticate(plaintext)
    assert (caller.credential, caller.key_id, caller.scopes) == (Credential.VIRTUAL_KEY, row.id, ("proxy",))
    assert (caller.user_id, caller.role) == (founder.member.user_id, Role.OWNER)
    assert caller.tenant == founder.organization.id
    with psycopg.connect(db.url) as connection:
        assert connection.execute(
            "select last_used_at is not null from virtual_keys where id = %s", (row.id,)
        ).fetchone() == (True,)


async def test_a_key_that_no_member_made_speaks_for_itself(db: Database, founder: SignedUp) -> None:
    async with tenant_transaction(founder.organization.id) as session:
        _, plaintext = await identity.create_virtual_key(
            session, founder.organization.id, membership_id=None, label="hosted agents"
        )
    caller = await identity.authenticate(plaintext)
    assert caller.subject.startswith("vk_")
    assert caller.role is Role.VIEWER
    with pytest.raises(NotFound):
        await identity.read_own_member(caller)


async def test_keys_end_when_they_expire(db: Database, founder: SignedUp) -> None:
    _, plaintext = await _virtual_key(founder, expires_at=now() - timedelta(seconds=1))
    with pytest.raises(Unauthenticated):
        await identity.authenticate(plaintext)


async def test_revoking_a_key_takes_its_children_along_and_is_felt_at_once(
    db: Database, founder: SignedUp, listening: None
) -> None:
    parent, parent_text = await _virtual_key(founder)
    child, child_text = await _virtual_key(founder, parent_key_id=parent.id)
    _, grandchild_text = await _virtual_key(founder, parent_key_id=child.id)
    _, other_text = await _virtual_key(founder)
    every = (parent_text, child_text, grandchild_text, other_text)
    for text in every:
        await identity.authenticate(text)
    async with tenant_transaction(founder.organization.id) as session:
        assert len(await identity.revoke_virtual_key(session, founder.organization.id, parent.id)) == 3
    for text in every[:3]:
        with pytest.raises(Unauthenticated):
            await identity.authenticate(text)
    await identity.authenticate(other_text)
    async with tenant_transaction(founder.organization.id) as session:
        assert await identity.revoke_virtual_key(session, founder.organization.id, parent.id) == []
        with pytest.raises(NotFound):
            await identity.revoke_virtual_key(session, founder.organization.id, founder.member.membership_id)


async def test_another_organizations_key_cannot_be_revoked(db: Database, founder: SignedUp) -> None:
    other = await identity.sign_up(Founder(email="bob@example.com", password="passw0rd", name="Bob"))
    with pytest.raises(NotFound):
        async with tenant_transaction(other.organization.id) as session:
            await identity.revoke_virtual_key(session, other.organization.id, founder.key.id)
    await identity.authenticate(founder.key_plaintext)


async def test_api_keys(db: Database, founder: SignedUp, listening: None) -> None:
    async with tenant_transaction(founder.organization.id) as session:
        row, plaintext = await identity.create_api_key(
            session,
            founder.organization.id,
            membership_id=founder.member.membership_id,
            label="ci",
            scopes=("runs:read",),
        )
    caller = await identity.authenticate(plaintext)
    assert (caller.credential, caller.scopes) == (Credential.API_KEY, ("runs:read",))
    assert plaintext.startswith(row.key_prefix)
    async with tenant_transaction(founder.organization.id) as session:
        await identity.revoke_api_key(session, founder.organization.id, row.id)
    with pytest.raises(Unauthenticated):
        await identity.authenticate(plaintext)


async def test_a_revocation_by_another_process_is_heard(db: Database, founder: SignedUp, listening: None) -> None:
    """Another process is another connection that changes rows and notifies."""

    async def ends(token: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await identity.authenticate(token)
                except Unauthenticated:
                    return
                await asyncio.sleep(0.01)

    session_caller = await identity.authenticate(founder.tokens.access_token)
    key_caller = await identity.authenticate(founder.key_plaintext)
    assert await identity.authenticate(founder.tokens.access_token) is session_caller
    with psycopg.connect(db.url, autocommit=True) as elsewhere:
        elsewhere.execute("update sessions set revoked_at = now()")
        assert await identity.authenticate(founder.tokens.access_token) is session_caller
        elsewhere.execute("select pg_notify('bailiwick', %s)", (f"session:{session_caller.session_id}",))
        await ends(founder.tokens.access_token)
        elsewhere.execute("update virtual_keys set revoked_at = now()")
        elsewhere.execute("select pg_notify('bailiwick', %s)", (f"key:{key_caller.key_id}",))
        await ends(founder.key_plaintext)


async def test_touching_an_organization_raises_its_version_and_forgets_its_callers(
    db: Database, founder: SignedUp, listening: None
) -> None:
    known = await identity.authenticate(founder.key_plaintext)
    async with tenant_transaction(founder.organization.id) as session:
        await identity.touch_organization(session, founder.organization.id)
    assert await identity.authenticate(founder.key_plaintext) is not known
    async with tenant_transaction(founder.organization.id) as session:
        assert (await identity.get_organization(session, founder.organization.id)).version == 2


async def test_nothing_is_kept_while_notifications_are_not_heard(db: Database, founder: SignedUp) -> None:
    first = await identity.authenticate(founder.key_plaintext)
    assert await identity.authenticate(founder.key_plaintext) is not first
    assert len(process_state().callers) == 0


async def test_a_kept_caller_costs_no_statement(db: Database, founder: SignedUp, listening: None) -> None:
    known: Caller = await identity.authenticate(founder.tokens.access_token)
    await db.engine.dispose()
    # Nothing but the cache can answer now: the pool's next connection would go to no server at all.
    url, db.url = db.url, "postgresql://nobody@127.0.0.1:1/nothing"
    try:
        assert await identity.authenticate(founder.tokens.access_token) is known
    finally:
        db.url = url


async def test_rotation_signs_anew_and_old_tokens_stay_valid(db: Database, founder: SignedUp) -> None:
    before = await identity.published_keys()
    await identity.rotate_signing_key()
    after = await identity.published_keys()
    assert len(before) == 1
    assert len(after) == 2
    assert after[1] == before[0]
    await identity.authenticate(founder.tokens.access_token)
    renewed = await identity.refresh(founder.tokens.refresh_token)
    assert (await identity.authenticate(renewed.access_token)).session_id is not None
    with psycopg.connect(db.url, autocommit=True) as connection:
        connection.execute("update signing_keys set retired_at = now() - interval '2 days' where retired_at < now()")
    process_state().key_ring.forget()
    assert len(await identity.published_keys()) == 1
    with pytest.raises(Unauthenticated):
        await identity.authenticate(founder.tokens.access_token)


async def test_processes_that_start_together_make_one_signing_key(db: Database) -> None:
    from bailiwick.identity.signing_keys import KeyRing

    pairs = await asyncio.gather(*(KeyRing().active() for _ in range(6)))
    assert len({pair.id for pair in pairs}) == 1


async def test_an_access_token_ends_with_its_time(
    db: Database, founder: SignedUp, listening: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await identity.authenticate(founder.tokens.access_token)
    later = time.time() + founder.tokens.expires_in_seconds + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unauthenticated):
        await identity.authenticate(founder.tokens.access_token)
