"""Every operation that is served, for every caller who may not use it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows
from tests.api.contract import Operation, error_code, operations

_ANY_ID = "01JQ0000000000000000000000"


def _served(client: httpx.Client) -> list[Operation]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    here = {
        item[method]["operationId"]
        for item in document["paths"].values()
        for method in item
        if isinstance(item[method], dict) and "operationId" in item[method]
    }
    return [operation for operation in operations() if operation.id in here]


def _address(operation: Operation) -> str:
    return re.sub(r"\{[^/{}]+\}", _ANY_ID, operation.path)


def _refuses_strangers(operation: Operation) -> bool:
    security = operation.item.get("security")
    return security is None or (security != [] and {} not in security)


def test_every_operation_with_a_credential_refuses_strangers(client: httpx.Client) -> None:
    checked = [operation for operation in _served(client) if _refuses_strangers(operation)]
    assert len(checked) >= 5
    for operation in checked:
        for headers in ({}, bearer("nonsense"), bearer("vk_" + "0" * 32 + f"_ws_{_ANY_ID}")):
            # Credentials are looked at before the body.
            answer = client.request(operation.method, _address(operation), headers=headers, content=b"{")
            assert answer.status_code == 401, operation.id
            codes = ("UNAUTHENTICATED", "E_UNAUTHORIZED", "unauthorized", "missing_key")
            assert error_code(answer) in codes, operation.id


def test_the_document_says_which_operations_take_a_credential(client: httpx.Client) -> None:
    """Those beyond the contracts too."""
    document: dict[str, Any] = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    said = {True: 0, False: 0}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            needed = operation["security"]
            assert all(scheme in schemes for one in needed for scheme in one), operation["operationId"]
            takes_one = needed != [] and {} not in needed
            said[takes_one] += 1
            address = re.sub(r"\{[^/{}]+\}", _ANY_ID, path)
            answer = client.request(method, address, content=b"{", headers={"content-type": "application/json"})
            assert (answer.status_code == 401) == takes_one, operation["operationId"]
    assert min(said.values()) >= 5


@pytest.mark.parametrize("role", ["ADMIN", "EM", "DEVELOPER", "VIEWER"])
def test_every_operation_refuses_roles_below_its_own(
    client: httpx.Client, account: Account, rows: Rows, role: str
) -> None:
    ranks = ["VIEWER", "DEVELOPER", "EM", "ADMIN", "OWNER"]
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update memberships set role = %s where organization_id = %s", role, organization_id)
    for operation in _served(client):
        needed = operation.item.get("x-min-role")
        if needed is None or ranks.index(role) >= ranks.index(needed):
            continue
        answer = client.request(operation.method, _address(operation), headers=account.headers, content=b"{")
        assert answer.status_code == 403, operation.id


def test_a_viewer_changes_nothing_that_is_not_its_own(client: httpx.Client, account: Account, rows: Rows) -> None:
    """Walks what the server says that it serves, so that an operation without a role is noticed here."""
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update memberships set role = 'VIEWER' where organization_id = %s", organization_id)
    document: dict[str, Any] = client.get("/openapi.json").json()
    changing = {
        item[method]["operationId"]: (method, re.sub(r"\{[^/{}]+\}", _ANY_ID, path))
        for path, item in document["paths"].items()
        for method in item
        if method in ("post", "put", "patch", "delete") and item[method].get("security") != []
    }
    answers = {
        name: client.request(method, address, headers=account.headers, content=b"{").status_code
        for name, (method, address) in changing.items()
        if name not in ("governance_auth_logout", "governance_auth_change_password")
    }
    assert len(answers) > 10
    # Calls of agents and models are any member's.
    calls = {name for name, (_, address) in changing.items() if address.startswith("/v1/")}
    open_to_all = calls | {"hosted_agent_run"}
    assert {name for name, status in answers.items() if status != 403} == open_to_all


def test_nothing_of_another_workspace_is_seen_or_changed(client: httpx.Client, account: Account, rows: Rows) -> None:
    """Walks every operation with the ids that another organization's rows have."""
    other = sign_up(client)
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    before = rows.one("select * from organizations where id = %s", organization_id)
    audited = rows.one("select count(*) from audit_entries where organization_id = %s", organization_id)
    names = [account.workspace_id, account.user_id, account.body["apiKey"]["keyId"], account.email]
    for operation in _served(client):
        if operation.id in ("governance_auth_logout", "governance_auth_change_password") or operation.is_public:
            continue
        for name in names:
            address = re.sub(r"\{[^/{}]+\}", name, operation.path)
            answer = client.request(operation.method, address, headers=other.headers, json={"workspaceId": name})
            seen = answer.text.replace(name, "") if answer.status_code >= 400 else answer.text
            assert not any(one in seen for one in names), operation.id
            if "{" in operation.path and operation.method != "get":
                assert answer.status_code >= 400, operation.id
    assert rows.one("select * from organizations where id = %s", organization_id) == before
    assert rows.one("select count(*) from audit_entries where organization_id = %s", organization_id) == audited
