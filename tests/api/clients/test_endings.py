"""Calls that end before the model has ended them: by the client, by its patience, by a finding, a limit, a switch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.api.accounts import sign_up
from tests.api.clients.conftest import CLIENTS, Caller, Scene
from tests.api.clients.flavours import each, settled
from tests.api.clients.provider_bodies import (
    chunk,
    chunks,
    event,
    message_events,
    message_item,
    response_events,
    text_block,
)
from tests.api.clients.test_errors import PRIVATE_KEY
from tests.invocations.provider_answers import Answer, hanging, sending
from tests.waiting import until

LONG = "".join(f"This is sentence number {number} of a long answer. " for number in range(120))
BEFORE = 160
ENOUGH = 200
# The client's form, the model that it calls, and the form in which that is asked.
PATHS = [
    ("chat", "gpt"),
    ("chat", "claude"),
    ("responses", "gpt-responses"),
    ("responses", "gpt"),
    ("responses", "claude"),
    ("messages", "claude"),
    ("messages", "gpt"),
]
paths = pytest.mark.parametrize(("form", "place"), PATHS)
# A stream of Responses tells its usage at its end only.
paths_but_of_responses = pytest.mark.parametrize(("form", "place"), [one for one in PATHS if one[1] != "gpt-responses"])
flavours = pytest.mark.parametrize("flavour", CLIENTS)


def provider_events(form: str, place: str, text: str) -> list[bytes]:
    """A stream of the model's provider."""
    if place == "claude":
        return message_events(text_block(text))
    return response_events(message_item(text)) if (form, place) == ("responses", "gpt-responses") else chunks(text)


def text_of(item: Any) -> str:
    """The text that an event of any form brings."""
    if item.__class__.__name__ == "ChatCompletionChunk":
        return "".join(choice.delta.content or "" for choice in item.choices)
    if item.type == "response.output_text.delta":
        return str(item.delta)
    return str(item.delta.text) if item.type == "content_block_delta" and item.delta.type == "text_delta" else ""


def ending_of(items: Sequence[Any]) -> str | None:
    """Why the stream is over, as its last events say."""
    last = items[-1]
    if last.__class__.__name__ == "ChatCompletionChunk":
        found = [choice.finish_reason for item in items for choice in item.choices if choice.finish_reason]
        return found[-1] if found else None
    if last.type == "message_stop":
        return str(items[-2].delta.stop_reason)
    return str(last.response.incomplete_details.reason) if last.type == "response.incomplete" else str(last.type)


BY_POLICY = {"chat": "content_filter", "responses": "content_filter", "messages": "refusal"}
BY_LIMIT = {"chat": "length", "responses": "max_output_tokens", "messages": "max_tokens"}


