"""`client.chat.completions` of OpenAI's package, plain, streamed and through its helpers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from tests.api.clients.conftest import Trace, openai_of
from tests.api.clients.flavours import all_of, each, opened, settled
from tests.api.clients.provider_bodies import CHAT_USAGE, Call, chunk, chunks, completion
from tests.api.gateways import Gateway
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering
from tests.invocations.test_streams import sent

TEXT = "Grüße aus Zürich: an answer in more than one piece. ✨"
WEATHER = Call("call_1", "weather", {"city": "Zürich", "days": 3})
TIME = Call("call_2", "time", {})
IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tells the {name}.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "time")
]
ASKED: dict[str, Any] = {"model": "gpt", "messages": [{"role": "user", "content": "Hi"}]}


class Step(BaseModel):
    explanation: str
    value: int


class Solution(BaseModel):
    steps: list[Step]
    result: str


SOLUTION = Solution(steps=[Step(explanation="double", value=8)], result="8")

REQUESTS: dict[str, dict[str, Any]] = {
    "prompts": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Answer in verse."}]},
            {"role": "user", "content": "Hi", "name": "ann"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
        ],
        "temperature": 0.3,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "top_logprobs": 2,
        "metadata": {"team": "blue"},
        "user": "user-7",
        "n": 1,
    },
    "images": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "input_audio", "input_audio": {"data": "UklGRiQA", "format": "wav"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                    },
                ],
            }
        ]
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "How is it in Zürich?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": WEATHER.text}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "blue"}'},
        ],
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    },
    "schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "solution", "strict": True, "schema": Solution.model_json_schema()},
        },
        "max_tokens": 77,
    },
    "unknown": {"extra_body": {"brand_new": {"deep": [1, None, 2.5, "x"]}, "provider": {"order": ["a"]}}},
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_gets_what_the_client_sends(
    openai: Any, gateway: Gateway, provider: ModelServer, name: str, stream: bool
) -> None:
    provider.answer = sent(*chunks(TEXT)) if stream else answering(completion(TEXT))
    direct = openai_of(provider.base_url, "sk-mine", "sync")
    request = {**ASKED, **REQUESTS[name]}
    direct.chat.completions.create(**request, stream=stream).close() if stream else direct.chat.completions.create(
        **request
    )
    direct.close()
    got = await settled(openai.chat.completions.create(**request, stream=stream))
    if stream:
        await all_of(got)
    straight, governed = provider.requests
    added: dict[str, Any] = {"max_tokens": 77} if name == "schema" else {"max_tokens": 1000}
    if stream:
        added["stream_options"] = {"include_usage": True}
    else:
        straight.pop("stream", None)
    assert governed == {**straight, **added, "model": "gpt-stub"}
    assert provider.headers[1]["authorization"] == "Bearer sk-of-the-provider"


async def test_a_completion(openai: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = answering(completion(TEXT), x_request_id="req_7", openai_processing_ms="12")
    got = await settled(openai.chat.completions.create(**ASKED))
    assert got.choices[0].message.content == TEXT
    assert got.choices[0].finish_reason == "stop"
    assert got.usage.model_dump(exclude_unset=True) == CHAT_USAGE
    assert (got.id, got.service_tier, got._request_id) == ("chatcmpl-7", "default", "req_7")
    row = trace.last()
    assert (row["status"], row["kind"], row["input_tokens"], row["output_tokens"]) == ("completed", "chat", 100, 50)
    assert (row["cached_tokens"], row["reasoning_tokens"]) == (40, 20)
    assert row["cost_micros"] == 60 + 4 + 100


async def test_raw_responses(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering(completion(TEXT), x_ratelimit_remaining_requests="41")
    headers = {"x-session-id": "session 7", "openai-beta": "assistants=v2"}
    raw = await settled(openai.chat.completions.with_raw_response.create(**ASKED, extra_headers=headers))
    assert raw.headers["x-intutic-verdict"] == "bypass"
    assert raw.headers["x-ratelimit-remaining-requests"] == "41"
    assert (await settled(raw.parse())).choices[0].message.content == TEXT
    assert provider.headers[0]["openai-beta"] == "assistants=v2"
    assert "x-session-id" not in provider.headers[0]
    provider.answer = sent(*chunks(TEXT))
    raw = await settled(openai.chat.completions.with_raw_response.create(**ASKED, stream=True))
    assert "".join(one.choices[0].delta.content or "" for one in await all_of(raw.parse()) if one.choices) == TEXT


async def test_streaming_responses(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering(completion(TEXT))
    async with opened(openai.chat.completions.with_streaming_response.create(**ASKED)) as response:
        assert response.status_code == 200
        assert (await settled(response.parse())).choices[0].message.content == TEXT
    provider.answer = sent(*chunks(TEXT))
    async with opened(openai.chat.completions.with_streaming_response.create(**ASKED, stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in each(response.iter_lines())]
    assert [line for line in lines if line][-1] == "data: [DONE]"


@pytest.mark.parametrize("asks", [None, {"include_usage": False}, {"include_usage": True}])
async def test_a_stream_tells_usage_when_it_is_asked_to(
    openai: Any, provider: ModelServer, trace: Trace, asks: dict[str, bool] | None
) -> None:
    provider.answer = sent(*chunks(TEXT))
    more = {} if asks is None else {"stream_options": asks}
    got = await all_of(openai.chat.completions.create(**ASKED, stream=True, **more))
    assert "".join(one.choices[0].delta.content or "" for one in got if one.choices) == TEXT
    assert [one.choices[0].finish_reason for one in got if one.choices and one.choices[0].finish_reason] == ["stop"]
    told = [one.usage for one in got if one.usage is not None]
    assert [one.model_dump(exclude_unset=True) for one in told] == (
        [CHAT_USAGE] if asks == {"include_usage": True} else []
    )
    assert all(one.choices for one in got[:-1])
    row = trace.last()
    assert (row["status"], row["cost_micros"], row["cached_tokens"]) == ("completed", 164, 40)


async def test_the_stream_helper(openai: Any, provider: ModelServer) -> None:
    provider.answer = sent(*chunks(TEXT))
    options = {"stream_options": {"include_usage": True}}
    async with opened(openai.chat.completions.stream(**ASKED, **options)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_completion())
    assert "".join(one.delta for one in events if one.type == "content.delta") == TEXT
    assert [one.content for one in events if one.type == "content.done"] == [TEXT]
    assert final.choices[0].message.content == TEXT
    assert final.usage.completion_tokens_details.reasoning_tokens == 20


async def test_tools_are_called_and_answered(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering(completion(None, [WEATHER, TIME]))
    messages: list[Any] = [{"role": "user", "content": "How is it, and when?"}]
    got = await settled(openai.chat.completions.create(model="gpt", messages=messages, tools=TOOLS))
    calls = got.choices[0].message.tool_calls
    assert got.choices[0].finish_reason == "tool_calls"
    assert [(one.id, one.function.name, json.loads(one.function.arguments)) for one in calls] == [
        ("call_1", "weather", WEATHER.arguments),
        ("call_2", "time", {}),
    ]
    messages.append(got.choices[0].message)  # as the client's own documentation does
    messages += [{"role": "tool", "tool_call_id": one.id, "content": "ok"} for one in calls]
    provider.answer = answering(completion(TEXT))
    got = await settled(openai.chat.completions.create(model="gpt", messages=messages, tools=TOOLS))
    assert got.choices[0].message.content == TEXT
    assert [one["role"] for one in provider.requests[1]["messages"]] == ["user", "assistant", "tool", "tool"]
    assert provider.requests[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == WEATHER.text


async def test_streamed_tools(openai: Any, provider: ModelServer) -> None:
    provider.answer = sent(*chunks("Let me see. ", [WEATHER, TIME]))
    async with opened(openai.chat.completions.stream(**ASKED, tools=TOOLS)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_completion())
    done = [one for one in events if one.type == "tool_calls.function.arguments.done"]
    assert [(one.name, json.loads(one.arguments)) for one in done] == [("weather", WEATHER.arguments), ("time", {})]
    assert final.choices[0].message.content == "Let me see. "
    assert [one.id for one in final.choices[0].message.tool_calls] == ["call_1", "call_2"]
    assert final.choices[0].finish_reason == "tool_calls"


async def test_calls_whose_pieces_alternate(openai: Any, provider: ModelServer) -> None:
    def piece(index: int, text: str, **more: Any) -> bytes:
        return chunk({"tool_calls": [{"index": index, **more, "function": {"name": None, "arguments": text}}]})

    begun = [
        chunk({"role": "assistant", "content": None}),
        *(
            chunk(
                {
                    "tool_calls": [
                        {"index": at, "id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ]
                }
            )
            for at in (0, 1)
        ),
    ]
    provider.answer = sent(
        *begun,
        piece(0, '{"a":'),
        piece(1, '{"b":'),
        piece(0, "1}"),
        piece(1, "2}"),
        *chunks("", finish="tool_calls")[1:],
    )
    gathered = {0: "", 1: ""}
    for one in await all_of(openai.chat.completions.create(**ASKED, tools=TOOLS, stream=True)):
        for call in one.choices[0].delta.tool_calls or () if one.choices else ():
            gathered[call.index] += call.function.arguments or ""
    assert gathered == {0: '{"a":1}', 1: '{"b":2}'}


async def test_structured_output(openai: Any, provider: ModelServer) -> None:
    text = SOLUTION.model_dump_json()
    provider.answer = answering(completion(text))
    for completions in (openai.chat.completions, openai.beta.chat.completions):
        got = await settled(completions.parse(**ASKED, response_format=Solution))
        assert got.choices[0].message.parsed == SOLUTION
        assert provider.requests[-1]["response_format"]["json_schema"]["strict"] is True
    provider.answer = sent(*chunks(text))
    async with opened(openai.chat.completions.stream(**ASKED, response_format=Solution)) as stream:
        final = await settled(stream.get_final_completion())
    assert final.choices[0].message.parsed == SOLUTION


async def test_structured_output_with_a_number_that_is_masked(openai: Any, provider: ModelServer) -> None:
    text = json.dumps({"ssn": 536228726, "result": "8"})
    asked = {**ASKED, "response_format": {"type": "json_object"}}
    provider.answer = answering(completion(text))
    got = await settled(openai.chat.completions.create(**asked))
    assert json.loads(got.choices[0].message.content) == {"ssn": "[REDACTED_PII]", "result": "8"}
    provider.answer = sent(*chunks(text))
    got = await all_of(openai.chat.completions.create(**asked, stream=True))
    streamed = "".join(one.choices[0].delta.content or "" for one in got if one.choices)
    assert json.loads(streamed) == {"ssn": "[REDACTED_PII]", "result": "8"}


async def test_a_refusal(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering(completion(None, refusal="I cannot."))
    got = await settled(openai.chat.completions.parse(**ASKED, response_format=Solution))
    assert (got.choices[0].message.parsed, got.choices[0].message.refusal) == (None, "I cannot.")


async def test_several_choices(openai: Any, provider: ModelServer) -> None:
    deltas = [chunk({"role": "assistant", "content": ""}, index=at) for at in (0, 1)]
    deltas += [chunk({"content": f"{word} "}, index=at) for word in ("one", "two", "three") for at in (0, 1)]
    deltas += [chunk({}, "stop", index=at) for at in (0, 1)]
    provider.answer = sent(*deltas, *chunks()[-2:])
    texts = {0: "", 1: ""}
    for one in await all_of(openai.chat.completions.create(**ASKED, n=2, stream=True)):
        for choice in one.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "one two three ", 1: "one two three "}


async def test_calls_at_once(gateway: Gateway, provider: ModelServer, account: Any, trace: Trace) -> None:
    provider.answer = sent(*chunks(TEXT))
    async with openai_of(f"{gateway.server.base_url}/v1", account.virtual_key, "async") as client:

        async def one() -> str:
            got = await all_of(client.chat.completions.create(**ASKED, stream=True))
            return "".join(item.choices[0].delta.content or "" for item in got if item.choices)

        assert await asyncio.gather(*(one() for _ in range(16))) == [TEXT] * 16
    assert trace.count() == 16
