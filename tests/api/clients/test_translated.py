"""Clients of one provider at models of another: every client's own types, whole and streamed, with tools and images."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any

import pytest

from tests.api.clients import test_anthropic, test_openai_chat, test_openai_responses
from tests.api.clients.conftest import Trace
from tests.api.clients.flavours import all_of, opened, settled
from tests.api.clients.provider_bodies import (
    Call,
    check_answer,
    chunk,
    chunks,
    completion,
    message,
    message_events,
    pieces,
    text_block,
    thinking_block,
    tool_block,
)
from tests.api.clients.test_openai_chat import IMAGE, SOLUTION, TEXT, TIME, WEATHER, Solution
from tests.invocations.conftest import Answer, ModelServer
from tests.invocations.provider_answers import answering, sending
from tests.invocations.test_streams import sent

models_of_responses = pytest.mark.parametrize("model", ["gpt", "claude"])


def telling(model: str, text: str = "", *calls: Call, stream: bool = False) -> Answer:
    """A provider of the model that answers so."""
    if model == "gpt":
        return sent(*chunks(text, calls)) if stream else answering(completion(text or None, calls))
    blocks = [thinking_block("Hm."), *([text_block(text)] if text else []), *map(tool_block, calls)]
    return sent(*message_events(*blocks)) if stream else answering(message(*blocks))


async def test_openai_at_claude(openai: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = telling("claude", TEXT)
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    got = await settled(
        openai.chat.completions.create(
            model="claude",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": content},
            ],
            stop=["END"],
        )
    )
    assert got.choices[0].message.content == TEXT
    assert (got.choices[0].finish_reason, got.object) == ("stop", "chat.completion")
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (100, 50, 150)
    assert got.usage.prompt_tokens_details.cached_tokens == 40
    (asked,) = provider.requests
    assert "Be brief." in json.dumps(asked["system"])
    assert "Be kind." in json.dumps(asked["system"])
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE.split(",")[1]}
    assert asked["messages"][0]["content"][1] == {"type": "image", "source": source}
    assert asked["stop_sequences"] == ["END"]
    assert trace.last()["cost_micros"] == 164


async def test_openai_at_claude_with_tools(openai: Any, provider: ModelServer) -> None:
    provider.answer = telling("claude", "Let me see.", WEATHER, TIME)
    messages: list[Any] = [{"role": "user", "content": "How is it?"}]
    asked: dict[str, Any] = {"model": "claude", "tools": test_openai_chat.TOOLS}
    got = await settled(openai.chat.completions.create(**asked, messages=messages))
    calls = got.choices[0].message.tool_calls
    assert got.choices[0].finish_reason == "tool_calls"
    assert [json.loads(one.function.arguments) for one in calls] == [WEATHER.arguments, {}]
    messages.append(got.choices[0].message)
    messages += [{"role": "tool", "tool_call_id": one.id, "content": "ok"} for one in calls]
    provider.answer = telling("claude", TEXT)
    got = await settled(openai.chat.completions.create(**asked, messages=messages))
    assert got.choices[0].message.content == TEXT
    roles = [(one["role"], [b["type"] for b in one["content"]]) for one in provider.requests[1]["messages"][1:]]
    assert roles == [("assistant", ["text", "tool_use", "tool_use"]), ("user", ["tool_result", "tool_result"])]


async def test_openai_streams_from_claude(openai: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = telling("claude", TEXT, WEATHER, TIME, stream=True)
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "tools": test_openai_chat.TOOLS}
    async with opened(openai.chat.completions.stream(model="claude", **asked)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_completion())
    assert "".join(one.delta for one in events if one.type == "content.delta") == TEXT
    done = [one for one in events if one.type == "tool_calls.function.arguments.done"]
    assert [(one.name, json.loads(one.arguments)) for one in done] == [("weather", WEATHER.arguments), ("time", {})]
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage is None
    provider.answer = telling("claude", TEXT, stream=True)
    got = await all_of(
        openai.chat.completions.create(model="claude", **asked, stream=True, stream_options={"include_usage": True})
    )
    assert got[-1].choices == []
    assert (got[-1].usage.prompt_tokens, got[-1].usage.completion_tokens) == (100, 50)
    assert trace.last()["cost_micros"] == 164


async def test_openai_parses_what_claude_says(openai: Any, provider: ModelServer) -> None:
    provider.answer = telling("claude", SOLUTION.model_dump_json())
    asked: dict[str, Any] = {"model": "claude", "messages": [{"role": "user", "content": "Hi"}]}
    got = await settled(openai.chat.completions.parse(**asked, response_format=Solution))
    assert got.choices[0].message.parsed == SOLUTION
    assert provider.requests[0]["output_config"]["format"]["schema"]["properties"].keys() == {"steps", "result"}
    provider.answer = telling("claude", SOLUTION.model_dump_json(), stream=True)
    async with opened(openai.chat.completions.stream(**asked, response_format=Solution)) as stream:
        assert (await settled(stream.get_final_completion())).choices[0].message.parsed == SOLUTION


async def test_anthropic_at_gpt(anthropic: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = telling("gpt", TEXT)
    blocks = [{"type": "image", "source": test_anthropic.IMAGE}, {"type": "text", "text": "What is this?"}]
    messages = [{"role": "user", "content": blocks}]
    got = await settled(anthropic.messages.create(model="gpt", max_tokens=500, system="Be brief.", messages=messages))
    assert (got.content[0].text, got.stop_reason, got.type, got.role) == (TEXT, "end_turn", "message", "assistant")
    assert (got.usage.input_tokens, got.usage.cache_read_input_tokens, got.usage.output_tokens) == (60, 40, 50)
    (asked,) = provider.requests
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    address = f"data:image/png;base64,{test_anthropic.IMAGE['data']}"
    assert asked["messages"][1]["content"][0]["image_url"]["url"] == address
    assert trace.last()["cost_micros"] == 164


async def test_anthropic_at_gpt_with_tools(anthropic: Any, provider: ModelServer) -> None:
    provider.answer = telling("gpt", "Let me see.", WEATHER, TIME)
    messages: list[Any] = [{"role": "user", "content": "How is it?"}]
    asked: dict[str, Any] = {"model": "gpt", "max_tokens": 500, "tools": test_anthropic.TOOLS}
    got = await settled(anthropic.messages.create(**asked, messages=messages))
    assert [block.type for block in got.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in got.content[1:]] == [WEATHER.arguments, {}]
    assert got.stop_reason == "tool_use"
    messages.append({"role": "assistant", "content": got.content})
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "ok"} for block in got.content[1:]]
    messages.append({"role": "user", "content": results})
    provider.answer = telling("gpt", TEXT)
    got = await settled(anthropic.messages.create(**asked, messages=messages))
    assert got.content[0].text == TEXT
    assert [one["role"] for one in provider.requests[1]["messages"]] == ["user", "assistant", "tool", "tool"]


async def test_anthropic_streams_from_gpt(anthropic: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = telling("gpt", TEXT, WEATHER, TIME, stream=True)
    messages = [{"role": "user", "content": "Hi"}]
    asked: dict[str, Any] = {"model": "gpt", "max_tokens": 500, "tools": test_anthropic.TOOLS, "messages": messages}
    async with opened(anthropic.messages.stream(**asked)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_message())
    assert "".join(one.text for one in events if one.type == "text") == TEXT
    assert [block.type for block in final.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in final.content[1:]] == [WEATHER.arguments, {}]
    assert (final.stop_reason, final.usage.output_tokens) == ("tool_use", 50)
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens) == (60, 40)
    assert trace.last()["cost_micros"] == 164


def beside_each_other(*calls: Call) -> list[bytes]:
    """A chat's stream whose calls go on by turns, text between them."""
    begun = [{"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}} for call in calls]
    sent = [chunk({"role": "assistant", "content": None})]
    sent += [chunk({"tool_calls": [{"index": index, **one}]}) for index, one in enumerate(begun)]
    for turn in zip_longest(*(pieces(call.text, 3) for call in calls)):
        said = [(index, piece) for index, piece in enumerate(turn) if piece]
        sent += [chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for index, piece in said]
    return [*sent, *chunks(TEXT, finish="tool_calls")[1:]]


async def test_anthropic_streams_calls_that_gpt_makes_beside_each_other(
    anthropic: Any, provider: ModelServer, trace: Trace
) -> None:
    told = Call("call_9", "weather", {"city": "Bern", "note": "SSN 536-22-8726"})
    provider.answer = sending(*beside_each_other(WEATHER, told, TIME))
    messages = [{"role": "user", "content": "Hi"}]
    asked: dict[str, Any] = {"model": "gpt", "max_tokens": 500, "tools": test_anthropic.TOOLS, "messages": messages}
    async with opened(anthropic.messages.stream(**asked)) as stream:
        for one in await all_of(stream):
            if one.type.startswith(("content_block", "message")):
                check_answer(one)
        final = await settled(stream.get_final_message())
    assert [(block.name, block.input) for block in final.content if block.type == "tool_use"] == [
        (WEATHER.name, WEATHER.arguments),
        ("weather", {"city": "Bern", "note": "SSN [REDACTED_PII]"}),
        (TIME.name, TIME.arguments),
    ]
    assert "".join(block.text for block in final.content if block.type == "text") == TEXT
    assert final.stop_reason == "tool_use"
    assert (trace.last()["status"], trace.last()["decision"]) == ("completed", "HIJACK")


async def test_responses_stream_calls_that_gpt_makes_beside_each_other(openai: Any, provider: ModelServer) -> None:
    provider.answer = sending(*beside_each_other(WEATHER, TIME))
    async with opened(openai.responses.stream(model="gpt", input="Hi", tools=test_openai_responses.TOOLS)) as stream:
        await all_of(stream)
        final = await settled(stream.get_final_response())
    calls = [(one.name, json.loads(one.arguments)) for one in final.output if one.type == "function_call"]
    assert calls == [(WEATHER.name, WEATHER.arguments), (TIME.name, TIME.arguments)]
    assert final.output_text == TEXT


async def test_anthropic_shows_gpt_an_image_that_a_tool_gave(anthropic: Any, provider: ModelServer) -> None:
    provider.answer = telling("gpt", TEXT)
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "image", "source": test_anthropic.IMAGE}],
    }
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    await settled(anthropic.messages.create(model="gpt", max_tokens=500, messages=messages))
    *_, tool, shown = provider.requests[0]["messages"]
    assert (tool["role"], tool["tool_call_id"], shown["role"]) == ("tool", "toolu_1", "user")
    assert shown["content"][1]["image_url"]["url"].endswith(test_anthropic.IMAGE["data"])


