"""The circuit breaker: when it opens, whom it lets through to probe, and that every probe ends."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import TargetTimeout, TargetUnavailable
from bailiwick.invocations.requests import Usage
from bailiwick.kernel.outbound import Outbound
from tests.invocations.conftest import ModelServer
from tests.invocations.test_http_agents import an_agent, answering
from tests.waiting import happens


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """At zero."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """Opens at the third failure, for ten seconds."""
    return CircuitBreaker(failures=3, cooldown_seconds=10, clock=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.failed("a")


def test_a_breaker_opens_at_its_limit_for_that_target_alone(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert breaker.allows("a")
    fail(breaker, 1)
    assert not breaker.allows("a")
    assert breaker.allows("b")


def test_a_success_between_failures_closes_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.succeeded("a")
    fail(breaker, 2)
    assert breaker.allows("a")


def test_after_the_cooldown_one_caller_probes(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.seconds = 9.9
    assert not breaker.allows("a")
    clock.seconds = 10
    assert [breaker.allows("a") for _ in range(3)] == [True, False, False]
    breaker.succeeded("a")
    assert [breaker.allows("a") for _ in range(3)] == [True, True, True]


def test_a_probe_that_fails_opens_it_again_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.seconds = 10
    assert breaker.allows("a")
    fail(breaker, 1)
    clock.seconds = 19.9
    assert not breaker.allows("a")
    clock.seconds = 20
    assert breaker.allows("a")


def test_a_probe_that_tells_nothing_lets_the_next_one_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.seconds = 10
    assert breaker.allows("a")
    breaker.abandoned("a")
    assert breaker.allows("a")


def test_breakers_of_any_number_of_targets_stay_bounded(breaker: CircuitBreaker) -> None:
    for number in range(10_000):
        breaker.failed(str(number))
    assert len(breaker._states) <= 4096


@pytest.mark.parametrize("ending", ["unreadable", "left", "timeout", "refused", "bad-header"])
async def test_however_a_probe_ends_the_target_is_probed_again(
    model: ModelServer, breaker: CircuitBreaker, clock: Clock, ending: str
) -> None:
    outbound = Outbound(frozenset({"127.0.0.1"}))
    exchange = Exchange(outbound, breaker, attempts=1, connect_seconds=20)
    model.answer = answering("", status=500)
    target = an_agent(model, exchange)
    for _ in range(3):
        with pytest.raises(TargetUnavailable):
            await target.dispatch(["Hello"], Usage())
    assert len(model.requests) == 3
    with pytest.raises(TargetUnavailable, match="left alone"):
        await target.dispatch(["Hello"], Usage())
    clock.seconds = 10

    reached = asyncio.Event()

    async def hang(_request: web.Request) -> web.StreamResponse:
        reached.set()
        await asyncio.sleep(60)
        raise AssertionError

    match ending:
        case "unreadable":
            model.answer = answering("x" * (17 * 1024 * 1024))
            with pytest.raises(TargetUnavailable):
                await target.dispatch(["Hello"], Usage())
        case "left":
            model.answer = hang
            probe = asyncio.create_task(target.dispatch(["Hello"], Usage()))
            await happens(reached)
            probe.cancel()
            await asyncio.wait([probe])
        case "timeout":
            model.answer = hang
            with pytest.raises(TargetTimeout):
                await an_agent(model, exchange, timeout_seconds=0.2).dispatch(["Hello"], Usage())
        case "refused":
            model.answer = answering("", status=404)
            with pytest.raises(TargetUnavailable):
                await target.dispatch(["Hello"], Usage())
        case "bad-header":
            with pytest.raises(ValueError, match="header"):
                await an_agent(model, exchange, headers={"x": "two\nlines"}).dispatch(["Hello"], Usage())

    clock.seconds = 20
    model.answer = answering({"response": "Well again."})
    assert await target.dispatch(["Hello"], Usage()) == "Well again."
    await outbound.close()
