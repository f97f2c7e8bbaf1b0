"""Errors as the clients' own exceptions, and what the clients make of them: tries of their own, or none."""

from __future__ import annotations

import json
from typing import Any

import anthropic as anthropic_package
import openai as openai_package
import pytest
from aiohttp import web

from tests.api.clients.conftest import CLIENTS, Scene
from tests.api.clients.flavours import settled
from tests.api.clients.provider_bodies import (
    chunk,
    chunks,
    completion,
    event,
    message,
    message_events,
    message_item,
    response_events,
    text_block,
)
from tests.api.clients.test_openai_chat import TEXT
from tests.invocations.conftest import Answer, ModelServer
from tests.invocations.provider_answers import answering, saying, sending
from tests.invocations.test_streams import sent

PRIVATE_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy\n-----END RSA PRIVATE KEY-----"
)
flavours = pytest.mark.parametrize("flavour", CLIENTS)
FORMS = ["chat", "responses", "messages"]
forms = pytest.mark.parametrize("form", FORMS)


@flavours
@forms
async def test_wrong_credentials(scene: Scene, form: str, flavour: str) -> None:
    call = scene.caller(form, flavour, key="vk_nonsense")
    with pytest.raises(call.package.AuthenticationError) as error:
        await call("gpt")
    assert error.value.body["error" if form == "messages" else "code"]
    if form == "messages":
        assert error.value.body["type"] == "error"
        assert isinstance(error.value.type, str)
    else:
        assert error.value.code == "unauthorized"
    assert scene.provider.requests == []


@flavours
@forms
async def test_what_is_not_allowed(scene: Scene, form: str, flavour: str) -> None:
    call = scene.caller(form, flavour, key=scene.key(allowedModels=["claude"]))
    for stream in (False, True):
        with pytest.raises(call.package.PermissionDeniedError, match="may not use this model"):
            await call("gpt", stream=stream)
    assert scene.provider.requests == []


@flavours
@forms
async def test_what_may_not_leave(scene: Scene, form: str, flavour: str) -> None:
    call = scene.caller(form, flavour)
    for stream in (False, True):
        with pytest.raises(call.package.BadRequestError, match="private key"):
            await call("gpt", f"Use {PRIVATE_KEY}", stream=stream)
    with pytest.raises(call.package.BadRequestError, match="model"):
        await call("nobody-has-it")
    assert scene.provider.requests == []


@forms
async def test_a_budget_that_is_used_up_is_not_tried_again(scene: Scene, form: str) -> None:
    call = scene.caller(form, max_retries=2, key=scene.key(budgetUsd=0.000001))
    with pytest.raises(call.package.RateLimitError, match="budget"):
        await call("gpt")
    assert scene.trace.count() == 1
    assert scene.provider.requests == []


@forms
async def test_requests_per_minute(scene: Scene, form: str) -> None:
    scene.provider.answer = answering(completion(TEXT))
    call = scene.caller(form, key=scene.key(rateLimitRpm=1))
    await call("gpt")
    with pytest.raises(call.package.RateLimitError) as error:
        await call("gpt")
    assert 1 <= int(error.value.response.headers["retry-after"]) <= 60


THEIRS = [
    (400, "BadRequestError"),
    (403, "PermissionDeniedError"),
    (404, "NotFoundError"),
    (409, "ConflictError"),
    (422, "UnprocessableEntityError"),
    (429, "RateLimitError"),
    (500, "InternalServerError"),
    (503, "InternalServerError"),
    (529, "InternalServerError"),
]


@pytest.mark.parametrize(("status", "name"), THEIRS)
@forms
@pytest.mark.parametrize("place", ["gpt", "claude"])
async def test_errors_of_the_provider(scene: Scene, form: str, place: str, status: int, name: str) -> None:
    inner = {"type": "theirs_error", "message": "This is why."}
    if place == "gpt":
        body: dict[str, Any] = {"error": {**inner, "code": "theirs_code", "param": "messages"}}
    else:
        body = {"type": "error", "error": inner, "request_id": "req_7"}
    scene.provider.answer = answering(body, status=status, x_request_id="req_7")
    call = scene.caller(form)
    for stream in (False, True):
        with pytest.raises(getattr(call.package, name)) as error:
            await call(f"{place}-{scene.spare}", stream=stream)
        assert error.value.status_code == status
        assert "This is why." in str(error.value)
        if form != "messages":
            assert error.value.message
            assert isinstance(error.value.type, str)
            if place == "gpt":
                assert (error.value.code, error.value.param) == ("theirs_code", "messages")
                assert error.value.type == "theirs_error"
        else:
            assert error.value.body["type"] == "error"
            assert isinstance(error.value.type, str)
            if status == 529:
                assert isinstance(error.value, anthropic_package.APIStatusError)
                assert error.value.type == ("theirs_error" if place == "claude" else "overloaded_error")


@forms
async def test_the_providers_word_on_the_gateways_own_key_is_kept_back(scene: Scene, form: str) -> None:
    scene.provider.answer = answering({"error": {"message": "Incorrect API key sk-of-the-provider"}}, status=401)
    call = scene.caller(form)
    with pytest.raises(call.package.APIStatusError) as error:
        await call(f"gpt-{scene.spare}")
    assert "sk-of" not in str(error.value)


