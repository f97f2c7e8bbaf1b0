"""Limits of virtual keys as admission decides them: exact for any number of callers and processes."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from bailiwick import identity, ledger
from bailiwick.identity import Caller, Founder, KeySettings, ShownKey
from bailiwick.invocations.admission import TermsChanged
from bailiwick.invocations.errors import BudgetExhausted, CallRateLimited, HardCapReached
from bailiwick.invocations.lanes import Lane
from bailiwick.invocations.requests import Admission, Status
from bailiwick.kernel.database import Database, tenant_transaction
from bailiwick.kernel.ids import Prefix, decode, encode
from tests.identity.key_worker import CALLERS
from tests.invocations.money import a_lane, a_settlement, an_admission

USD = 1_000_000
NO_GRACE = timedelta(0)


class House(msgspec.Struct):
    """An organization whose calls are paid by an account without a bound, and the lane."""

    db: Database
    caller: Caller
    account_id: UUID
    sink_id: UUID
    lane: Lane

    @property
    def id(self) -> UUID:
        return self.caller.tenant

    async def key(self, **settings: Any) -> ShownKey:
        """A new key of the owner's."""
        return await identity.issue_key(
            self.caller, label="test", scopes=["*"], expires_at=None, settings=KeySettings(**settings)
        )

    async def limits(self, key_id: UUID | None, session_name: str | None = None) -> Sequence[UUID]:
        """The budgets of a call now."""
        async with tenant_transaction(self.id) as session:
            limits = await identity.key_limits(
                session, self.id, key_id, membership_id=self.caller.membership_id, session_name=session_name
            )
        return limits.budget_ids

    async def call(self, key_id: UUID | None, amount: int = 1, **more: Any) -> Admission:
        """One admitted call, with the key's limits of this moment."""
        budget_ids = await self.limits(key_id, more.pop("session_name", None))
        version = (
            more.pop("version", None) or self.run("select version from organizations where id = %s", self.id)[0][0]
        )
        item = an_admission(self.id, self.account_id, self.sink_id, amount, budget_ids, **more)
        item = msgspec.structs.replace(
            item, charge=msgspec.structs.replace(item.charge, organization_version=version, virtual_key_id=key_id)
        )
        await self.lane.admit(item)
        return item

    async def end(self, item: Admission, cost: int = 1, *, status: Status = Status.COMPLETED, tokens: int = 0) -> None:
        """Settles a call."""
        await self.lane.settle(a_settlement(item, status, cost, tokens=tokens))

    def run(self, statement: str, *parameters: object) -> list[Any]:
        """Arranges the database as its superuser."""
        with psycopg.connect(self.db.url, autocommit=True) as connection:
            found = connection.execute(statement.encode(), parameters)
            return found.fetchall() if found.description else []

    def pass_a_minute(self) -> None:
        """Makes all that was a while ago: every window of a minute has ended."""
        self.run(
            "update budgets set period_start = period_start - interval '2 minutes',"
            " period_end = period_end - interval '2 minutes' where period = 'minute'"
        )
        self.run("update holds set created_at = created_at - interval '2 minutes'")


@pytest.fixture
async def house(db: Database) -> AsyncIterator[House]:
    signed_up = await identity.sign_up(Founder(email="ann@example.com", password="passw0rd!", name="Ann"))
    caller = await identity.authenticate(signed_up.tokens.access_token)
    async with tenant_transaction(caller.tenant) as session:
        accounts = [
            await ledger.open_account(
                session, caller.tenant, ledger="usd_micros", kind=kind, owner_id=caller.tenant, floor=None
            )
            for kind in ("test_payer", "test_sink")
        ]
    opened = House(db, caller, accounts[0].id, accounts[1].id, a_lane(db))
    yield opened
    await opened.lane.close()
    report = await ledger.check(grace=NO_GRACE)
    assert report.clean, report.problems


async def test_of_racing_calls_exactly_the_limit_is_let_in(house: House) -> None:
    key = (await house.key(rate_limit_rpm=13)).key
    budget_ids = await house.limits(key.id)
    items = [an_admission(house.id, house.account_id, house.sink_id, 1, budget_ids) for _ in range(40)]
    results = await asyncio.gather(*(house.lane.admit(item) for item in items), return_exceptions=True)
    refused = [result for result in results if isinstance(result, CallRateLimited)]
    assert (len(results) - len(refused), len(refused)) == (13, 27)
    assert all(1 <= one.retry_after_seconds <= 60 for one in refused)
    assert house.run("select distinct error_code from invocations where status = 'refused'") == [("rate_limited",)]


