"""The organizations' own store: sealed, bound to owner and name, versioned, logged."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.secrets import (
    Secret,
    SecretNotFound,
    SecretUnavailable,
    delete_secret,
    list_secrets,
    put_secret,
    secret_of,
    secret_of_installation,
)
from tests.logsources.organizations import actions, new_caller


async def test_a_secret_is_stored_replaced_and_removed(db: Database) -> None:
    caller = await new_caller()
    first = await put_secret(caller.tenant, "m365", Secret("one-päss"), actor="usr_test")
    assert first.version == 1
    assert (await secret_of(caller.tenant, "m365")).reveal() == "one-päss"
    assert (await put_secret(caller.tenant, "m365", Secret("two"), actor="usr_test")).version == 2
    assert (await secret_of(caller.tenant, "m365")).reveal() == "two"
    assert [(info.name, info.version) for info in await list_secrets(caller.tenant)] == [("m365", 2)]
    await delete_secret(caller.tenant, "m365", actor="usr_test")
    for attempt in (secret_of(caller.tenant, "m365"), delete_secret(caller.tenant, "m365", actor="usr_test")):
        with pytest.raises(SecretNotFound):
            await attempt
    assert await actions(caller) == ["secret.stored", "secret.stored", "secret.deleted"]


async def test_no_plaintext_is_stored_or_logged(db: Database) -> None:
    caller = await new_caller()
    await put_secret(caller.tenant, "m365", Secret("plain-to-see"), actor="usr_test")
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        sealed = await session.scalar(text("select sealed from stored_secrets"))
        bodies = await session.scalars(text("select body from audit_entries"))
        assert b"plain" not in sealed
        assert not any("plain" in body for body in bodies)


async def test_an_organization_has_only_its_own(db: Database) -> None:
    mine, other = await new_caller(), await new_caller()
    await put_secret(mine.tenant, "m365", Secret("mine"), actor="usr_test")
    with pytest.raises(SecretNotFound):
        await secret_of(other.tenant, "m365")
    assert await list_secrets(other.tenant) == []


@pytest.mark.parametrize(
    "change",
    [
        "update stored_secrets set name = 'moved'",
        "update stored_secrets set organization_id = :other, name = 'moved'",
        "update stored_secrets set name = 'moved', sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)",
        "update stored_secrets set name = 'moved', key_id = 'another'",
    ],
)
async def test_a_row_that_was_moved_or_altered_does_not_open(db: Database, change: str) -> None:
    mine, other = await new_caller(), await new_caller()
    await put_secret(mine.tenant, "m365", Secret("mine"), actor="usr_test")
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        await session.execute(text(change), {"other": other.tenant} if ":other" in change else {})
    owner = other if ":other" in change else mine
    with pytest.raises(SecretUnavailable, match="another installation key" if "key_id" in change else "altered"):
        await secret_of(owner.tenant, "moved")


async def test_racing_replacements_each_get_a_version(db: Database) -> None:
    caller = await new_caller()
    written = await asyncio.gather(
        *(put_secret(caller.tenant, "m365", Secret(f"value {n}"), actor="usr_test") for n in range(6))
    )
    assert sorted(info.version for info in written) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("a b", "x"), ("a" * 256, "x"), ("a", ""), ("a", "x" * 65_537)])
async def test_what_cannot_be_stored(db: Database, name: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        await put_secret((await new_caller()).tenant, name, Secret(value), actor="usr_test")


async def test_the_installation_reads_its_own_and_organizations_do_not(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAILIWICK_SECRET_STRIPE__HOSTED_AGENTS__WEBHOOK_SECRET", "whsec_x")
    assert (await secret_of_installation("stripe__hosted-agents__webhook-secret")).reveal() == "whsec_x"
    with pytest.raises(SecretNotFound):
        await secret_of((await new_caller()).tenant, "stripe__hosted-agents__webhook-secret")