@forms
async def test_what_is_no_answer(scene: Scene, form: str) -> None:
    call = scene.caller(form)
    with pytest.raises(call.package.InternalServerError) as error:
        await call("nowhere")
    assert error.value.status_code == 502

    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Bad gateway</html>", status=502, content_type="text/html")

    scene.provider.answer = page
    for stream in (False, True):
        with pytest.raises(call.package.InternalServerError) as error:
            await call(f"gpt-{scene.spare}", stream=stream)
        assert "html" not in str(error.value)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["page", "empty", "error", "error-event", "no-event", "end"])
@forms
async def test_what_is_no_answer_though_it_comes_with_200(scene: Scene, form: str, kind: str, stream: bool) -> None:
    scene.provider.answer = saying(kind)
    call = scene.caller(form)
    for place in ("gpt", "claude"):
        with pytest.raises(call.package.InternalServerError) as error:
            await call(f"{place}-{scene.spare}", stream=stream)
        assert error.value.status_code == 502
        if kind == "error" or (kind == "error-event" and stream):
            assert "Out of order." in str(error.value)
        row = scene.trace.last()
        assert (row["status"], row["cost_micros"], row["input_tokens"]) == ("failed", 0, 0)


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other."""
    left = list(answers)

    async def give(request: web.Request) -> web.StreamResponse:
        return await left.pop(0)(request)

    return give


@flavours
@forms
async def test_a_client_waits_as_the_provider_asks_and_tries_again(scene: Scene, form: str, flavour: str) -> None:
    limited = {"error": {"type": "rate_limit_error", "message": "Slow down."}}
    scene.provider.answer = in_turn(answering(limited, status=429, retry_after="1"), answering(completion(TEXT)))
    call = scene.caller(form, flavour, max_retries=1)
    await call(f"gpt-{scene.spare}")  # before its second is over the deployment is not asked at all
    assert len(scene.provider.requests) == 2


@forms
async def test_what_the_provider_says_of_trying_again_is_passed_on(scene: Scene, form: str) -> None:
    failed = {"error": {"type": "server_error", "message": "It will not get better."}}
    scene.provider.answer = answering(failed, status=500, x_should_retry="false")
    call = scene.caller(form, max_retries=2)
    with pytest.raises(call.package.InternalServerError):
        await call(f"gpt-{scene.spare}")
    assert len(scene.provider.requests) == 1
    scene.provider.answer = in_turn(
        answering(failed, status=500, retry_after_ms="20"), answering(completion(TEXT), x_request_id="req_8")
    )
    await call(f"gpt-{scene.spare}")
    assert len(scene.provider.requests) == 3


OVERLOADED = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
FAILED = event({"error": {"message": "The server had an error", "type": "server_error", "code": None, "param": None}})


@flavours
@pytest.mark.parametrize("place", ["gpt", "claude"])
@pytest.mark.parametrize("form", ["chat", "messages"])
async def test_an_error_in_the_middle_of_a_stream(scene: Scene, place: str, form: str, flavour: str) -> None:
    scene.provider.answer = (
        sent(*chunks(TEXT * 9)[:40], FAILED)
        if place == "gpt"
        else sent(*message_events(text_block(TEXT * 9))[:40], OVERLOADED)
    )
    call = scene.caller(form, flavour)
    with pytest.raises(call.package.APIError) as error:
        await call(f"{place}-{scene.spare}", stream=True)
    assert ("Overloaded" if place == "claude" else "The server had an error") in str(error.value)
    if form == "messages":
        assert error.value.type == ("overloaded_error" if place == "claude" else "api_error")


@pytest.mark.parametrize("place", ["gpt", "claude", "gpt-responses"])
@forms
async def test_a_stream_that_breaks_off(scene: Scene, place: str, form: str) -> None:
    events = {
        "gpt": chunks(TEXT * 9),
        "claude": message_events(text_block(TEXT * 9)),
        "gpt-responses": chunks(TEXT * 9),
    }[place]
    if (place, form) == ("gpt-responses", "responses"):
        events = response_events(message_item(TEXT * 9))
    scene.provider.answer = sending(*events[:40], then="cut")
    call = scene.caller(form)
    if form == "responses":  # the client hands errors out as an event
        got = await call(f"{place}-{scene.spare}", stream=True)
        assert (got[-1].type, bool(got[-1].message)) == ("error", True)
    else:
        with pytest.raises(call.package.APIError):
            await call(f"{place}-{scene.spare}", stream=True)
    row = scene.trace.last()
    assert (row["status"], row["cost_micros"] > 0) == ("failed", True)


async def test_a_request_that_cannot_be_put_in_the_models_dialect(
    openai: Any, anthropic: Any, provider: ModelServer
) -> None:
    with pytest.raises(openai_package.BadRequestError) as told:
        await settled(
            openai.chat.completions.create(
                model="claude", messages=[{"role": "user", "content": "Hi"}], logit_bias={"7": -100}
            )
        )
    assert told.value.param == "logit_bias"
    with pytest.raises(anthropic_package.BadRequestError, match="container"):
        await settled(
            anthropic.messages.create(
                model="gpt",
                max_tokens=5,
                messages=[{"role": "user", "content": "Hi"}],
                extra_body={"container": "container_7"},
            )
        )
    assert provider.requests == []


def test_the_stub_speaks_as_providers_do() -> None:
    assert json.loads(chunk({"content": "x"}).split(b"data: ")[1])["choices"][0]["delta"] == {"content": "x"}
    assert message(text_block("x"))["stop_reason"] == "end_turn"
