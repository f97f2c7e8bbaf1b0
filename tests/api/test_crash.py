"""A server that is killed, told to stop, or left by its clients while runs are in flight: nothing is lost or leaked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import yaml
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit, billing, identity, ledger
from bailiwick.identity import Founder
from bailiwick.invocations import sweep
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.settings import Settings
from tests.api.accounts import bearer
from tests.api.servers import Server, running_server
from tests.invocations.conftest import ModelServer, Tenant, json_answer, running_model_server
from tests.waiting import PATIENCE_SECONDS, happens, until_async

Revoke = Callable[[AsyncSession, UUID, UUID], Awaitable[object]]
GRANTED = 50_000_000
LEASE_SECONDS = 4
RUN = {"agentId": "helpdesk-tier1-triage", "message": "Router offline at floor 3"}

pytestmark = pytest.mark.timeout(180)


class Gate:
    """A model server's answer that waits until it is opened."""

    def __init__(self, model: ModelServer) -> None:
        self._opened = asyncio.Event()
        self._model = model
        model.answer = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await self._opened.wait()
        return await json_answer(request, text="Restart it.")

    def open(self) -> None:
        self._opened.set()

    async def reached(self, calls: int) -> None:
        """Returns when so many calls wait at the gate."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self._model.requests) < calls:  # noqa: ASYNC110 - the server counts, it does not tell
                await asyncio.sleep(0.02)


class World(msgspec.Struct, frozen=True):
    """A server whose model waits, and a tenant of it with a key."""

    server: Server
    gate: Gate
    model: ModelServer
    tenant: Tenant
    key: str
    access_token: str

    async def run(self, client: httpx.AsyncClient, credential: str = "") -> httpx.Response:
        return await client.post(
            f"{self.server.base_url}/api/v1/agent/run", json=RUN, headers=bearer(credential or self.key), timeout=60
        )

    async def statuses(self) -> list[str]:
        rows = await self.tenant.rows(
            "select id, status from invocations where organization_id = :organization union all"
            " select id, 'started' from holds where organization_id = :organization and state = 'open' order by id"
        )
        return [row["status"] for row in rows]

    async def actions(self) -> list[str]:
        rows = await self.tenant.rows(
            "select body::jsonb->>'action' as action from audit_entries where organization_id = :organization"
        )
        return [row["action"] for row in rows]

    async def assert_all_is_well(self) -> None:
        """The books are right, nothing is held, and the audit log verifies."""
        report = await ledger.check()
        assert report.clean, report.problems
        assert (await self.tenant.money())[1] == 0
        await audit.verify_stored_log(self.tenant.organization_id)


@contextlib.asynccontextmanager
async def a_world(database_url: str, data_dir: Path, *, workers: int = 1, **settings: str) -> AsyncIterator[World]:
    async with running_model_server() as model:
        gate = Gate(model)
        parameters: dict[str, Any] = {"model": "openai/stub-1", "api_base": model.base_url, "api_key": "sk-test"}
        parameters |= {"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
        models = data_dir / "models.yaml"
        models.write_text(yaml.safe_dump({"model_list": [{"model_name": "fast", "litellm_params": parameters}]}))
        with running_server(
            database_url,
            data_dir,
            workers=workers,
            models=str(models),
            hosted_agents_model="fast",
            outbound_allowed_hosts='["127.0.0.1"]',
            **settings,
        ) as server:
            signed_up = await identity.sign_up(
                Founder(email="owner@example.com", password="correct horse", name="Owner")
            )
            caller = await identity.authenticate(signed_up.key_plaintext)
            await billing.provision_tenant(caller, organization=str(caller.organization_name), plan=billing.Plan.PRO)
            tenant = Tenant(caller.tenant, caller)
            try:
                yield World(server, gate, model, tenant, signed_up.key_plaintext, signed_up.tokens.access_token)
            finally:
                gate.open()


@pytest.fixture
def data_dir(settings_for_test: Settings) -> Path:
    """The folder that the server shares with this process: one installation, one master key."""
    settings_for_test.data_dir.mkdir(parents=True, exist_ok=True)
    return settings_for_test.data_dir


async def in_flight(world: World, client: httpx.AsyncClient, runs: int) -> list[asyncio.Task[httpx.Response]]:
    """So many runs whose model has been asked."""
    tasks = [asyncio.create_task(world.run(client)) for _ in range(runs)]
    await world.gate.reached(runs)
    return tasks


async def test_a_killed_worker_loses_no_money(db: Database, database_url: str, data_dir: Path) -> None:
    async with (
        a_world(database_url, data_dir, hold_lease_seconds=str(LEASE_SECONDS)) as world,
        httpx.AsyncClient() as client,
    ):
        tasks = await in_flight(world, client, 5)
        assert (await world.tenant.money())[1] > 0
        (worker,) = world.server.children()
        os.kill(worker, signal.SIGKILL)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, httpx.TransportError)
        await happens(world.model.disconnected)

        swept = 0

        async def all_swept() -> bool:
            nonlocal swept
            swept += await sweep()
            return swept >= 5

        await until_async(all_swept)
        assert await sweep() == 0
        assert await world.statuses() == ["lost"] * 5
        assert (await world.actions()).count("invocation.lost") == 5
        assert await world.tenant.money() == (GRANTED, 0)
        await world.assert_all_is_well()

        # The server has replaced its worker, which works on where the other was cut off.
        world.gate.open()

        async def answered() -> bool:
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient() as anew:
                    return (await world.run(anew)).status_code == 200
            return False

        await until_async(answered)
        assert world.server.process.poll() is None
        assert worker not in world.server.children()
        assert (await world.statuses())[5:] == ["completed"]
        await world.assert_all_is_well()


async def test_a_whole_server_that_is_killed_loses_no_money(db: Database, database_url: str, data_dir: Path) -> None:
    async with a_world(database_url, data_dir, hold_lease_seconds=str(LEASE_SECONDS)) as world:
        async with httpx.AsyncClient() as client:
            tasks = await in_flight(world, client, 3)
            for pid in (*world.server.children(), world.server.process.pid):
                os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*tasks, return_exceptions=True)

        async def all_lost() -> bool:
            await sweep()
            return await world.statuses() == ["lost"] * 3

        await until_async(all_lost)
        assert await world.tenant.money() == (GRANTED, 0)
        await world.assert_all_is_well()


async def test_a_server_that_is_told_to_stop_answers_what_is_in_flight(
    db: Database, database_url: str, data_dir: Path
) -> None:
    async with a_world(database_url, data_dir) as world, httpx.AsyncClient() as client:
        tasks = await in_flight(world, client, 5)
        world.server.process.send_signal(signal.SIGTERM)

        async def refuses() -> bool:
            try:
                async with httpx.AsyncClient() as stranger:
                    await stranger.get(f"{world.server.base_url}/health", timeout=2)
            except httpx.ConnectError:
                return True
            except httpx.TransportError:
                return False
            return False

        await until_async(refuses)
        assert not any(task.done() for task in tasks)
        world.gate.open()
        for response in await asyncio.gather(*tasks):
            assert response.status_code == 200
            assert response.json()["response"] == "Restart it."
        assert await asyncio.to_thread(world.server.process.wait, 30) == 0
        assert await world.statuses() == ["completed"] * 5
        await world.assert_all_is_well()


async def test_a_client_that_disconnects_is_settled_as_cancelled(
    db: Database, database_url: str, data_dir: Path
) -> None:
    async with a_world(database_url, data_dir) as world:
        async with httpx.AsyncClient() as client:
            tasks = await in_flight(world, client, 3)
            tasks[0].cancel()  # one connection is closed, the others stay

            async def settled() -> bool:
                return (await world.statuses()).count("cancelled") == 1

            await until_async(settled)
            await happens(world.model.disconnected)
            assert sorted(await world.statuses()) == ["cancelled", "started", "started"]
            world.gate.open()
            for response in await asyncio.gather(*tasks[1:]):
                assert response.status_code == 200
        assert sorted(await world.statuses()) == ["cancelled", "completed", "completed"]
        assert (await world.actions()).count("invocation.cancelled") == 1
        await world.assert_all_is_well()


async def test_a_run_that_takes_longer_than_the_stop_may_is_not_charged(
    db: Database, database_url: str, data_dir: Path
) -> None:
    async with a_world(database_url, data_dir, shutdown_seconds="1") as world, httpx.AsyncClient() as client:
        tasks = await in_flight(world, client, 2)
        world.server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(world.server.process.wait, 40)
        for answer in await asyncio.gather(*tasks):
            assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE"), answer.text
        report = await ledger.check()
        assert report.clean, report.problems
        # Settled, or left for the sweeper; never charged, never both.
        assert set(await world.statuses()) <= {"cancelled", "failed", "started"}
        assert (await world.tenant.money())[0] == GRANTED


async def test_a_revoked_credential_runs_nothing_in_any_process_from_then_on(
    db: Database, database_url: str, data_dir: Path
) -> None:
    async with a_world(database_url, data_dir, workers=2) as world:
        world.gate.open()
        organization_id, caller = world.tenant.organization_id, world.tenant.caller
        assert caller.membership_id is not None
        async with tenant_transaction(organization_id) as session:
            api_key, api_token = await identity.create_api_key(
                session, organization_id, membership_id=caller.membership_id, label="CI"
            )

        async def run_anew(token: str) -> int:
            async with httpx.AsyncClient() as client:  # a connection of its own: either process may answer
                return (await world.run(client, token)).status_code

        async def assert_refused_after(revocation: Coroutine[Any, Any, None], token: str) -> None:
            assert {await run_anew(token) for _ in range(12)} == {200}
            asked = len(world.model.requests)
            await revocation
            # No waiting: a process that has not heard yet is stopped by admission.
            assert {await run_anew(token) for _ in range(24)} == {401}
            assert len(world.model.requests) == asked

        async def revoke(revoke_key: Revoke, key_id: UUID) -> None:
            async with tenant_transaction(organization_id) as session:
                await revoke_key(session, organization_id, key_id)

        await assert_refused_after(revoke(identity.revoke_api_key, api_key.id), api_token)
        session_caller = await identity.authenticate(world.access_token)
        await assert_refused_after(identity.log_out(session_caller), world.access_token)
        assert caller.key_id is not None  # last: it is also the key whose account pays
        await assert_refused_after(revoke(identity.revoke_virtual_key, caller.key_id), world.key)
        await world.assert_all_is_well()
