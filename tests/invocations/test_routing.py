"""Which deployment answers: weights, retries, cooldowns, breakers, fallbacks, and the time that all of it has."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from bailiwick.invocations.deployments import Deployment, ModelList, Routing
from bailiwick.invocations.dialects import Dialect
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.http_wire import HttpWire
from bailiwick.invocations.dispatch.model_requests import ModelRequest
from bailiwick.invocations.dispatch.routing import Policy, Router
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.errors import ProviderRefused, TargetTimeout, TargetUnavailable
from bailiwick.invocations.requests import Usage
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import (
    NO_ANSWERS,
    Answer,
    answering,
    asked,
    by_place,
    hanging,
    saying,
    sending,
    streamed,
    text_in,
    whole,
)
from tests.waiting import PATIENCE_SECONDS

CHAT, MESSAGES = Dialect.CHAT, Dialect.MESSAGES
FINE = answering(whole(CHAT, "Hello."))
TOO_LONG = {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def place(server: ModelServer, path: str, **more: Any) -> Deployment:
    """A deployment at a path of the server."""
    return server.deployment(base_url=f"{server.base_url}/{path}", **more)


class Routed:
    """Upstreams of these deployments, the breaker opening at the third failure, for ten seconds of `clock`."""

    def __init__(
        self,
        exchange: Exchange,
        places: Sequence[Deployment],
        routing: Routing | None = None,
        *,
        attempts: int = 1,
        timeout_seconds: float = 30,
        first_token_seconds: float = 5,
    ) -> None:
        models: dict[str, list[Deployment]] = {}
        for one in places:
            models.setdefault(one.name, []).append(one)
        self.clock = Clock()
        router = Router(
            ModelList(models, routing or Routing()),
            CircuitBreaker(failures=3, cooldown_seconds=10, clock=self.clock),
            Policy(attempts=attempts, timeout_seconds=timeout_seconds),
            clock=self.clock,
            chance=random.Random(7),
        )
        self.upstreams = Upstreams(router, HttpWire(exchange), first_token_seconds=first_token_seconds)

    async def ask(self, name: str = "fast", dialect: Dialect = CHAT) -> str:
        """The text of a whole answer."""
        body = {"model": name, "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
        request = ModelRequest(dialect=dialect, body=body, most_output_tokens=10)
        return text_in(dialect, (await self.upstreams.complete(name, request, Usage())).body)

    async def stream(self, name: str = "fast") -> int:
        """How many events a stream brings."""
        body = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
        request = ModelRequest(dialect=CHAT, body=body, stream=True, most_output_tokens=100)
        async with self.upstreams.stream(name, request, Usage()) as answer:
            return sum([len(events) async for events in answer])


def failing_once(then: Answer, first: Answer) -> Answer:
    """A server that answers one way once, and another way ever after."""
    answers = iter([first])

    async def answer(request: Any) -> Any:
        return await next(answers, then)(request)

    return answer


# Weights


@pytest.mark.parametrize("field", ["weight", "requests_per_minute"])
async def test_deployments_are_chosen_by_weight(model: ModelServer, exchange: Exchange, field: str) -> None:
    by_place(model, a=FINE, b=FINE, c=FINE)
    routed = Routed(
        exchange, [place(model, path, **{field: weight}) for path, weight in {"a": 6, "b": 2, "c": 0}.items()]
    )
    for _ in range(200):
        await routed.ask()
    counts = Counter(asked(model))
    assert 130 < counts["a"] < 170
    assert counts["c"] == 0


async def test_deployments_without_weights_are_chosen_alike(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=FINE, b=FINE)
    routed = Routed(exchange, [place(model, "a"), place(model, "b")])
    for _ in range(100):
        await routed.ask()
    assert min(Counter(asked(model)).values()) > 30


async def test_a_deployment_without_weight_answers_when_nothing_else_does(
    model: ModelServer, exchange: Exchange
) -> None:
    by_place(model, a=answering({}, status=500), b=FINE)
    routed = Routed(exchange, [place(model, "a", weight=1), place(model, "b", weight=0)])
    assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "b"]


# Errors that may pass


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
async def test_what_may_pass_is_tried_again_where_it_happened(
    model: ModelServer, exchange: Exchange, status: int
) -> None:
    model.answer = failing_once(FINE, answering({}, status=status, retry_after="0"))
    assert await Routed(exchange, [place(model, "a")], attempts=2).ask() == "Hello."
    assert asked(model) == ["a", "a"]


@pytest.mark.parametrize(
    ("said", "own", "tries"), [(None, None, 3), (1, None, 2), (1, 3, 4), (0, None, 1), (None, 0, 1)]
)
async def test_as_often_as_the_deployment_the_list_or_the_settings_say(
    model: ModelServer, exchange: Exchange, said: int | None, own: int | None, tries: int
) -> None:
    model.answer = answering({}, status=429)
    routed = Routed(exchange, [place(model, "a", retries=own)], Routing(retries=said), attempts=3)
    routed.upstreams._router.breaker = CircuitBreaker(failures=100, cooldown_seconds=10)
    with pytest.raises(ProviderRefused) as refused:
        await routed.ask()
    assert refused.value.status == 429
    assert len(model.requests) == tries


async def test_after_the_retries_comes_the_next_deployment(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=answering({}, status=503, retry_after="0"), b=FINE)
    routed = Routed(exchange, [place(model, "a", weight=1), place(model, "b", weight=0)], attempts=2)
    assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "a", "b"]


async def test_a_deployment_that_wants_to_be_left_alone_is(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=answering({}, status=429, retry_after="30"), b=FINE)
    routed = Routed(exchange, [place(model, "a", weight=1), place(model, "b", weight=0)], attempts=3)
    for _ in range(3):
        assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "b", "b", "b"]
    routed.clock.seconds = 31
    await routed.ask()
    assert asked(model)[4:] == ["a", "b"]


async def test_the_wait_may_be_told_in_milliseconds(model: ModelServer, exchange: Exchange) -> None:
    model.answer = failing_once(FINE, answering({}, status=429, retry_after_ms="5", retry_after="1000"))
    assert await Routed(exchange, [place(model, "a")], attempts=2).ask() == "Hello."


async def test_nobody_asks_to_be_left_alone_for_ever(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=failing_once(FINE, answering({}, status=429, retry_after="99999999")))
    routed = Routed(exchange, [place(model, "a")])
    with pytest.raises(ProviderRefused):
        await routed.ask()
    routed.clock.seconds = 301
    assert await routed.ask() == "Hello."


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
async def test_while_all_want_to_be_left_alone_the_client_is_told_how_long(
    model: ModelServer, exchange: Exchange, dialect: Dialect
) -> None:
    model.answer = answering({"error": {"message": "Slow down"}}, status=429, retry_after="30")
    routed = Routed(exchange, [place(model, "a")], attempts=3)
    with pytest.raises(ProviderRefused) as first:
        await routed.ask(dialect=dialect)
    assert first.value.headers["retry-after"] == "30"
    routed.clock.seconds = 10.5
    with pytest.raises(ProviderRefused) as second:
        await routed.ask(dialect=dialect)
    assert (second.value.status, second.value.headers["retry-after"]) == (429, "20")
    assert second.value.body["error"]["type"] == "rate_limit_error"
    assert len(model.requests) == 1


async def test_each_deployment_has_its_own_breaker(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=answering({}, status=500), b=FINE)
    routed = Routed(exchange, [place(model, "a", weight=1), place(model, "b", weight=0)])
    for _ in range(5):
        assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "b"] * 3 + ["b", "b"]
    routed.clock.seconds = 10
    await routed.ask()
    assert asked(model)[8:] == ["a", "b"]  # one call probes


async def test_with_every_breaker_open_nobody_is_asked(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering({}, status=500)
    routed = Routed(exchange, [place(model, "a")])
    for _ in range(3):
        with pytest.raises(ProviderRefused):
            await routed.ask()
    with pytest.raises(TargetUnavailable, match="left alone"):
        await routed.ask()
    assert len(model.requests) == 3


@pytest.mark.parametrize("ending", ["answered", "refused", "left", "broken"])
async def test_however_a_streams_probe_ends_the_deployment_is_probed_again(
    model: ModelServer, exchange: Exchange, ending: str
) -> None:
    model.answer = answering({}, status=500)
    routed = Routed(exchange, [place(model, "a")])
    for _ in range(3):
        with pytest.raises(ProviderRefused):
            await routed.stream()
    routed.clock.seconds = 10
    match ending:
        case "answered":
            model.answer = sending(*streamed(CHAT, ["Hi."]))
            await routed.stream()
        case "refused":
            model.answer = answering({}, status=404)
            with pytest.raises(ProviderRefused):
                await routed.stream()
        case "left":
            model.answer = sending(*streamed(CHAT, ["Hi."])[:2], then="hang")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await routed.stream()
        case "broken":
            model.answer = sending(*streamed(CHAT, ["Hi."])[:2])
            with pytest.raises(TargetUnavailable):
                await routed.stream()
    routed.clock.seconds = 20
    model.answer = FINE
    assert await routed.ask() == "Hello."


async def test_a_server_that_is_not_there_is_passed_over(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, b=FINE)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = model.deployment(base_url=f"http://127.0.0.1:{closed.getsockname()[1]}", weight=1)
        assert await Routed(exchange, [gone, place(model, "b", weight=0)], attempts=2).ask() == "Hello."
        with pytest.raises(TargetUnavailable, match="did not answer"):
            await Routed(exchange, [gone], attempts=2).ask()


# Errors that do not pass


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_what_is_wrong_with_the_request_is_told_at_once(
    model: ModelServer, exchange: Exchange, status: int
) -> None:
    by_place(model, a=answering({"error": {"message": "No such field", "code": "x"}}, status=status), b=FINE)
    places = [place(model, "a"), place(model, "b", name="other")]
    routed = Routed(exchange, places, Routing(fallbacks={"fast": ["other"]}), attempts=3)
    with pytest.raises(ProviderRefused) as refused:
        await routed.ask()
    assert refused.value.status == status
    assert refused.value.body["error"]["message"] == "No such field"
    assert asked(model) == ["a"]


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_what_is_wrong_with_the_deployment_is_tried_elsewhere(
    model: ModelServer, exchange: Exchange, status: int
) -> None:
    by_place(model, a=answering({"error": {"message": "No"}}, status=status), b=FINE)
    routed = Routed(exchange, [place(model, "a", weight=1), place(model, "b", weight=0)], attempts=3)
    assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "b"]


async def test_what_a_provider_says_of_the_operators_key_is_not_told(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering({"error": {"message": "Incorrect API key provided: sk-te*st"}}, status=401)
    with pytest.raises(ProviderRefused) as refused:
        await Routed(exchange, [place(model, "a")]).ask()
    assert refused.value.status == 401
    assert "sk-te" not in str(refused.value.body)


async def test_a_redirect_is_not_followed(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering({}, status=307, location=f"{model.base_url}/elsewhere")
    with pytest.raises(ProviderRefused) as refused:
        await Routed(exchange, [place(model, "a")]).ask()
    assert refused.value.status == 502
    assert asked(model) == ["a"]


# Fallbacks


async def test_fallbacks_come_in_their_order(model: ModelServer, exchange: Exchange) -> None:
    down = answering({"error": {"message": "Down"}}, status=503)
    by_place(model, a=down, b=down, c=FINE, d=FINE)
    names = {"a": "fast", "b": "second", "c": "third", "d": "fourth"}
    places = [place(model, path, name=name) for path, name in names.items()]
    routing = Routing(fallbacks={"fast": ["second", "third", "fourth"]}, default_fallbacks=["fourth"])
    routed = Routed(exchange, places, routing)
    assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "b", "c"]
    assert [one.name for one in routed.upstreams.deployments("fast")] == ["fast", "second", "third", "fourth"]
    assert await routed.ask("second") == "Hello."
    assert asked(model)[3:] == ["b", "d"]  # the default; fallbacks of fallbacks are not asked


async def test_when_all_fail_the_last_ones_error_is_told(model: ModelServer, exchange: Exchange) -> None:
    by_place(
        model,
        a=answering({"error": {"message": "Down"}}, status=503),
        b=answering({"error": {"message": "Busy"}}, status=529, retry_after="17"),
    )
    places = [place(model, "a"), place(model, "b", name="other")]
    with pytest.raises(ProviderRefused) as refused:
        await Routed(exchange, places, Routing(fallbacks={"fast": ["other"]})).ask()
    assert (refused.value.status, refused.value.headers["retry-after"]) == (529, "17")


async def test_what_a_caller_may_not_call_does_not_stand_in(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=answering({"error": {"message": "Down"}}, status=503), b=FINE, c=FINE, d=FINE)
    names = {"a": "fast", "b": "dear", "c": "other", "d": "large"}
    places = [place(model, path, name=name) for path, name in names.items()]
    routing = Routing(fallbacks={"fast": ["dear", "other"]}, context_window_fallbacks={"fast": ["large"]})
    routed = Routed(exchange, places, routing)
    everybody = routed.upstreams
    routed.upstreams = everybody.within(frozenset({"fast", "oth*"}))
    assert [one.name for one in routed.upstreams.deployments("fast")] == ["fast", "other"]
    await routed.ask()
    assert asked(model) == ["a", "c"]
    assert [one.name for one in everybody.deployments("fast")] == ["fast", "dear", "other", "large"]
    routed.upstreams = everybody.within(frozenset({"fast"}))
    with pytest.raises(ProviderRefused):
        await routed.ask()
    assert asked(model)[2:] == ["a"]


async def test_what_is_too_long_goes_to_no_model_that_the_caller_may_not_call(
    model: ModelServer, exchange: Exchange
) -> None:
    by_place(model, a=answering({"error": TOO_LONG}, status=400), b=FINE)
    places = [place(model, "a"), place(model, "b", name="large")]
    routed = Routed(exchange, places, Routing(context_window_fallbacks={"fast": ["large"]}))
    routed.upstreams = routed.upstreams.within(frozenset({"fast"}))
    with pytest.raises(ProviderRefused) as refused:
        await routed.ask()
    assert refused.value.status == 400
    assert asked(model) == ["a"]


async def test_a_fallback_may_speak_another_dialect(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=answering({}, status=500), b=answering(whole(MESSAGES, "From Anthropic.")))
    places = [place(model, "a"), place(model, "b", name="other", protocol="anthropic", model="claude")]
    assert await Routed(exchange, places, Routing(fallbacks={"fast": ["other"]})).ask() == "From Anthropic."
    assert model.requests[1]["model"] == "claude"


@pytest.mark.parametrize(
    "error",
    [
        TOO_LONG,
        {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
        {"message": "the request exceeds the available context size (context window of 4096)"},
    ],
)
async def test_what_is_too_long_goes_to_a_larger_model(
    model: ModelServer, exchange: Exchange, error: dict[str, str]
) -> None:
    by_place(model, a=answering({"error": error}, status=400), b=FINE, c=FINE)
    places = [place(model, "a"), place(model, "b", name="other"), place(model, "c", name="large")]
    routing = Routing(fallbacks={"fast": ["other"]}, context_window_fallbacks={"fast": ["large"]})
    routed = Routed(exchange, places, routing)
    assert await routed.ask() == "Hello."
    assert asked(model) == ["a", "c"]
    assert {one.name for one in routed.upstreams.deployments("fast")} == {"fast", "other", "large"}


async def test_what_is_too_long_for_all_is_told(model: ModelServer, exchange: Exchange) -> None:
    model.answer = answering({"error": TOO_LONG}, status=400)
    places = [place(model, "a"), place(model, "b", name="large")]
    routing = Routing(context_window_fallbacks={"fast": ["large"], "large": ["fast"]})
    with pytest.raises(ProviderRefused) as refused:
        await Routed(exchange, places, routing).ask()
    assert refused.value.body["error"]["code"] == "context_length_exceeded"
    assert asked(model) == ["a", "b"]


async def test_the_hold_is_for_the_dearest_of_the_chain(model: ModelServer, exchange: Exchange) -> None:
    places = [
        place(model, "a", max_output_tokens=100),
        place(model, "b", name="other", output_price=9e-6, max_output_tokens=300),
        place(model, "c", name="large", input_price=5e-6, max_input_tokens=1000, max_output_tokens=50),
        place(model, "d", name="unrelated", output_price=1e-3),
    ]
    routing = Routing(fallbacks={"fast": ["other"]}, context_window_fallbacks={"other": ["large"]})
    upstreams = Routed(exchange, places, routing).upstreams
    assert upstreams.worst_case_micros("fast", 1000, 0) == 5000
    assert upstreams.worst_case_micros("fast", 9000, 0) == 9000  # more than 1000 do not go into the dearest
    assert upstreams.worst_case_micros("fast", 0, 100) == 900
    assert upstreams.most_output_tokens("fast") == 300
    assert (
        upstreams.affordable_output_tokens("fast", 100, 950) == 94
    )  # 850 / 9 of the second; the third would give 450 / 2
    assert upstreams.affordable_output_tokens("fast", 1000, 4999) < 0
    assert upstreams.deployments("nobody") == ()


# Time


async def test_all_attempts_share_one_time(model: ModelServer, exchange: Exchange) -> None:
    model.answer = hanging
    places = [place(model, "a"), place(model, "b"), place(model, "c", name="other")]
    routed = Routed(exchange, places, Routing(fallbacks={"fast": ["other"]}), attempts=3, timeout_seconds=1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(TargetTimeout):
            await routed.ask()
    assert len(model.requests) == 1


async def test_a_deployment_with_less_time_of_its_own_gives_way(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=hanging, b=FINE)
    routed = Routed(exchange, [place(model, "a", weight=1, timeout_seconds=0.2), place(model, "b", weight=0)])
    assert await routed.ask() == "Hello."


async def test_a_stream_that_does_not_begin_is_begun_elsewhere(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=hanging, b=sending(then="hang"), c=sending(*streamed(CHAT, ["Hi."])))
    places = [place(model, "a"), place(model, "b", name="silent"), place(model, "c", name="good")]
    routed = Routed(exchange, places, Routing(fallbacks={"fast": ["silent", "good"]}), first_token_seconds=1)
    assert await routed.stream() == 5
    assert asked(model) == ["a", "b", "c"]


async def test_a_stream_that_ends_before_it_begins_is_begun_elsewhere(model: ModelServer, exchange: Exchange) -> None:
    by_place(model, a=sending(), b=sending(then="cut"), c=sending(*streamed(CHAT, ["Hi."])))
    places = [place(model, "a"), place(model, "b", name="broken"), place(model, "c", name="good")]
    assert await Routed(exchange, places, Routing(fallbacks={"fast": ["broken", "good"]})).stream() == 5


# What comes with status 200 and is no answer


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_answer_is_a_failure_that_another_makes_good(
    model: ModelServer, exchange: Exchange, stream: bool
) -> None:
    routed = Routed(
        exchange, [place(model, "a"), place(model, "b", name="other")], Routing(fallbacks={"fast": ["other"]})
    )
    for kind in NO_ANSWERS:
        by_place(model, a=saying(kind), b=sending(*streamed(CHAT, ["Hi."])) if stream else FINE)
        model.paths.clear()
        for _ in range(4):
            assert await (routed.stream() if stream else routed.ask()) in (5, "Hello.")
        assert asked(model) == ["a", "b"] * 3 + ["b"], kind  # at the third failure its breaker opened
        routed.clock.seconds += 10
        by_place(model, a=sending(*streamed(CHAT, ["Hi."])) if stream else FINE, b=hanging)
        await (routed.stream() if stream else routed.ask())  # which closes it


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_with_status_200_is_taken_as_with_its_own(
    model: ModelServer, exchange: Exchange, stream: bool
) -> None:
    """What is wrong with a request is told at once, and leaves the deployment in use for all others."""
    by_place(model, a=answering({"error": {"message": "Bad.", "code": 400}}), b=FINE)
    places = [place(model, "a"), place(model, "b", name="other")]
    routed = Routed(exchange, places, Routing(fallbacks={"fast": ["other"]}))
    for _ in range(4):
        with pytest.raises(ProviderRefused) as refused:
            await (routed.stream if stream else routed.ask)()
        assert (refused.value.status, refused.value.body["error"]["message"]) == (400, "Bad.")
    assert asked(model) == ["a"] * 4


async def test_an_answer_that_breaks_off_before_it_was_passed_on_is_asked_for_elsewhere(
    model: ModelServer, exchange: Exchange
) -> None:
    by_place(model, a=sending(b'{"id": "c", ', then="cut"), b=FINE)
    places = [place(model, "a"), place(model, "b", name="other")]
    assert await Routed(exchange, places, Routing(fallbacks={"fast": ["other"]}), attempts=3).ask() == "Hello."
    assert asked(model) == ["a", "b"]


async def test_an_error_that_comes_with_the_first_event_is_none_of_an_answer(
    model: ModelServer, exchange: Exchange
) -> None:
    failed = b'data: {"error": {"message": "Out of order."}}\n\n'
    by_place(model, a=sending(streamed(CHAT, ["Hi."])[0] + failed), b=sending(*streamed(CHAT, ["Hi."])))
    places = [place(model, "a"), place(model, "b", name="other")]
    assert await Routed(exchange, places, Routing(fallbacks={"fast": ["other"]})).stream() == 5


@pytest.mark.parametrize("then", ["end", "cut"])
async def test_once_an_answer_has_begun_no_other_is_asked_for(
    model: ModelServer, exchange: Exchange, then: str
) -> None:
    by_place(model, a=sending(*streamed(CHAT, ["Hi."])[:2], then=then), b=sending(*streamed(CHAT, ["Hi."])))
    places = [place(model, "a"), place(model, "b", name="other")]
    with pytest.raises(TargetUnavailable):
        await Routed(exchange, places, Routing(fallbacks={"fast": ["other"]}), attempts=3).stream()
    assert asked(model) == ["a"]