async def test_a_limit_holds_over_processes(house: House) -> None:
    key = (await house.key(rate_limit_rpm=CALLERS + 7)).key
    ids = [str(one) for one in (house.id, key.id, house.account_id, house.sink_id)]
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.identity.key_worker", house.db.url, *ids),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))
    assert sum(int(out) for out, _ in answers) == CALLERS + 7


async def test_a_call_counts_in_the_window_that_it_was_admitted_in(house: House) -> None:
    key = (await house.key(rate_limit_rpm=2, rate_limit_tpm=100)).key
    first = await house.call(key.id, tokens=50)
    second = await house.call(key.id, tokens=50)
    with pytest.raises(CallRateLimited):
        await house.call(key.id)
    await house.end(first, tokens=10, status=Status.FAILED)
    with pytest.raises(CallRateLimited):  # a request counts whatever became of it
        await house.call(key.id)
    house.pass_a_minute()
    third = await house.call(key.id, tokens=100)
    await house.end(second, tokens=50)  # of the window before: it gives the new one nothing back
    with pytest.raises(CallRateLimited):
        await house.call(key.id, tokens=1)
    await house.end(third, tokens=30)
    await house.call(key.id, tokens=70)
    with pytest.raises(CallRateLimited):
        await house.call(key.id)


async def test_calls_of_two_windows_that_end_together_count_in_their_own(house: House) -> None:
    key = (await house.key(rate_limit_tpm=100)).key
    budget_ids = await house.limits(key.id)

    async def call(tokens: int) -> Admission:
        item = an_admission(house.id, house.account_id, house.sink_id, 1, budget_ids, tokens=tokens)
        await house.lane.admit(item)
        return item

    before = await asyncio.gather(call(40), call(60))
    house.pass_a_minute()
    after = await asyncio.gather(call(50), call(50))
    ends = [house.end(item, tokens=10) for item in (*before, *after)]
    await asyncio.gather(*ends)  # in one batch
    assert house.run("select spent, held from budgets where period = 'minute'") == [(20, 0)]


async def test_tokens_per_minute_are_held_and_the_surplus_is_returned(house: House) -> None:
    key = (await house.key(rate_limit_tpm=250)).key
    held = [await house.call(key.id, tokens=100) for _ in range(2)]
    with pytest.raises(CallRateLimited):
        await house.call(key.id, tokens=51)
    await house.end(held[0], tokens=30)
    await house.call(key.id, tokens=120)
    with pytest.raises(CallRateLimited):
        await house.call(key.id, tokens=1)


async def test_expired_holds_leave_requests_counted(house: House) -> None:
    key = (await house.key(rate_limit_rpm=1, rate_limit_tpm=10)).key
    await house.call(key.id, tokens=10)
    house.run("update holds set lease_expires_at = now() - interval '1 second'")
    assert len(await ledger.expire_holds()) == 1
    with pytest.raises(CallRateLimited):
        await house.call(key.id, tokens=1)


async def test_holds_of_the_ledger_keep_to_limits_per_minute(house: House) -> None:
    key = (await house.key(rate_limit_rpm=1, rate_limit_tpm=10)).key

    async def hold() -> UUID:
        async with tenant_transaction(house.id) as session:
            limits = await identity.key_limits(session, house.id, key.id)
            placed = await ledger.place_hold(
                session,
                house.id,
                debit_account_id=house.account_id,
                credit_account_id=house.sink_id,
                amount=1,
                tokens=10,
                kind="test",
                lease_expires_at=placed_until,
                budget_ids=limits.budget_ids,
            )
        return placed.id

    placed_until = house.run("select now() + interval '1 hour'")[0][0]
    first = await hold()
    with pytest.raises(ledger.BudgetExceeded):
        await hold()
    house.pass_a_minute()
    second = await hold()
    async with tenant_transaction(house.id) as session:
        await ledger.void_hold(session, house.id, first)
        await ledger.post_hold(session, house.id, second, amount=1, tokens=4)
    with pytest.raises(ledger.BudgetExceeded):
        await hold()


async def test_a_budget_is_spent_to_the_last_micro_dollar_and_no_further(house: House) -> None:
    key = (await house.key(budget_micros=100)).key
    first = await house.call(key.id, 60)
    with pytest.raises(BudgetExhausted) as refused:
        await house.call(key.id, 41)
    assert refused.value.code == "BUDGET_EXCEEDED"
    assert refused.value.budget_id in await house.limits(key.id)
    await house.end(first, 20)
    await house.end(await house.call(key.id, 80), 80)
    with pytest.raises(BudgetExhausted):
        await house.call(key.id, 1)
    shown = await identity.show_key(house.caller, encode(Prefix.VIRTUAL_KEY, key.id))
    assert shown.spent_micros == 100