async def test_anthropic_parses_what_gpt_says(anthropic: Any, provider: ModelServer) -> None:
    provider.answer = telling("gpt", SOLUTION.model_dump_json())
    asked: dict[str, Any] = {"model": "gpt", "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]}
    got = await settled(anthropic.messages.parse(**asked, output_format=Solution))
    assert got.parsed_output == SOLUTION
    form = provider.requests[0]["response_format"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)


@models_of_responses
async def test_responses_elsewhere(openai: Any, provider: ModelServer, trace: Trace, model: str) -> None:
    provider.answer = telling(model, TEXT)
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": IMAGE}]
    got = await settled(
        openai.responses.create(model=model, instructions="Be brief.", input=[{"role": "user", "content": content}])
    )
    assert (got.output_text, got.status, got.object) == (TEXT, "completed", "response")
    assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.total_tokens) == (100, 50, 150)
    assert got.usage.input_tokens_details.cached_tokens == 40
    assert "Be brief." in json.dumps(provider.requests[0])
    assert IMAGE.split(",")[1] in json.dumps(provider.requests[0])
    assert trace.last()["cost_micros"] == 164


@models_of_responses
async def test_responses_elsewhere_with_tools(openai: Any, provider: ModelServer, model: str) -> None:
    provider.answer = telling(model, "Let me see.", WEATHER, TIME)
    asked: list[Any] = [{"role": "user", "content": "How is it?"}]
    tools = test_openai_responses.TOOLS
    got = await settled(openai.responses.create(model=model, input=asked, tools=tools))
    calls = [one for one in got.output if one.type == "function_call"]
    assert [json.loads(one.arguments) for one in calls] == [WEATHER.arguments, {}]
    asked += got.output
    asked += [{"type": "function_call_output", "call_id": one.call_id, "output": "ok"} for one in calls]
    provider.answer = telling(model, TEXT)
    got = await settled(openai.responses.create(model=model, input=asked, tools=tools))
    assert got.output_text == TEXT
    assert len(provider.requests[1]["messages"]) == (4 if model == "gpt" else 3)


