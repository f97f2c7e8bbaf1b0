"""The cache of verified callers: bounds, expiry, and revocation that is never overtaken by a look-up."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

from bailiwick.identity.caller_cache import CallerCache
from bailiwick.identity.callers import Caller, Credential


def _caller(organization_id: UUID, **given: object) -> Caller:
    values: dict[str, object] = {
        "credential": Credential.ACCESS_TOKEN,
        "organization_id": organization_id,
        "organization_name": "ws_x",
        "subject": "usr_x",
        **given,
    }
    return Caller(**values)  # type: ignore[arg-type]


def test_the_least_recently_used_goes_first() -> None:
    cache = CallerCache(limit=2)
    caller = _caller(uuid4())
    cache.keep(b"a", caller, cache.changes)
    cache.keep(b"b", caller, cache.changes)
    assert cache.find(b"a") is caller
    cache.keep(b"c", caller, cache.changes)
    assert cache.find(b"b") is None
    assert cache.find(b"a") is caller
    assert len(cache) == 2


def test_an_entry_ends_with_its_credential() -> None:
    cache = CallerCache()
    cache.keep(b"a", _caller(uuid4(), expires_at=time.time() - 1), cache.changes)
    assert cache.find(b"a") is None
    assert len(cache) == 0


def test_a_drop_takes_session_key_or_organization_and_nothing_else() -> None:
    organization, session, key = uuid4(), uuid4(), uuid4()
    cache = CallerCache()
    other = _caller(uuid4(), session_id=uuid4())

    def fill() -> None:
        cache.keep(b"session", _caller(organization, session_id=session), cache.changes)
        cache.keep(b"key", _caller(organization, key_id=key), cache.changes)
        cache.keep(b"other", other, cache.changes)

    fill()
    cache.drop(session)
    assert (cache.find(b"session"), cache.find(b"key") is None) == (None, False)
    fill()
    cache.drop(key)
    assert (cache.find(b"session") is None, cache.find(b"key")) == (False, None)
    fill()
    cache.drop(organization)
    assert (cache.find(b"session"), cache.find(b"key")) == (None, None)
    assert cache.find(b"other") is other
    cache.clear()
    assert len(cache) == 0


def test_what_was_looked_up_before_a_drop_is_not_kept_after_it() -> None:
    cache = CallerCache()
    seen = cache.changes
    cache.drop(uuid4())  # of whatever: the look-up under way may have read what this told of
    cache.keep(b"a", _caller(uuid4()), seen)
    assert cache.find(b"a") is None
