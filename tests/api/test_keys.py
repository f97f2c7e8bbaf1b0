"""Virtual keys over HTTP: who may do what, what ends when, what is counted."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bailiwick.kernel.clock import rfc3339
from bailiwick.kernel.ids import Prefix, decode, encode, uuid_at
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows

KEYS = "/api/v1/keys"


def create(client: httpx.Client, headers: dict[str, str], **given: Any) -> dict[str, Any]:
    """A new key."""
    answer = client.post(KEYS, headers=headers, json={"label": "test", **given})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def works(client: httpx.Client, key: str) -> bool:
    """Whether a key is a credential at this moment."""
    status = client.get("/api/v1/workspace", headers=bearer(key)).status_code
    assert status in (200, 401)
    return status == 200


def member_of(rows: Rows, account: Account, role: str, client: httpx.Client) -> tuple[dict[str, str], str]:
    """Another member of an account's workspace: headers, membership's id. Their own workspace is left behind."""
    other = sign_up(client)
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    membership = rows.one("select id from memberships where user_id = %s", decode(Prefix.USER, other.user_id))["id"]
    moved = uuid.uuid4()
    rows.run(
        "insert into memberships (organization_id, id, user_id, role) select %s, %s, user_id, %s from memberships"
        " where id = %s",
        organization_id,
        moved,
        role,
        membership,
    )
    rows.run(
        "update sessions set organization_id = %s, membership_id = %s where membership_id = %s",
        organization_id,
        moved,
        membership,
    )
    return other.headers, encode(Prefix.MEMBERSHIP, moved)


def test_a_key_is_shown_once_and_works_as_its_maker(client: httpx.Client, account: Account, rows: Rows) -> None:
    made = create(
        client,
        account.headers,
        label="ci",
        scopes=["proxy", "workspace:read"],
        budgetUsd=12.5,
        budgetPeriod="day",
        allowedModels=["fast"],
        rateLimitRpm=60,
        rateLimitTpm=1000,
        metadata={"team": "blue"},
        cacheSeconds=30,
        departmentId="d1",
        expiresInDays=2,
    )
    assert made["key"].startswith("vk_")
    assert made["key"].endswith(account.workspace_id)
    assert made["keyPrefix"] == made["key"][:12]
    lifetime = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < lifetime <= timedelta(days=2)
    shown = client.get(f"{KEYS}/{made['keyId']}", headers=account.headers).json()
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert (shown["budgetUsd"], shown["budgetPeriod"], shown["spentUsd"], shown["cacheSeconds"]) == (12.5, "day", 0, 30)
    assert (shown["metadata"], shown["departmentId"], shown["status"]) == ({"team": "blue"}, "d1", "ACTIVE")
    assert works(client, made["key"])
    stored = rows.one("select * from virtual_keys where id = %s", decode(Prefix.VIRTUAL_KEY, made["keyId"]))
    assert made["key"] not in str(stored)


def test_lists_are_paged_and_filtered(client: httpx.Client, account: Account) -> None:
    made = [create(client, account.headers, label=str(number)) for number in range(4)]
    client.post(f"{KEYS}/{made[0]['keyId']}/revoke", headers=account.headers)

    def listed(**query: Any) -> tuple[list[str], int]:
        body = client.get(KEYS, headers=account.headers, params=query).json()
        return [item["label"] for item in body["items"]], body["total"]

    first = account.body["apiKey"]["label"]
    assert listed() == (["3", "2", "1", "0", first], 5)
    assert listed(page=2, limit=2) == (["1", "0"], 5)
    assert listed(page=9) == ([], 5)
    assert listed(status="REVOKED") == (["0"], 1)
    assert listed(status="EXPIRED") == ([], 0)
    assert listed(status="ACTIVE")[1] == 4
    assert listed(memberId=made[0]["memberId"])[1] == 5
    assert listed(memberId="mem_nobody") == ([], 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": ""},
        {"label": "x" * 129},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": ["Keys:read"]},
        {"budgetUsd": -1},
        {"rateLimitRpm": 0},
        {"rateLimitTpm": 2**31},
        {"expiresInDays": 366},
        {"expiresInDays": 1, "expiresAt": "2999-01-01T00:00:00Z"},
        {"expiresAt": "2001-01-01T00:00:00Z"},
        {"expiresAt": "9999-12-31T23:59:59-01:00"},
        {"budgetPeriod": "year"},
        {"cacheSeconds": -1},
        {"metadata": {"a": 1}},
        {"allowedModels": [""]},
    ],
    ids=str,
)
def test_what_is_wrong_is_named_and_makes_no_key(client: httpx.Client, account: Account, wrong: dict[str, Any]) -> None:
    refused = client.post(KEYS, headers=account.headers, json={"label": "x", **wrong})
    assert (refused.status_code, refused.json()["code"]) == (400, "E_VALIDATION_FAILED")
    assert refused.json()["details"][0]["path"].partition(".")[0] in wrong
    assert client.get(KEYS, headers=account.headers).json()["total"] == 1


def test_a_change_is_told_and_a_missing_member_is_left_alone(
    client: httpx.Client, account: Account, rows: Rows
) -> None:
    made = create(client, account.headers, budgetUsd=5, rateLimitRpm=10, metadata={"a": "b"})
    address = f"{KEYS}/{made['keyId']}"
    changed = client.patch(address, headers=account.headers, json={"label": "new", "rateLimitRpm": None}).json()
    assert (changed["label"], changed["rateLimitRpm"], changed["budgetUsd"]) == ("new", None, 5)
    assert changed["metadata"] == {"a": "b"}
    assert client.patch(address, headers=account.headers, json={}).json() == changed
    told = rows.all(
        "select (body::jsonb)->>'action' as action from audit_entries where organization_id = %s and body like %s"
        " order by sequence",
        decode(Prefix.ORGANIZATION, account.workspace_id),
        f"%{made['keyId']}%",
    )
    assert [row["action"] for row in told] == ["virtual_key.created", "virtual_key.updated"]
    client.post(f"{address}/revoke", headers=account.headers)
    refused = client.patch(address, headers=account.headers, json={"label": "late"})
    assert (refused.status_code, refused.json()["code"]) == (409, "TRANSITION_NOT_ALLOWED")


def test_revoking_stops_a_key_and_its_children_at_once(client: httpx.Client, account: Account, rows: Rows) -> None:
    parent = create(client, account.headers)
    child = attenuate(client, account.headers, parent["keyId"], ["workspace:read", "keys:write"]).json()
    grandchild = attenuate(client, bearer(child["childKey"]), child["childKeyId"], ["workspace:read"]).json()
    assert grandchild["attenuationChainId"] == child["attenuationChainId"] == parent["keyId"]
    family = (parent["key"], child["childKey"], grandchild["childKey"])
    assert all(works(client, key) for key in family)
    address = f"{KEYS}/{parent['keyId']}/revoke"
    revoked = client.post(address, headers=account.headers, json={"reason": "leaked"}).json()
    assert revoked["status"] == "REVOKED"
    assert not any(works(client, key) for key in family)
    assert client.post(address, headers=account.headers).json() == revoked
    assert (
        len(rows.all("select 1 from audit_entries where body like %s", f"%virtual_key.revoked%{parent['keyId']}%")) == 1
    )


def test_deleting_stops_a_key_and_drops_it_from_lists(client: httpx.Client, account: Account) -> None:
    made = create(client, account.headers)
    address = f"{KEYS}/{made['keyId']}"
    assert works(client, made["key"])
    assert client.delete(address, headers=account.headers).json() == {"deleted": True}
    assert not works(client, made["key"])
    assert client.get(address, headers=account.headers).status_code == 404
    assert client.delete(address, headers=account.headers).status_code == 404
    assert client.get(KEYS, headers=account.headers).json()["total"] == 1


def attenuate(
    client: httpx.Client, headers: dict[str, str], key_id: str, caps: list[str], **more: Any
) -> httpx.Response:
    """Asks for a child key."""
    return client.post(f"{KEYS}/{key_id}/attenuate", headers=headers, json={"requestedCaps": caps, **more})


def test_attenuation_never_widens(client: httpx.Client, account: Account) -> None:
    parent = create(
        client,
        account.headers,
        scopes=["proxy", "keys:write", "workspace:read"],
        allowedModels=["a", "b"],
        expiresAt=rfc3339(datetime.now(UTC) + timedelta(minutes=5)),
    )
    for wider in (["*"], ["sync"], ["workspace:write"], ["proxy", "sync"], ["nonsense"]):
        refused = attenuate(client, account.headers, parent["keyId"], wider)
        assert (refused.status_code, refused.json()["code"]) == (403, "ATTENUATION_CAP_VIOLATION"), wider
    for wrong in ({"ttlSeconds": 59}, {"ttlSeconds": 86_401}):
        assert attenuate(client, account.headers, parent["keyId"], ["proxy"], **wrong).status_code == 400
    made = attenuate(client, account.headers, parent["keyId"], ["proxy", "keys:read"], ttlSeconds=86_400).json()
    assert (made["grantedCaps"], made["expiresAt"]) == (["proxy", "keys:read"], parent["expiresAt"])
    address = f"{KEYS}/{made['childKeyId']}"
    child = client.get(address, headers=account.headers).json()
    assert (child["parentKeyId"], child["allowedModels"]) == (parent["keyId"], ["a", "b"])
    changes: tuple[dict[str, Any], ...] = (
        {"scopes": ["proxy", "keys:write"]},
        {"allowedModels": []},
        {"allowedModels": ["a", "c"]},
        {"expiresAt": None},
        {"expiresAt": rfc3339(datetime.now(UTC) + timedelta(hours=1))},
    )
    for change in changes:
        refused = client.patch(address, headers=account.headers, json=change)
        assert (refused.status_code, refused.json()["code"]) == (403, "ATTENUATION_CAP_VIOLATION"), change
    narrower = {"scopes": ["proxy"], "allowedModels": ["a"], "budgetUsd": 1000}
    assert client.patch(address, headers=account.headers, json=narrower).status_code == 200


def test_what_a_parent_loses_its_children_lose(client: httpx.Client, account: Account) -> None:
    parent = create(client, account.headers, scopes=["proxy", "keys:write"], allowedModels=["a", "b"])
    child = attenuate(client, account.headers, parent["keyId"], ["proxy", "keys:write"]).json()
    grandchild = attenuate(client, account.headers, child["childKeyId"], ["keys:write"]).json()
    soon = rfc3339(datetime.now(UTC) + timedelta(minutes=1))
    changes = {"scopes": ["proxy", "keys:read"], "allowedModels": ["b"], "expiresAt": soon}
    assert client.patch(f"{KEYS}/{parent['keyId']}", headers=account.headers, json=changes).status_code == 200

    def seen(key_id: str) -> tuple[list[str], list[str], str]:
        body = client.get(f"{KEYS}/{key_id}", headers=account.headers).json()
        return body["scopes"], body["allowedModels"], body["expiresAt"]

    assert seen(child["childKeyId"]) == (["proxy", "keys:read"], ["b"], soon)
    assert seen(grandchild["childKeyId"]) == (["keys:read"], ["b"], soon)
    assert client.patch(f"{KEYS}/{parent['keyId']}", headers=account.headers, json={"allowedModels": ["c"]}).json()[
        "allowedModels"
    ] == ["c"]
    assert seen(child["childKeyId"])[1] == [""]


async def test_a_child_that_is_made_while_its_parent_is_revoked_does_not_outlive_it(
    async_client: httpx.AsyncClient, client: httpx.Client, account: Account
) -> None:
    for _ in range(5):
        parent = create(client, account.headers)
        body = {"requestedCaps": ["workspace:read"]}
        answers = await asyncio.gather(
            *(
                async_client.post(f"{KEYS}/{parent['keyId']}/attenuate", headers=account.headers, json=body)
                for _ in range(4)
            ),
            async_client.post(f"{KEYS}/{parent['keyId']}/revoke", headers=account.headers),
        )
        children = [one.json()["childKey"] for one in answers[:4] if one.status_code == 201]
        assert not any(works(client, key) for key in (parent["key"], *children))


def test_rotation_replaces_a_key_at_once(client: httpx.Client, account: Account) -> None:
    old = create(client, account.headers, label="old", scopes=["workspace:read"], budgetUsd=3, expiresInDays=9)
    rotated = client.post(f"{KEYS}/{old['keyId']}/rotate", headers=account.headers).json()
    assert not works(client, old["key"])
    assert works(client, rotated["key"])
    same = ("label", "scopes", "budgetUsd", "expiresAt", "memberId", "metadata", "rateLimitRpm")
    assert [rotated[name] for name in same] == [old[name] for name in same]
    ended = client.get(f"{KEYS}/{old['keyId']}", headers=account.headers).json()
    assert (ended["status"], ended["replacedByKeyId"]) == ("REVOKED", rotated["keyId"])
    again = client.post(f"{KEYS}/{old['keyId']}/rotate", headers=account.headers)
    assert (again.status_code, again.json()["code"]) == (409, "TRANSITION_NOT_ALLOWED")


def test_with_grace_the_old_key_goes_on_until_then(client: httpx.Client, account: Account, rows: Rows) -> None:
    old = create(client, account.headers)
    child = attenuate(client, account.headers, old["keyId"], ["workspace:read"]).json()
    address = f"{KEYS}/{old['keyId']}"
    for wrong in (-1, 604_801):  # the member, and so its refusal, is beyond the contract
        url, body = f"{client.base_url}{address}/rotate", {"graceSeconds": wrong}
        assert httpx.post(url, headers=account.headers, json=body, timeout=30).status_code == 400
    rotated = client.post(f"{address}/rotate", headers=account.headers, json={"graceSeconds": 600}).json()
    assert rotated["expiresAt"] is None
    assert all(works(client, key) for key in (old["key"], rotated["key"], child["childKey"]))
    assert client.post(f"{address}/rotate", headers=account.headers).status_code == 409
    assert client.patch(address, headers=account.headers, json={"expiresAt": None}).status_code == 409
    ends = datetime.fromisoformat(client.get(address, headers=account.headers).json()["expiresAt"])
    assert timedelta(seconds=540) < ends - datetime.now(UTC) <= timedelta(seconds=600)
    rows.run("update virtual_keys set expires_at = now() where id = %s", decode(Prefix.VIRTUAL_KEY, old["keyId"]))
    shown = client.get(address, headers=account.headers).json()
    assert shown["status"] == "EXPIRED"
    assert works(client, rotated["key"])


async def test_of_racing_rotations_one_makes_a_key(
    async_client: httpx.AsyncClient, client: httpx.Client, account: Account
) -> None:
    old = create(client, account.headers)
    answers = await asyncio.gather(
        *(async_client.post(f"{KEYS}/{old['keyId']}/rotate", headers=account.headers) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    active = await async_client.get(KEYS, headers=account.headers, params={"status": "ACTIVE"})
    assert active.json()["total"] == 2


def test_below_admin_everybody_has_their_own(client: httpx.Client, account: Account, rows: Rows) -> None:
    owners = create(client, account.headers)
    headers, membership = member_of(rows, account, "DEVELOPER", client)
    own = create(client, headers, label="own")
    assert own["memberId"] == membership
    assert [item["keyId"] for item in client.get(KEYS, headers=headers).json()["items"]] == [own["keyId"]]
    assert client.get(KEYS, headers=headers, params={"memberId": owners["memberId"]}).json()["total"] == 0
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/revoke"),
        ("POST", "/rotate"),
        ("POST", "/attenuate"),
        ("GET", "/usage"),
    ):
        body = None if method == "GET" else {"requestedCaps": ["proxy"]}
        answer = client.request(method, f"{KEYS}/{owners['keyId']}{path}", headers=headers, json=body)
        assert answer.status_code == 404, (method, path)
    assert client.get(KEYS, headers=account.headers, params={"memberId": membership}).json()["total"] == 1
    assert client.post(f"{KEYS}/{own['keyId']}/rotate", headers=account.headers).status_code == 201


def test_nobody_gets_the_key_of_somebody_above_them(client: httpx.Client, account: Account, rows: Rows) -> None:
    owners = create(client, account.headers)
    headers, _ = member_of(rows, account, "ADMIN", client)
    address = f"{KEYS}/{owners['keyId']}"
    assert client.get(address, headers=headers).status_code == 200
    for path, body in (("/rotate", {}), ("/attenuate", {"requestedCaps": ["proxy"]})):
        assert client.post(f"{address}{path}", headers=headers, json=body).status_code == 403
    assert client.patch(address, headers=headers, json={"label": "x"}).status_code == 403
    assert client.post(f"{address}/revoke", headers=headers).status_code == 200


def test_a_viewer_reads_and_changes_nothing(client: httpx.Client, account: Account, rows: Rows) -> None:
    headers, _ = member_of(rows, account, "VIEWER", client)
    assert client.get(KEYS, headers=headers).json()["total"] == 0
    for method, path in (("POST", ""), ("PATCH", "/x"), ("DELETE", "/x"), ("POST", "/x/revoke"), ("POST", "/x/rotate")):
        assert client.request(method, f"{KEYS}{path}", headers=headers, json={"label": "x"}).status_code == 403


def test_a_limited_key_cannot_shed_its_limits(client: httpx.Client, account: Account) -> None:
    other = create(client, account.headers)
    for limits in (
        {"budgetUsd": 1},
        {"rateLimitRpm": 5},
        {"rateLimitTpm": 5},
        {"allowedModels": ["a"]},
        {"expiresInDays": 1},
    ):
        limited = create(client, account.headers, **limits)
        headers = bearer(limited["key"])
        assert client.post(KEYS, headers=headers, json={"label": "free"}).status_code == 403, limits
        change = client.patch(f"{KEYS}/{limited['keyId']}", headers=headers, json={"budgetUsd": None})
        assert change.status_code == 403, limits
        assert client.post(f"{KEYS}/{other['keyId']}/rotate", headers=headers).status_code == 403, limits
        assert attenuate(client, headers, other["keyId"], ["proxy"]).status_code == 403, limits
        assert attenuate(client, headers, limited["keyId"], ["proxy"]).status_code == 201, limits
    narrow = create(client, account.headers, scopes=["keys:write"])
    assert client.post(KEYS, headers=bearer(narrow["key"]), json={"label": "wide"}).status_code == 403
    made = client.post(KEYS, headers=bearer(narrow["key"]), json={"label": "same", "scopes": ["keys:read"]})
    assert made.status_code == 201
    assert client.post(f"{KEYS}/{other['keyId']}/rotate", headers=bearer(narrow["key"])).status_code == 403
    assert client.get(KEYS, headers=bearer(made.json()["key"])).status_code == 200


def test_another_workspace_sees_nothing(client: httpx.Client, account: Account) -> None:
    other = sign_up(client)
    made = create(client, account.headers)
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/revoke"), ("POST", "/rotate")):
        body: dict[str, Any] | None = None if method == "GET" else {}
        answer = client.request(method, f"{KEYS}/{made['keyId']}{path}", headers=other.headers, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "E_NOT_FOUND"), (method, path)
    assert attenuate(client, other.headers, made["keyId"], ["proxy"]).status_code == 404
    assert works(client, made["key"])


def test_usage_adds_up_by_day(client: httpx.Client, account: Account, rows: Rows) -> None:
    made = create(client, account.headers)
    child = attenuate(client, account.headers, made["keyId"], ["proxy"]).json()
    other = create(client, account.headers)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    calls = [
        (made["keyId"], today - timedelta(days=40), 1, 1, 1),
        (made["keyId"], today - timedelta(days=2), 1_000_000, 10, 5),
        (made["keyId"], today - timedelta(milliseconds=1), 250_000, 3, 4),
        (child["childKeyId"], today - timedelta(days=1), 500_000, 1, 1),
        (made["keyId"], today, 0, 0, 0),
        (other["keyId"], today, 9_000_000, 9, 9),
    ]
    for key_id, at, cost, tokens_in, tokens_out in calls:
        rows.run(
            "insert into invocations (organization_id, id, kind, target_kind, target_name, subject, virtual_key_id,"
            " status, cost_micros, input_tokens, output_tokens)"
            " values (%s, %s, 'chat', 'model', 'fast', 'usr', %s, 'completed', %s, %s, %s)",
            decode(Prefix.ORGANIZATION, account.workspace_id),
            uuid.UUID(int=uuid_at(at).int + uuid.uuid4().int % 2**64),
            decode(Prefix.VIRTUAL_KEY, key_id),
            cost,
            tokens_in,
            tokens_out,
        )
    address = f"{KEYS}/{made['keyId']}/usage"
    usage = client.get(address, headers=account.headers).json()
    assert (usage["keyId"], usage["totalCostUsd"], usage["traceCount"]) == (made["keyId"], 1.75, 4)

    def day(ago: int, cost: float, tokens_in: int, tokens_out: int, traces: int) -> dict[str, Any]:
        date = (today - timedelta(days=ago)).date().isoformat()
        return {
            "date": date,
            "costUsd": cost,
            "inputTokens": tokens_in,
            "outputTokens": tokens_out,
            "traceCount": traces,
        }

    assert usage["days"] == [day(2, 1.0, 10, 5, 1), day(1, 0.75, 4, 5, 2), day(0, 0, 0, 0, 1)]
    last = rfc3339(today - timedelta(milliseconds=1))
    later = client.get(address, headers=account.headers, params={"since": last}).json()
    assert later["traceCount"] == 1  # only what is later
    until = client.get(address, headers=account.headers, params={"since": "1970-01-01T00:00:00Z", "until": last}).json()
    assert until["traceCount"] == 4  # what is not later
    for since, until_ in (("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), (last, "1970-01-01T00:00:00Z")):
        query = {"since": since, "until": until_}
        assert client.get(address, headers=account.headers, params=query).status_code == 200
    assert client.get(address, headers=account.headers, params={"since": "yesterday"}).status_code == 400