@models_of_responses
async def test_responses_stream_from_elsewhere(openai: Any, provider: ModelServer, trace: Trace, model: str) -> None:
    provider.answer = telling(model, TEXT, WEATHER, TIME, stream=True)
    async with opened(openai.responses.stream(model=model, input="Hi", tools=test_openai_responses.TOOLS)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_response())
    assert [one.sequence_number for one in events if hasattr(one, "sequence_number")] == list(range(len(events)))
    assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == TEXT
    assert final.output_text == TEXT
    calls = [one for one in final.output if one.type == "function_call"]
    assert [(one.name, json.loads(one.arguments)) for one in calls] == [("weather", WEATHER.arguments), ("time", {})]
    assert (final.usage.input_tokens, final.usage.output_tokens) == (100, 50)
    assert trace.last()["cost_micros"] == 164


@models_of_responses
async def test_responses_parse_what_others_say(openai: Any, provider: ModelServer, model: str) -> None:
    provider.answer = telling(model, SOLUTION.model_dump_json())
    got = await settled(openai.responses.parse(model=model, input="Hi", text_format=Solution))
    assert got.output_parsed == SOLUTION
    provider.answer = telling(model, SOLUTION.model_dump_json(), stream=True)
    async with opened(openai.responses.stream(model=model, input="Hi", text_format=Solution)) as stream:
        assert (await settled(stream.get_final_response())).output_parsed == SOLUTION


