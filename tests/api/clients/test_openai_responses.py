"""`client.responses` of OpenAI's package, against a provider that has Responses itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.clients.conftest import Trace, openai_of
from tests.api.clients.flavours import all_of, each, opened, settled
from tests.api.clients.provider_bodies import (
    RESPONSE_USAGE,
    call_item,
    message_item,
    reasoning_item,
    response,
    response_events,
)
from tests.api.clients.test_openai_chat import IMAGE, SOLUTION, TEXT, TIME, WEATHER, Solution
from tests.api.gateways import Gateway
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering
from tests.invocations.test_streams import sent

TOOLS: list[Any] = [
    {
        "type": "function",
        "name": name,
        "description": f"Tells the {name}.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
    for name in ("weather", "time")
]
ASKED: dict[str, Any] = {"model": "gpt-responses", "input": "Hi"}

REQUESTS: dict[str, dict[str, Any]] = {
    "prompts": {
        "instructions": "Be brief.",
        "input": [
            {"role": "developer", "content": "Answer in verse."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
            },
            {"role": "user", "content": "And now?"},
        ],
        "temperature": 0.3,
        "metadata": {"team": "blue"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "truncation": "auto",
        "prompt_cache_key": "k",
    },
    "images": {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                ],
            }
        ]
    },
    "tools": {
        "input": [
            {"role": "user", "content": "How is it?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAAB0"},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": WEATHER.text},
            {"type": "function_call_output", "call_id": "call_1", "output": '{"sky": "blue"}'},
        ],
        "tools": [*TOOLS, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
    },
    "schema": {
        "text": {"format": {"type": "json_schema", "name": "solution", "schema": Solution.model_json_schema()}},
        "max_output_tokens": 77,
    },
    "earlier": {"previous_response_id": "resp_6"},
    "unknown": {"extra_body": {"brand_new": {"deep": [1, None, 2.5, "x"]}}},
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_gets_what_the_client_sends(
    openai: Any, gateway: Gateway, provider: ModelServer, name: str, stream: bool
) -> None:
    provider.answer = sent(*response_events(message_item(TEXT))) if stream else answering(response(message_item(TEXT)))
    request = {**ASKED, **REQUESTS[name], **({"stream": True} if stream else {})}
    with openai_of(provider.base_url, "sk-mine", "sync") as direct:
        got = direct.responses.create(**request)
        if stream:
            list(got)
    got = await settled(openai.responses.create(**request))
    if stream:
        await all_of(got)
    straight, governed = provider.requests
    most = 77 if name == "schema" else 1000
    assert governed == {**straight, "max_output_tokens": most, "model": "gpt-responses-stub"}


async def test_a_response(openai: Any, provider: ModelServer, trace: Trace) -> None:
    items = [reasoning_item("I think."), message_item(TEXT)]
    provider.answer = answering(response(*items), x_request_id="req_7")
    got = await settled(openai.responses.create(**ASKED))
    assert got.output_text == TEXT
    assert (got.id, got.status, got._request_id) == ("resp_7", "completed", "req_7")
    assert got.output[0].summary[0].text == "I think."
    assert got.usage.model_dump(exclude_unset=True) == RESPONSE_USAGE
    row = trace.last()
    assert (row["status"], row["kind"], row["cached_tokens"], row["reasoning_tokens"]) == (
        "completed",
        "responses",
        40,
        20,
    )
    assert row["cost_micros"] == 164


async def test_raw_and_streaming_responses(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering(response(message_item(TEXT)))
    raw = await settled(openai.responses.with_raw_response.create(**ASKED))
    assert raw.headers["x-intutic-trace-id"].startswith("trace_") or raw.headers["x-intutic-trace-id"]
    assert (await settled(raw.parse())).output_text == TEXT
    provider.answer = sent(*response_events(message_item(TEXT)))
    async with opened(openai.responses.with_streaming_response.create(**ASKED, stream=True)) as got:
        lines = [line async for line in each(got.iter_lines())]
    assert [line for line in lines if line.startswith("event: ")][-1] == "event: response.completed"


async def test_a_stream_comes_event_by_event_as_it_was_sent(openai: Any, provider: ModelServer, trace: Trace) -> None:
    events = response_events(reasoning_item("I think."), message_item(TEXT), call_item(WEATHER))
    provider.answer = sent(*events)
    got = await all_of(openai.responses.create(**ASKED, stream=True))
    assert [one.sequence_number for one in got] == list(range(len(got)))
    assert "".join(one.delta for one in got if one.type == "response.output_text.delta") == TEXT
    kinds = [json.loads(one.split(b"data: ")[1])["type"] for one in events]
    assert [one.type for one in got if "delta" not in one.type] == [kind for kind in kinds if "delta" not in kind]
    whole = response(reasoning_item("I think."), message_item(TEXT), call_item(WEATHER))
    assert got[-1].response.model_dump(exclude_unset=True) == whole
    assert trace.last()["cost_micros"] == 164


async def test_the_stream_helper(openai: Any, provider: ModelServer) -> None:
    provider.answer = sent(*response_events(message_item(TEXT), call_item(WEATHER), call_item(TIME)))
    async with opened(openai.responses.stream(**ASKED, tools=TOOLS)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_response())
    assert [one.snapshot for one in events if one.type == "response.output_text.delta"][-1] == TEXT
    done = [one for one in events if one.type == "response.function_call_arguments.done"]
    assert [json.loads(one.arguments) for one in done] == [WEATHER.arguments, TIME.arguments]
    snapshots = [one.snapshot for one in events if one.type == "response.function_call_arguments.delta"]
    assert json.loads(snapshots[-1]) == TIME.arguments
    assert final.output_text == TEXT
    assert [(one.call_id, one.name) for one in final.output[1:]] == [("call_1", "weather"), ("call_2", "time")]


async def test_tools_are_called_and_answered(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering(response(reasoning_item("Hm."), call_item(WEATHER), call_item(TIME)))
    asked: list[Any] = [{"role": "user", "content": "How is it, and when?"}]
    got = await settled(openai.responses.create(model="gpt-responses", input=asked, tools=TOOLS))
    calls = [one for one in got.output if one.type == "function_call"]
    assert [json.loads(one.arguments) for one in calls] == [WEATHER.arguments, TIME.arguments]
    asked += got.output
    asked += [{"type": "function_call_output", "call_id": one.call_id, "output": "ok"} for one in calls]
    provider.answer = answering(response(message_item(TEXT)))
    got = await settled(openai.responses.create(model="gpt-responses", input=asked, tools=TOOLS))
    assert got.output_text == TEXT
    kinds = [one.get("type", "message") for one in provider.requests[1]["input"]]
    assert kinds == ["message", "reasoning", *["function_call"] * 2, *["function_call_output"] * 2]


async def test_structured_output(openai: Any, provider: ModelServer) -> None:
    text = SOLUTION.model_dump_json()
    provider.answer = answering(response(message_item(text)))
    got = await settled(openai.responses.parse(**ASKED, text_format=Solution))
    assert got.output_parsed == SOLUTION
    assert provider.requests[0]["text"]["format"]["type"] == "json_schema"
    provider.answer = sent(*response_events(message_item(text)))
    async with opened(openai.responses.stream(**ASKED, text_format=Solution)) as stream:
        final = await settled(stream.get_final_response())
    assert final.output_parsed == SOLUTION


async def test_an_answer_that_the_provider_cut_short(openai: Any, provider: ModelServer) -> None:
    cut = response(message_item(TEXT), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    provider.answer = answering(cut)
    got = await settled(openai.responses.create(**ASKED))
    assert (got.status, got.incomplete_details.reason) == ("incomplete", "max_output_tokens")
