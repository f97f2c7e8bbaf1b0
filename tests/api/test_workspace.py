"""The workspace of a credential: reading, changing, and who may."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows


def _patch(client: httpx.Client, account: Account, **changes: object) -> httpx.Response:
    return client.patch("/api/v1/workspace", headers=account.headers, json=changes)


def test_a_workspace_is_shown_with_its_vertical_and_baa(client: httpx.Client, account: Account) -> None:
    shown = client.get("/api/v1/workspace", headers=account.headers).json()
    assert shown["workspaceId"] == shown["id"] == account.workspace_id
    assert shown["ownerId"] == account.user_id
    assert (shown["memberCount"], shown["role"], shown["isActive"]) == (1, "OWNER", True)
    assert (shown["vertical"], shown["baaSigned"], shown["baaSignedAt"]) == ("general", False, None)
    by_key = client.get("/api/v1/workspace", headers=bearer(account.virtual_key)).json()
    assert by_key == shown


def test_changes_raise_the_version_and_are_audited(client: httpx.Client, account: Account, rows: Rows) -> None:
    slug = "s-" + account.workspace_id[-12:].lower()
    changed = _patch(client, account, name="New name", slug=slug, unknown="ignored").json()
    assert (changed["name"], changed["slug"], changed["configVersion"]) == ("New name", slug, 2)
    same = _patch(client, account, name="New name").json()
    assert same["configVersion"] == 2
    assert _patch(client, account).json() == same
    told = rows.all(
        "select body from audit_entries where organization_id = %s and body like '%%organization.updated%%'",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert len(told) == 1


def test_a_slug_is_one_workspaces(client: httpx.Client, account: Account) -> None:
    slug = "t-" + account.workspace_id[-12:].lower()
    assert _patch(client, account, slug=slug).status_code == 200
    other = sign_up(client)
    refused = _patch(client, other, slug=slug, name="Changed too")
    assert (refused.status_code, refused.json()["code"]) == (409, "SLUG_TAKEN")
    assert client.get("/api/v1/workspace", headers=other.headers).json()["name"] != "Changed too"


def test_a_baa_is_signed_once_and_says_by_whom(client: httpx.Client, account: Account) -> None:
    signed = _patch(client, account, vertical="healthcare", baaSigned=True).json()
    assert (signed["vertical"], signed["baaSigned"], signed["baaSignedBy"]) == ("healthcare", True, account.user_id)
    again = _patch(client, account, baaSigned=True).json()
    assert (again["baaSignedAt"], again["configVersion"]) == (signed["baaSignedAt"], signed["configVersion"])
    assert _patch(client, account, baaSigned=False).status_code == 400
    assert client.get("/api/v1/workspace", headers=account.headers).json()["baaSigned"] is True


async def test_of_racing_signatures_one_stands(async_client: httpx.AsyncClient, account: Account, rows: Rows) -> None:
    answers = await asyncio.gather(
        *(async_client.patch("/api/v1/workspace", headers=account.headers, json={"baaSigned": True}) for _ in range(6))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["baaSignedAt"] for answer in answers}) == 1
    told = rows.all(
        "select body from audit_entries where organization_id = %s and body like '%%baa_signed%%'",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert len(told) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": None},
        {"name": "x" * 129},
        {"name": "a\0"},
        {"slug": "With Capitals"},
        {"slug": "line\n"},
        {"slug": ""},
        {"vertical": "aerospace"},
        {"vertical": None},
        {"baaSigned": "yes"},
    ],
)
def test_wrong_changes_change_nothing(client: httpx.Client, account: Account, wrong: dict[str, object]) -> None:
    before = client.get("/api/v1/workspace", headers=account.headers).json()
    refused = _patch(client, account, **{"name": "Changed too", **wrong})
    assert (refused.status_code, refused.json()["code"]) == (400, "E_VALIDATION_FAILED")
    assert client.get("/api/v1/workspace", headers=account.headers).json() == before


@pytest.mark.parametrize("role", ["EM", "DEVELOPER", "VIEWER"])
def test_a_role_counts_from_the_next_request_on(client: httpx.Client, account: Account, rows: Rows, role: str) -> None:
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update memberships set role = %s where organization_id = %s", role, organization_id)
    rows.run("select pg_notify('bailiwick', %s)", f"organization:{organization_id}")
    # The same token as before: roles are looked up, not read from it.
    assert client.get("/api/v1/workspace", headers=account.headers).json()["role"] == role
    for token in (account.access_token, account.virtual_key):
        # The role is refused before the body is looked at.
        refused = client.patch("/api/v1/workspace", headers=bearer(token), content=b"{")
        assert (refused.status_code, refused.json()["code"]) == (403, "E_FORBIDDEN")


def test_a_keys_scopes_bound_what_it_does(client: httpx.Client, account: Account, rows: Rows) -> None:
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update virtual_keys set scopes = '{workspace:read}' where organization_id = %s", organization_id)
    key = bearer(account.virtual_key)
    assert client.get("/api/v1/workspace", headers=key).status_code == 200
    assert client.patch("/api/v1/workspace", headers=key, json={"name": "x"}).status_code == 403
    assert client.get("/api/v1/runs", headers=key).status_code == 403


def test_no_percent_encoded_nul_in_addresses(client: httpx.Client, account: Account) -> None:
    assert client.get("/api/v1/runs/%00", headers=account.headers).status_code == 404
    refused = client.get("/api/v1/runs?agent_id=%00", headers=account.headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_ERROR")
    # Unknown parameters are ignored, whatever they hold.
    assert client.get("/api/v1/workspace?a=%00", headers=account.headers).status_code == 200