@pytest.mark.parametrize("calls", [(), (WEATHER, TIME)])
@pytest.mark.parametrize("stream", [False, True])
async def test_openai_gets_objects_of_its_own_types(
    openai: Any, provider: ModelServer, calls: tuple[Call, ...], stream: bool
) -> None:
    provider.answer = telling("claude", TEXT, *calls, stream=stream)
    got = await settled(
        openai.chat.completions.create(model="claude", messages=[{"role": "user", "content": "Hi"}], stream=stream)
    )
    for item in await all_of(got) if stream else [got]:
        check_answer(item)
    for model in ("gpt", "claude"):
        provider.answer = telling(model, TEXT, *calls, stream=stream)
        got = await settled(openai.responses.create(model=model, input="Hi", stream=stream))
        for item in await all_of(got) if stream else [got]:
            check_answer(item)


@pytest.mark.parametrize("calls", [(), (WEATHER, TIME)])
@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_gets_objects_of_its_own_types(
    anthropic: Any, provider: ModelServer, calls: tuple[Call, ...], stream: bool
) -> None:
    provider.answer = telling("gpt", TEXT, *calls, stream=stream)
    got = await settled(
        anthropic.messages.create(
            model="gpt", max_tokens=500, messages=[{"role": "user", "content": "Hi"}], stream=stream
        )
    )
    for item in await all_of(got) if stream else [got]:
        check_answer(item)
