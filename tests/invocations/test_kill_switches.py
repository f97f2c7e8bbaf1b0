"""Kill switches within one process: what is under way is cut wherever it waits, and settled once, for what it used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from sqlalchemy import text

from bailiwick import identity
from bailiwick.invocations.dialects import EventParser, ServerEvent
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.engaged_switches import EVERYTHING, TOPIC
from bailiwick.invocations.errors import KilledBySwitch
from bailiwick.invocations.kill_switches import Scope, engage_for, lift_for
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction
from bailiwick.kernel.ids import Prefix, encode
from bailiwick.kernel.notify import Listener
from tests.invocations.conftest import ModelServer, Tenant, make_tenant
from tests.invocations.model_calls import finish_reasons, read_events
from tests.invocations.provider_answers import until_asked
from tests.invocations.test_streams import (
    INPUT,
    LONG,
    assert_settled,
    endless,
    openai_events,
    read,
    sent,
    stream_call,
)
from tests.waiting import PATIENCE_SECONDS, happens, until_async

_WAITING = text(
    "select exists (select from pg_locks where not granted"
    " and pid in (select pid from pg_stat_activity where datname = current_database()))"
)
HEARD = f"engaged:0190c3a0-0000-7000-8000-000000000000:{EVERYTHING}"


async def engage(tenant: Tenant, scope: Scope = Scope.ORGANIZATION, target: str | None = None) -> str:
    switch = await engage_for(tenant.organization_id, scope=scope, target=target, reason="runaway", actor="usr_1")
    return switch.public_id


async def test_a_stream_that_waits_for_its_model_is_cut(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:11])
    events: list[ServerEvent] = []

    async def has_begun() -> bool:
        return bool(events)

    call = stream_call(tenant, model.deployment(), exchange, timeout_seconds=60)
    reading = asyncio.create_task(read_events(pipeline.stream(call), events))
    await until_async(has_begun)
    pipeline.kill_switches.hear(HEARD)
    await asyncio.wait_for(reading, PATIENCE_SECONDS)
    assert finish_reasons(events) == ["content_filter"]
    assert not reading.cancelling()
    assert await assert_settled(tenant, "blocked", decision="KILL", error_code="KILL_SWITCH") > INPUT
    await happens(model.disconnected)


async def test_a_stream_whose_reader_stands_still_is_cut_and_settled_all_the_same(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:11])
    async with pipeline.stream(stream_call(tenant, model.deployment(), exchange)) as stream:
        await anext(stream)
        pipeline.kill_switches.hear(HEARD)
        await happens(model.disconnected)
        async with asyncio.timeout(PATIENCE_SECONDS):
            held = "select 1 from holds where organization_id = :organization and state = 'open'"
            while await tenant.rows(held):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        cost = await assert_settled(tenant, "blocked", decision="KILL", error_code="KILL_SWITCH")
        rest = EventParser().feed(b"".join([content async for content in stream]))
        assert finish_reasons(rest) == ["content_filter"]
    assert await assert_settled(tenant, "blocked", decision="KILL", error_code="KILL_SWITCH") == cost


async def test_a_reader_that_leaves_as_it_is_cut_is_settled_once(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless(*openai_events(LONG)[:11])
    async with pipeline.stream(stream_call(tenant, model.deployment(), exchange)) as stream:
        await anext(stream)
        pipeline.kill_switches.hear(HEARD)
    await assert_settled(tenant, "blocked", decision="KILL", error_code="KILL_SWITCH")
    told = await tenant.rows("select topic from outbox_events where organization_id = :organization")
    assert [row["topic"] for row in told].count("invocation.settled") == 1


async def test_a_caller_who_goes_away_as_it_is_cut_is_cancelled(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = endless()
    call = stream_call(tenant, model.deployment(), exchange, timeout_seconds=60)
    running = asyncio.create_task(pipeline.invoke(call))
    await until_asked(model)
    pipeline.kill_switches.hear(HEARD)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await assert_settled(tenant, "cancelled", error_code="CANCELLED") == INPUT  # the model has it


async def test_a_switch_is_known_to_admission_before_any_process_hears_of_it(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    switch = await engage(tenant)
    with pytest.raises(KilledBySwitch):
        await pipeline.invoke(stream_call(tenant, model.deployment(), exchange))
    row = await tenant.last()
    assert (row["status"], row["decision"], row["error_code"]) == ("refused", "KILL", "KILL_SWITCH")
    assert model.requests == []
    await lift_for(tenant.organization_id, switch, actor="usr_1")
    await pipeline.invoke(stream_call(tenant, model.deployment(), exchange))


async def test_a_switch_that_was_engaged_while_nobody_listened_cuts_after_the_gap(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    other = await make_tenant()
    model.answer = endless()
    calls = [stream_call(one, model.deployment(), exchange, timeout_seconds=60) for one in (tenant, other)]
    running, others = (asyncio.create_task(pipeline.invoke(call)) for call in calls)
    await until_asked(model, 2)
    await engage(tenant)
    pipeline.kill_switches.hear(None)
    with pytest.raises(KilledBySwitch):
        await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert not others.done()
    others.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await others


async def test_a_switch_that_was_lifted_while_nobody_listened_is_forgotten_after_the_gap(
    db: Database, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    pipeline.kill_switches.hear(HEARD)
    with pytest.raises(KilledBySwitch):
        await pipeline.invoke(stream_call(tenant, model.deployment(), exchange))
    listener = Listener(db)
    listener.subscribe(TOPIC, pipeline.kill_switches.hear)
    listener.start()
    try:
        await happens(listener.ready)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(KilledBySwitch):
                    await pipeline.invoke(stream_call(tenant, model.deployment(), exchange))
                    break
    finally:
        await listener.stop()


async def test_a_key_is_stopped_with_those_attenuated_from_it(
    db: Database, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async with tenant_transaction(tenant.organization_id) as session:
        created = [
            (
                await identity.create_virtual_key(
                    session, tenant.organization_id, membership_id=tenant.caller.membership_id, label=label
                )
            )
            for label in ("parent", "other")
        ]
        parent, other = (row for row, _ in created)
        _, child_token = await identity.create_virtual_key(
            session,
            tenant.organization_id,
            membership_id=tenant.caller.membership_id,
            label="child",
            parent_key_id=parent.id,
        )
    child = Tenant(tenant.organization_id, await identity.authenticate(child_token))
    stranger = Tenant(tenant.organization_id, await identity.authenticate(created[1][1]))
    assert stranger.caller.key_id == other.id
    listener = Listener(db)
    listener.subscribe(TOPIC, pipeline.kill_switches.hear)
    listener.start()
    await happens(listener.ready)
    try:
        model.answer = endless()
        calls = [stream_call(one, model.deployment(), exchange, timeout_seconds=60) for one in (child, stranger)]
        running, others = (asyncio.create_task(pipeline.invoke(call)) for call in calls)
        await until_asked(model, 2)
        await engage(tenant, Scope.KEY, encode(Prefix.VIRTUAL_KEY, parent.id))
        with pytest.raises(KilledBySwitch):
            await asyncio.wait_for(running, PATIENCE_SECONDS)
        assert not others.done()
        with pytest.raises(KilledBySwitch):
            await pipeline.invoke(stream_call(child, model.deployment(), exchange))
        others.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await others
        model.answer = sent(*openai_events(["Hi."], {"prompt_tokens": 1, "completion_tokens": 1}))
        await read(pipeline.stream(stream_call(stranger, model.deployment(), exchange)), [])
    finally:
        await listener.stop()


async def test_a_key_that_is_attenuated_as_its_parent_is_stopped_is_told_as_stopped(
    db: Database, tenant: Tenant, pipeline: Pipeline
) -> None:
    organization_id = tenant.organization_id
    facts: dict[str, Any] = {"membership_id": tenant.caller.membership_id, "label": "key"}
    async with tenant_transaction(organization_id) as session:
        parent, _ = await identity.create_virtual_key(session, organization_id, **facts)
    told: list[str | None] = []
    listener = Listener(db)
    listener.subscribe(TOPIC, told.append)
    listener.start()
    await happens(listener.ready)
    try:
        async with tenant_transaction(organization_id) as session:
            await identity.lock_family(session, organization_id, parent.id)
            child, _ = await identity.create_virtual_key(session, organization_id, parent_key_id=parent.id, **facts)
            engaging = asyncio.create_task(engage(tenant, Scope.KEY, encode(Prefix.VIRTUAL_KEY, parent.id)))
            async with system_transaction(CrossTenantUse.MAINTENANCE) as watching:
                async with asyncio.timeout(PATIENCE_SECONDS):  # it waits for the child, or would have overlooked it
                    while not await watching.scalar(_WAITING) and not engaging.done():  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
        await engaging
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len([one for one in told if one is not None]) < 2:  # noqa: ASYNC110 - a notification wakes nobody
                await asyncio.sleep(0.01)
        assert {one.rpartition(":")[2] for one in told if one is not None} == {str(parent.id), str(child.id)}
    finally:
        await listener.stop()