async def test_a_ceiling_set_later_counts_what_was_spent_before(house: House) -> None:
    key = (await house.key()).key
    public_id = encode(Prefix.VIRTUAL_KEY, key.id)
    await house.end(await house.call(key.id, 70), 70)
    await identity.change_key(house.caller, public_id, {"budget_micros": 100})
    with pytest.raises(TermsChanged):  # a process that has not heard of the change is told at admission
        await house.call(key.id, 30, version=1)
    await house.end(await house.call(key.id, 30), 30)
    with pytest.raises(BudgetExhausted):
        await house.call(key.id, 1)
    await identity.change_key(house.caller, public_id, {"budget_micros": None, "rate_limit_rpm": 1})
    await house.call(key.id, 1000)
    with pytest.raises(CallRateLimited):
        await house.call(key.id, 1)


async def test_a_limit_that_changes_while_it_is_opened_ends_as_it_was_set(house: House) -> None:
    for number in range(5):
        key = (await house.key(budget_micros=100, rate_limit_rpm=1)).key
        changes = {"budget_micros": 200 + number, "rate_limit_rpm": 5}
        await asyncio.gather(
            house.limits(key.id), identity.change_key(house.caller, encode(Prefix.VIRTUAL_KEY, key.id), changes)
        )
        limits = house.run("select unit, limit_amount from budgets where scope_id = %s order by unit", key.id)
        assert limits == [("requests", 5), ("usd_micros", 200 + number)]


async def test_children_spend_on_every_key_above_them(house: House) -> None:
    parent = (await house.key(budget_micros=100, rate_limit_rpm=3)).key
    child = (await identity.attenuate_key(house.caller, encode(Prefix.VIRTUAL_KEY, parent.id), requested=["proxy"])).key
    grandchild = (
        await identity.attenuate_key(house.caller, encode(Prefix.VIRTUAL_KEY, child.id), requested=["proxy"])
    ).key
    await house.end(await house.call(grandchild.id, 50), 50)
    await house.end(await house.call(child.id, 30), 30)
    with pytest.raises(BudgetExhausted):
        await house.call(grandchild.id, 21)
    await house.call(parent.id, 20)
    with pytest.raises(CallRateLimited):
        await house.call(grandchild.id, 0)
    shown = await identity.show_key(house.caller, encode(Prefix.VIRTUAL_KEY, parent.id))
    assert shown.spent_micros == 80


async def test_rotation_gives_nobody_anew_what_was_spent(house: House) -> None:
    old = (await house.key(budget_micros=100, rate_limit_rpm=2)).key
    await house.end(await house.call(old.id, 90), 90)
    new = (await identity.rotate_key(house.caller, encode(Prefix.VIRTUAL_KEY, old.id), grace_seconds=600)).key
    with pytest.raises(BudgetExhausted):
        await house.call(new.id, 11)
    await house.call(new.id, 10)
    for key in (old, new):
        with pytest.raises(CallRateLimited):
            await house.call(key.id, 0)


async def test_a_day_that_has_ended_is_not_spent_from(house: House) -> None:
    key = (await house.key(budget_micros=100, budget_period="day")).key
    stale = await house.limits(key.id)
    await house.end(await house.call(key.id, 100), 100)
    house.run(
        "update budgets set period_start = period_start - interval '1 day', period_end = period_end - interval '1 day'"
        " where period = 'day'"
    )
    with pytest.raises(TermsChanged):
        await house.lane.admit(an_admission(house.id, house.account_id, house.sink_id, 1, stale))
    fresh = await asyncio.gather(*(house.limits(key.id) for _ in range(5)))
    assert all(one == fresh[0] for one in fresh)
    assert set(fresh[0]) != set(stale)
    await house.call(key.id, 100)
    with pytest.raises(BudgetExhausted):
        await house.call(key.id, 1)


async def test_a_change_counts_for_the_day_that_admission_goes_by(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await house.key(budget_micros=100, budget_period="day")).key
    await house.end(await house.call(key.id, 60), 60)
    # This process thinks that it is tomorrow.
    monkeypatch.setattr("bailiwick.identity.member_keys.now", lambda: datetime.now(UTC) + timedelta(days=1))
    await identity.change_key(house.caller, encode(Prefix.VIRTUAL_KEY, key.id), {"budget_micros": 70})
    with pytest.raises(BudgetExhausted):
        await house.call(key.id, 11)
    await house.call(key.id, 10)


