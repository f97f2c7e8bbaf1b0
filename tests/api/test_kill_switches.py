"""Kill switches over HTTP: felt in every process, whatever is under way; lifted; nobody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from bailiwick.kernel.database import Database
from bailiwick.kernel.ids import Prefix, decode, encode
from bailiwick.settings import Settings
from tests.api.accounts import Account, bearer, sign_up
from tests.api.conftest import Rows
from tests.api.test_command_line import bailiwick
from tests.api.test_crash import GRANTED, World, a_world
from tests.waiting import PATIENCE_SECONDS, happens

URL = "/api/v1/kill-switches"
AGENT = "helpdesk-tier1-triage"


@pytest.fixture
def data_dir(settings_for_test: Settings) -> Path:
    """The folder that the server shares with this process: one installation, one master key."""
    settings_for_test.data_dir.mkdir(parents=True, exist_ok=True)
    return settings_for_test.data_dir


async def runs(world: World, number: int) -> list[asyncio.Task[httpx.Response]]:
    """Runs on connections of their own, so that both processes have some."""

    async def run() -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await world.run(client)

    return [asyncio.create_task(run()) for _ in range(number)]


async def engage(world: World, **body: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(headers=bearer(world.key), timeout=30) as client:
        answer = await client.post(f"{world.server.base_url}{URL}", json={"reason": "runaway", **body})
    assert answer.status_code == 201, answer.text
    switch: dict[str, Any] = answer.json()
    return switch


async def assert_all_killed(tasks: list[asyncio.Task[httpx.Response]]) -> None:
    for response in await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_SECONDS):
        assert (response.status_code, response.json()["code"]) == (403, "KILL_SWITCH"), response.text


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scope", ["organization", "agent", "key"])
async def test_what_is_under_way_in_every_process_is_cut_and_runs_again_once_lifted(
    db: Database, database_url: str, data_dir: Path, scope: str
) -> None:
    async with a_world(database_url, data_dir, workers=2) as world:
        tasks = await runs(world, 12)
        await world.gate.reached(12)
        key_id = world.tenant.caller.key_id
        assert key_id is not None
        target = {"organization": {}, "agent": {"targetId": AGENT}}.get(
            scope, {"targetId": encode(Prefix.VIRTUAL_KEY, key_id)}
        )
        switch = await engage(world, scope=scope, **target)
        # Their model never answers: nothing but the switch can end them.
        await assert_all_killed(tasks)
        assert await world.statuses() == ["blocked"] * 12
        await happens(world.model.disconnected)
        await assert_all_killed(await runs(world, 6))
        assert (await world.statuses())[12:] == ["refused"] * 6
        assert len(world.model.requests) == 12
        assert await world.tenant.money() == (GRANTED, 0)

        async with httpx.AsyncClient(headers=bearer(world.key), timeout=30) as client:
            lifted = await client.delete(f"{world.server.base_url}{URL}/{switch['id']}")
            assert lifted.status_code == 200
            assert lifted.json()["liftedAt"]
            page = (await client.get(f"{world.server.base_url}/api/v1/traces", params={"enforcement": "KILL"})).json()
            assert page["total"] == 18
            assert {trace["errorCode"] for trace in page["traces"]} == {"KILL_SWITCH"}
        world.gate.open()

        async def all_run() -> bool:
            return {response.status_code for response in await asyncio.gather(*await runs(world, 6))} == {200}

        async with asyncio.timeout(PATIENCE_SECONDS):  # each process lets go once it has heard
            while not await all_run():
                pass
        actions = await world.actions()
        assert (actions.count("kill_switch.engaged"), actions.count("kill_switch.lifted")) == (1, 1)
        await world.assert_all_is_well()


@pytest.mark.timeout(180)
async def test_no_run_that_races_with_the_switch_gets_through(db: Database, database_url: str, data_dir: Path) -> None:
    async with a_world(database_url, data_dir, workers=2) as world:
        tasks = await runs(world, 30)
        await world.gate.reached(1)  # some are with the model, some on their way, some not yet admitted
        await engage(world, scope="organization")
        await assert_all_killed(tasks)
        assert set(await world.statuses()) <= {"blocked", "refused"}
        assert await world.tenant.money() == (GRANTED, 0)
        await world.assert_all_is_well()


@pytest.mark.timeout(180)
async def test_the_operator_stops_everything_from_the_command_line(
    db: Database, database_url: str, data_dir: Path, tmp_path: Path
) -> None:
    async with a_world(database_url, data_dir, workers=2) as world:

        def command(*arguments: str) -> str:
            ended = bailiwick(
                "kill-switch", *arguments, cwd=tmp_path, data_dir=str(data_dir), database_url=database_url
            )
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        tasks = await runs(world, 6)
        await world.gate.reached(6)
        engaged = await asyncio.to_thread(command, "engage", "all hands")
        switch = engaged.split("\t")[0]
        await assert_all_killed(tasks)
        assert await asyncio.to_thread(command, "list") == engaged
        async with httpx.AsyncClient(headers=bearer(world.key), timeout=30) as client:
            seen = (await client.get(f"{world.server.base_url}{URL}")).json()
            assert seen["items"] == []
            assert (seen["everything"]["id"], seen["everything"]["reason"]) == (switch, "all hands")
            # It is not the organization's to lift.
            assert (await client.delete(f"{world.server.base_url}{URL}/{switch}")).status_code == 404
        assert switch in await asyncio.to_thread(command, "lift", switch)
        assert await asyncio.to_thread(command, "list") == ""
        # Nor does the operator have to say whose a switch is.
        organization = encode(Prefix.ORGANIZATION, world.tenant.organization_id)
        narrow = ("--organization", organization, "--agent", AGENT)
        switch = (await asyncio.to_thread(command, "engage", "It repeats itself.", *narrow)).split("\t")[0]
        assert switch in await asyncio.to_thread(command, "lift", switch)
        assert await asyncio.to_thread(command, "list") == ""
        world.gate.open()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while {response.status_code for response in await asyncio.gather(*await runs(world, 4))} != {200}:
                pass
        actions = await world.actions()
        assert (actions.count("kill_switch.engaged"), actions.count("kill_switch.lifted")) == (2, 2)


def tenant_of(client: httpx.Client, account: Account) -> Account:
    order = {"orgId": account.workspace_id, "plan": "enterprise"}
    assert client.post("/api/v1/provision/tenant", headers=account.headers, json=order).status_code == 200
    return account


def run(client: httpx.Client, account: Account) -> int:
    body = {"agentId": AGENT, "message": "Router offline at floor 3"}
    # Its contract knows no kill switches.
    return httpx.post(
        client.base_url.join("/api/v1/agent/run"), headers=account.headers, json=body, timeout=30
    ).status_code


def test_a_switch_is_its_organizations_alone(client: httpx.Client, account: Account) -> None:
    tenant_of(client, account)
    stranger = tenant_of(client, sign_up(client))
    body = {"scope": "agent", "targetId": AGENT, "reason": "It repeats itself."}
    switch = client.post(URL, headers=account.headers, json=body).json()
    assert switch["engagedBy"] == account.user_id
    assert switch["liftedAt"] is None
    assert [run(client, account), run(client, stranger)] == [403, 200]
    assert client.get(URL, headers=stranger.headers).json()["items"] == []
    answer = client.delete(f"{URL}/{switch['id']}", headers=stranger.headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "E_NOT_FOUND")
    key = {"scope": "key", "targetId": account.body["apiKey"]["keyId"], "reason": "Not mine."}
    assert client.post(URL, headers=stranger.headers, json=key).status_code == 400
    assert run(client, account) == 403


def test_engaging_twice_conflicts_and_lifting_twice_does_nothing(
    client: httpx.Client, account: Account, rows: Rows
) -> None:
    body = {"scope": "organization", "reason": "Drill"}
    first = client.post(URL, headers=account.headers, json=body)
    assert first.status_code == 201
    again = client.post(URL, headers=account.headers, json=body)
    assert (again.status_code, again.json()["code"]) == (409, "KILL_SWITCH_ENGAGED")
    address = f"{URL}/{first.json()['id']}"
    lifted = client.delete(address, headers=account.headers).json()
    assert lifted["liftedBy"] == account.user_id
    assert client.delete(address, headers=account.headers).json() == lifted
    assert client.post(URL, headers=account.headers, json=body).status_code == 201
    page = client.get(URL, headers=account.headers).json()
    assert (page["total"], [item["liftedAt"] is None for item in page["items"]]) == (2, [True, False])
    assert client.get(URL, headers=account.headers, params={"engaged": True}).json()["total"] == 1
    assert client.get(URL, headers=account.headers, params={"engaged": False}).json()["items"] == [lifted]
    assert client.get(URL, headers=account.headers, params={"page": 2}).json()["items"] == []
    told = rows.all(
        "select body::jsonb->>'action' as action from audit_entries where organization_id = %s"
        " and body::jsonb->>'action' like 'kill_switch.%%' order by sequence",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert [row["action"] for row in told] == ["kill_switch.engaged", "kill_switch.lifted", "kill_switch.engaged"]


def test_a_key_that_is_stopped_makes_itself_no_other(client: httpx.Client, account: Account) -> None:
    made = client.post("/api/v1/keys", headers=account.headers, json={"label": "leaked"}).json()
    stopped, address = bearer(made["key"]), f"/api/v1/keys/{made['keyId']}"
    child = client.post(f"{address}/attenuate", headers=stopped, json={"requestedCaps": ["keys:write"]}).json()
    body = {"scope": "key", "targetId": made["keyId"], "reason": "It has leaked."}
    switch = client.post(URL, headers=account.headers, json=body).json()
    other = f"/api/v1/keys/{child['childKeyId']}/rotate"
    for headers, url in ((stopped, "/api/v1/keys"), (stopped, f"{address}/rotate"), (bearer(child["childKey"]), other)):
        refused = client.post(url, headers=headers, json={"label": "another"})
        assert (refused.status_code, refused.json()["code"]) == (403, "E_FORBIDDEN"), url
    assert client.post("/api/v1/keys", headers=account.headers, json={"label": "another"}).status_code == 201
    assert client.delete(f"{URL}/{switch['id']}", headers=account.headers).status_code == 200
    assert client.post(f"{address}/rotate", headers=stopped).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "organization"},
        {"scope": "organization", "reason": ""},
        {"scope": "organization", "reason": "x" * 501},
        {"scope": "organization", "reason": "x", "targetId": "vk_1"},
        {"scope": "everything", "reason": "x"},
        {"scope": "agent", "reason": "x"},
        {"scope": "key", "reason": "x", "targetId": "vk_nonsense"},
        {"scope": "key", "reason": "x", "targetId": "vk_01JQ0000000000000000000000"},
    ],
)
def test_what_cannot_be_engaged(client: httpx.Client, account: Account, body: dict[str, Any]) -> None:
    answer = client.post(URL, headers=account.headers, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "E_VALIDATION_FAILED")
    assert client.get(URL, headers=account.headers).json()["total"] == 0


@pytest.mark.parametrize("role", ["EM", "DEVELOPER", "VIEWER"])
def test_only_administrators_may(client: httpx.Client, account: Account, rows: Rows, role: str) -> None:
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    rows.run("update memberships set role = %s where organization_id = %s", role, organization_id)
    for answer in (
        client.get(URL, headers=account.headers),
        client.post(URL, headers=account.headers, json={"scope": "organization", "reason": "x"}),
        client.delete(f"{URL}/ks_01JQ0000000000000000000000", headers=account.headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "E_FORBIDDEN")
