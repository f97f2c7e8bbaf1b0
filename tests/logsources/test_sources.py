"""Use cases of log sources: what may be registered, changed and removed, and by whom."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import BailiwickError, InvalidInput
from bailiwick.logsources import (
    LogSourceForeign,
    LogSourceNotFound,
    create_source,
    delete_source,
    list_sources,
    update_source,
)
from tests.logsources.organizations import actions, new_caller

M365: dict[str, Any] = {
    "source_type": "m365_unified_audit",
    "display_name": "Contoso M365 Audit",
    "config": {"tenantId": "contoso.onmicrosoft.com"},
    "secret_ref": "m365__contoso__audit-secret",
}


async def test_a_source_from_creation_to_removal(db: Database) -> None:
    caller = await new_caller()
    first = await create_source(caller, **M365)
    second = await create_source(
        caller,
        source_type="custom_webhook",
        display_name="é" * 200,
        config={"n": 1.5, "b": True, "z": None},
        secret_ref=None,
    )
    assert first.enabled
    assert first.public_id.startswith("ls_")
    listed = await list_sources(caller)
    assert [source.id for source in listed] == [first.id, second.id]
    assert listed[1].config == {"n": 1.5, "b": True, "z": None}
    changed = await update_source(caller, first.public_id, enabled=False, display_name="New")
    assert (changed.enabled, changed.display_name, changed.config) == (False, "New", M365["config"])
    assert changed.updated_at > first.updated_at
    await delete_source(caller, first.public_id)
    with pytest.raises(LogSourceNotFound):
        await delete_source(caller, first.public_id)
    assert [source.id for source in await list_sources(caller)] == [second.id]
    assert await actions(caller) == [
        "log_source.created",
        "log_source.created",
        "log_source.updated",
        "log_source.deleted",
    ]


async def test_another_organizations_source_is_out_of_reach(db: Database) -> None:
    owner, other = await new_caller(), await new_caller()
    source = await create_source(owner, **M365)
    assert await list_sources(other) == []
    with pytest.raises(LogSourceNotFound):
        await update_source(other, source.public_id, enabled=False)
    with pytest.raises(LogSourceForeign):
        await delete_source(other, source.public_id)
    assert await list_sources(owner) == [source]
    assert await actions(other) == []


@pytest.mark.parametrize(
    "unknown", ["", "ls_", "x", "ls_00000000000000000000000000", "ls_" + "Z" * 26, "ag_" + "0" * 26]
)
async def test_unknown_ids(db: Database, unknown: str) -> None:
    caller = await new_caller()
    with pytest.raises(LogSourceNotFound):
        await update_source(caller, unknown, enabled=True)
    with pytest.raises(LogSourceNotFound):
        await delete_source(caller, unknown)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"source_type": "syslog"}, "sourceType"),
        ({"display_name": ""}, "displayName"),
        ({"display_name": "x" * 201}, "displayName"),
        ({"display_name": "a\x00b"}, "displayName"),
        ({"config": {}}, r"config\.tenantId"),
        ({"config": {"tenantId": 7}}, r"config\.tenantId"),
        ({"config": {"tenantId": ""}}, r"config\.tenantId"),
        ({"config": {"tenantId": "x" * 501}}, r"config\.tenantId"),
        ({"config": {"tenantId": "x", "Client-Secret": "s"}}, r"config\.Client-Secret"),
        ({"config": {"tenantId": "x", "API_KEY": None}}, r"config\.API_KEY"),
        ({"config": {"tenantId": "x", "note": "\x00"}}, r"config\.note"),
        ({"config": {"tenantId": "x", "\x00": "y"}}, "config"),
        ({"secret_ref": "a/b"}, "secret reference"),
        ({"secret_ref": "a\n"}, "secret reference"),
        ({"source_type": "splunk_hec", "config": {"endpoint": "http://splunk.example"}}, r"config\.endpoint"),
        ({"source_type": "splunk_hec", "config": {"endpoint": "https://[bad"}}, r"config\.endpoint"),
        ({"source_type": "splunk_hec", "config": {"endpoint": "https://x:99999"}}, r"config\.endpoint"),
        ({"source_type": "splunk_hec", "config": {"endpoint": "https://u:p@splunk.example"}}, r"config\.endpoint"),
    ],
)
async def test_what_may_not_be_registered(db: Database, wrong: dict[str, Any], named: str) -> None:
    caller = await new_caller()
    with pytest.raises(BailiwickError) as raised:
        await create_source(caller, **{**M365, **wrong})
    assert raised.value.status == 400
    assert re.search(named, raised.value.message)
    assert await list_sources(caller) == []
    assert await actions(caller) == []


async def test_config_is_checked_against_the_stored_type_and_replaced_whole(db: Database) -> None:
    caller = await new_caller()
    source = await create_source(caller, **M365)
    for config in ({"workspaceId": "x"}, {"tenantId": "x", "password": "p"}):
        with pytest.raises(InvalidInput):
            await update_source(caller, source.public_id, config=config, display_name="not this either")
    with pytest.raises(InvalidInput, match="at least one"):
        await update_source(caller, source.public_id)
    assert await list_sources(caller) == [source]
    changed = await update_source(caller, source.public_id, config={"tenantId": "other", "contentTypes": "DLP.All"})
    assert changed.config == {"tenantId": "other", "contentTypes": "DLP.All"}


async def test_racing_changes_and_removals(db: Database) -> None:
    caller = await new_caller()
    source = await create_source(caller, **M365)
    changes = [update_source(caller, source.public_id, display_name=f"name {n}") for n in range(5)]
    versions = await asyncio.gather(*changes)
    assert len({version.updated_at for version in versions}) == 5
    removals = await asyncio.gather(
        *(delete_source(caller, source.public_id) for _ in range(4)), return_exceptions=True
    )
    assert [outcome is None for outcome in removals].count(True) == 1
    assert (await actions(caller)).count("log_source.deleted") == 1