async def test_members_sessions_and_the_organization_have_limits_of_their_own(house: House) -> None:
    """The first limit that is reached: of the session 5 USD, of a JUNIOR's day 10, of the organization's day 100."""
    key = (await house.key()).key
    await house.end(await house.call(key.id, 5 * USD, session_name="s1"), 5 * USD)
    with pytest.raises(BudgetExhausted):
        await house.call(key.id, 1, session_name="s1")
    await house.call(key.id, 4 * USD, session_name="s2")
    with pytest.raises(BudgetExhausted):
        await house.call(None, 1 * USD + 1)  # an access token's calls count on the member too
    async with tenant_transaction(house.id) as session:
        for row in house.run("select id from budgets where scope = 'member'"):
            await ledger.set_limit(session, house.id, row[0], 1_000 * USD)
    await house.call(key.id, 91 * USD)
    with pytest.raises(HardCapReached) as refused:
        await house.call(key.id, 1)
    assert refused.value.code == "OVERAGE_HARD_CAP_EXCEEDED"
    assert house.run("select distinct error_code from invocations where status = 'refused' order by 1") == [
        ("budget_exceeded",),
        ("hard_cap_exceeded",),
    ]


async def test_of_several_limits_the_one_that_lasts_longest_is_told(house: House) -> None:
    key = (await house.key(budget_micros=1, rate_limit_rpm=1)).key
    await house.call(key.id, 1)
    with pytest.raises(BudgetExhausted):
        await house.call(key.id, 1)


async def test_the_narrowest_budget_answers_a_check_that_changes_nothing(house: House) -> None:
    key = await house.key(budget_micros=7 * USD)
    assert key.plaintext is not None
    caller = await identity.authenticate(key.plaintext)
    before = house.run("select count(*) from budgets")
    fits = await identity.check_budget(caller, estimated_micros=7 * USD)
    assert (fits.allowed, fits.scope, fits.narrowest.left) == (True, "key", 7 * USD)
    assert not (await identity.check_budget(caller, estimated_micros=7 * USD + 1)).allowed
    in_session = await identity.check_budget(caller, estimated_micros=6 * USD, session_name="s")
    assert (in_session.allowed, in_session.scope, in_session.narrowest.left) == (False, "session", 5 * USD)
    assert house.run("select count(*) from budgets") == before
    await house.call(decode(Prefix.VIRTUAL_KEY, encode(Prefix.VIRTUAL_KEY, key.key.id)), 3 * USD)
    assert (await identity.check_budget(caller, estimated_micros=1)).narrowest.left == 4 * USD
    member = await identity.check_budget(house.caller, estimated_micros=8 * USD)
    assert (member.allowed, member.scope, member.narrowest.left) == (False, "member", 7 * USD)


class _Predicted(msgspec.Struct):
    """What a key's limits per minute must stand at: the present window's requests and tokens."""

    window: int = 0
    requests: int = 0
    tokens: int = 0


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_calls_ends_and_minutes_is_counted_as_predicted(house: House, seed: int) -> None:
    chance = random.Random(seed)
    rpm, tpm = 4, 100
    key = (await house.key(rate_limit_rpm=rpm, rate_limit_tpm=tpm)).key
    budget_ids = await house.limits(key.id)
    now, is_over = _Predicted(), True
    running: list[tuple[Admission, int, int]] = []  # each with its tokens and window
    for _ in range(60):
        match chance.choice(("call", "call", "call", "end", "minute")):
            case "call":
                tokens = chance.randint(0, 60)
                item = an_admission(house.id, house.account_id, house.sink_id, 1, budget_ids, tokens=tokens)
                if is_over:
                    now, is_over = _Predicted(now.window + 1), False
                fits = now.requests < rpm and now.tokens + tokens <= tpm
                try:
                    await house.lane.admit(item)
                except CallRateLimited:
                    assert not fits
                else:
                    assert fits
                    now.requests, now.tokens = now.requests + 1, now.tokens + tokens
                    running.append((item, tokens, now.window))
            case "end" if running:
                item, tokens, window = running.pop(chance.randrange(len(running)))
                used = chance.randint(0, tokens)
                await house.end(item, 1, tokens=used)
                if window == now.window:
                    now.tokens -= tokens - used
            case "minute":
                house.pass_a_minute()
                is_over = True
    stand = dict(house.run("select unit, spent + held from budgets where period = 'minute'"))
    assert stand == {"requests": now.requests, "tokens": now.tokens}