class Beginning:
    """Notes that a stream has brought so much text: it has begun, and ends as one that has."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self._length = 0

    def see(self, item: Any) -> None:
        """Takes what the client got next."""
        self._length += len(text_of(item))
        if self._length >= ENOUGH:
            self.is_there.set()


def held_up(form: str, place: str, text: str, beginning: Beginning) -> Answer:
    """A provider that sends the rest of its stream once its beginning is with the client."""
    events = provider_events(form, place, text)
    return sending(*events[:BEFORE], beginning.is_there, *events[BEFORE:])


async def read(
    call: Caller,
    model: str,
    items: list[Any],
    *,
    until_text: int = 0,
    beginning: Beginning | None = None,
    **more: Any,
) -> Any:
    """Reads a stream, to its end or until it has brought so much text; the stream."""
    stream = await call.begin(model, stream=True, **more)
    length = 0
    async for item in each(stream):
        items.append(item)
        length += len(text_of(item))
        if beginning is not None:
            beginning.see(item)
        if until_text and length >= until_text:
            break
    return stream


@flavours
@paths
async def test_a_stream_that_the_client_closes(scene: Scene, form: str, place: str, flavour: str) -> None:
    scene.provider.answer = sending(*provider_events(form, place, LONG)[:BEFORE], then="hang")
    items: list[Any] = []
    stream = await read(scene.caller(form, flavour), place, items, until_text=50)
    await settled(stream.close())
    row = scene.trace.last()
    assert (row["status"], row["error_code"]) == ("cancelled", "CANCELLED")
    until(scene.provider.disconnected.is_set)
    said = len("".join(map(text_of, items)))
    assert said <= row["output_tokens"] <= 7 * BEFORE  # by bytes, as no usage was told; not what was never sent
    assert row["cost_micros"] > 0


@flavours
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("form", "place"), [("chat", "gpt"), ("responses", "gpt-responses"), ("messages", "claude")])
async def test_a_client_whose_patience_ends(scene: Scene, form: str, place: str, stream: bool, flavour: str) -> None:
    scene.provider.answer = hanging
    for patience in (0.4, 4, 40):  # the first may be over before a busy machine has asked the model
        call = scene.caller(form, flavour, timeout=patience)
        with pytest.raises(call.package.APITimeoutError):
            await call(place, stream=stream)
        if scene.provider.requests:
            break
    row = scene.trace.last()
    assert (row["status"], row["error_code"]) == ("cancelled", "CANCELLED")
    until(scene.provider.disconnected.is_set)


@paths
async def test_a_stream_that_brings_a_private_key(scene: Scene, form: str, place: str) -> None:
    text = f"{LONG[:1500]} {PRIVATE_KEY} {LONG}"
    beginning = Beginning()
    scene.provider.answer = held_up(form, place, text, beginning)
    items: list[Any] = []
    await read(scene.caller(form), place, items, beginning=beginning)
    said = "".join(map(text_of, items))
    assert LONG[:ENOUGH] in said
    assert "MIIE" not in said
    assert "PRIVATE" not in said
    assert ending_of(items) == BY_POLICY[form]
    row = scene.trace.last()
    assert (row["status"], row["decision"], row["cost_micros"] > 0) == ("blocked", "KILL", True)


@paths_but_of_responses
async def test_a_stream_that_runs_into_its_limit(scene: Scene, form: str, place: str) -> None:
    """The provider tells in the middle that it has used more than was held."""
    told = {"input_tokens": 10, "output_tokens": 100_000}
    if place == "claude":
        delta = {"type": "message_delta", "delta": {"stop_reason": None, "stop_sequence": None}, "usage": told}
        over = event(delta, "message_delta")
    else:
        usage = {"prompt_tokens": 10, "completion_tokens": 100_000, "total_tokens": 100_010}
        over = chunk({"content": ""}, usage=usage)
    beginning = Beginning()
    scene.provider.answer = sending(*provider_events(form, place, LONG)[:BEFORE], beginning.is_there, over, then="hang")
    items: list[Any] = []
    await read(scene.caller(form), place, items, beginning=beginning)
    assert LONG.startswith("".join(map(text_of, items)))
    assert len("".join(map(text_of, items))) >= ENOUGH
    assert ending_of(items) == BY_LIMIT[form]
    assert scene.trace.last()["cost_micros"] > 0
    until(scene.provider.disconnected.is_set)


@flavours
@paths
async def test_a_stream_that_a_kill_switch_stops(scene: Scene, form: str, place: str, flavour: str) -> None:
    scene.provider.answer = sending(*provider_events(form, place, LONG)[:BEFORE], then="hang")
    account = sign_up(scene.gateway.client)
    call, trace = scene.caller(form, flavour, key=account.virtual_key), scene.trace.of(account)
    items: list[Any] = []
    stream = await call.begin(place, stream=True)
    is_engaged = False
    async for item in each(stream):
        items.append(item)
        if text_of(item) and not is_engaged:
            is_engaged = True
            engaged = scene.gateway.client.post(
                "/api/v1/kill-switches",
                headers=account.headers,
                json={"scope": "organization", "reason": "runaway"},
            )
            assert engaged.status_code in (200, 201), engaged.text
    assert ending_of(items) == BY_POLICY[form]
    row = trace.last()
    assert (row["status"], row["decision"], row["error_code"]) == ("blocked", "KILL", "KILL_SWITCH")
    assert row["cost_micros"] > 0
    until(scene.provider.disconnected.is_set)
    with pytest.raises(call.package.PermissionDeniedError):
        await call(place)


@paths_but_of_responses
async def test_an_answer_as_long_as_it_may_be(scene: Scene, form: str, place: str) -> None:
    if place == "claude":
        events = message_events(text_block("So far"), stop_reason="max_tokens")
    else:
        events = chunks("So far", finish="length")
    scene.provider.answer = sending(*events)
    items: list[Any] = []
    await read(scene.caller(form), place, items)
    assert ending_of(items) == BY_LIMIT[form]
    assert scene.trace.last()["status"] == "completed"


@pytest.mark.parametrize(("form", "place"), [("chat", "gpt"), ("chat", "claude"), ("messages", "claude")])
async def test_helpers_end_with_what_a_cut_left(scene: Scene, form: str, place: str) -> None:
    text = f"{LONG[:1500]} {PRIVATE_KEY} {LONG}"
    beginning = Beginning()
    scene.provider.answer = held_up(form, place, text, beginning)
    client, messages = scene.caller(form).client, [{"role": "user", "content": "Hi"}]
    if form == "messages":
        with client.messages.stream(model=place, max_tokens=500, messages=messages) as stream:
            for item in stream:
                beginning.see(item)
            message = stream.get_final_message()
        assert (message.stop_reason, message.content[0].text[:ENOUGH]) == ("refusal", LONG[:ENOUGH])
    else:
        filtered = scene.caller(form).package.ContentFilterFinishReasonError
        with (
            client.chat.completions.stream(model=place, messages=messages) as stream,
            pytest.raises(filtered),  # as after a cut by OpenAI's own filter
        ):
            for item in stream:
                beginning.see(getattr(item, "chunk", item))
            stream.get_final_completion()


async def test_the_helper_for_responses_ends_with_what_a_cut_left(scene: Scene) -> None:
    text = f"{LONG[:1500]} {PRIVATE_KEY} {LONG}"
    beginning = Beginning()
    scene.provider.answer = held_up("responses", "gpt-responses", text, beginning)
    last: Any = None
    with scene.caller("responses").client.responses.stream(model="gpt-responses", input="Hi") as stream:
        for last in stream:
            beginning.see(last)
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "content_filter")
    assert last.response.output_text[:ENOUGH] == LONG[:ENOUGH]
