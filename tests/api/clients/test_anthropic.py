"""`client.messages` of Anthropic's package, plain, streamed and through its helpers."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema

from tests.api.clients.conftest import Trace, anthropic_of
from tests.api.clients.flavours import all_of, each, opened, settled
from tests.api.clients.provider_bodies import (
    MESSAGE_USAGE,
    message,
    message_events,
    text_block,
    thinking_block,
    tool_block,
)
from tests.api.clients.test_openai_chat import SOLUTION, TEXT, TIME, WEATHER, Solution
from tests.api.gateways import Gateway
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering
from tests.invocations.test_streams import sent

IMAGE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"}
TOOLS: list[Any] = [
    {
        "name": name,
        "description": f"Tells the {name}.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    for name in ("weather", "time")
]
ASKED: dict[str, Any] = {"model": "claude", "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]}

REQUESTS: dict[str, dict[str, Any]] = {
    "prompts": {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
        ],
        "extra_body": {"temperature": 0.3, "top_k": 5},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "user-7"},
        "service_tier": "auto",
    },
    "images": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": IMAGE},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                        "title": "A",
                        "citations": {"enabled": True},
                    },
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ]
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "How is it?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAhIM"},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": WEATHER.arguments},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "blue"}, {"type": "image", "source": IMAGE}],
                        "is_error": False,
                    }
                ],
            },
        ],
        "tools": [*TOOLS, {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    },
    "thinking": {"max_tokens": 900, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    "schema": {"output_config": {"format": {"type": "json_schema", "schema": transform_schema(Solution)}}},
    "unknown": {"extra_body": {"brand_new": {"deep": [1, None, 2.5, "x"]}}},
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_gets_what_the_client_sends(
    anthropic: Any, gateway: Gateway, provider: ModelServer, name: str, stream: bool
) -> None:
    provider.answer = sent(*message_events(text_block(TEXT))) if stream else answering(message(text_block(TEXT)))
    request = {**ASKED, **REQUESTS[name], **({"stream": True} if stream else {})}
    with anthropic_of(provider.base_url, "sk-mine", "sync") as direct:
        got = direct.messages.create(**request)
        if stream:
            list(got)
    got = await settled(anthropic.messages.create(**request))
    if stream:
        await all_of(got)
    straight, governed = provider.requests
    assert governed == {**straight, "model": "claude-stub"}
    assert provider.headers[1]["x-api-key"] == "sk-of-the-provider"
    assert provider.headers[1]["anthropic-version"] == provider.headers[0]["anthropic-version"]


async def test_a_message(anthropic: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = answering(message(thinking_block("I think."), text_block(TEXT)), request_id="req_7")
    got = await settled(anthropic.messages.create(**ASKED))
    assert [block.type for block in got.content] == ["thinking", "text"]
    assert (got.content[0].signature, got.content[1].text) == (thinking_block("")["signature"], TEXT)
    assert (got.id, got.stop_reason, got._request_id) == ("msg_7", "end_turn", "req_7")
    assert got.usage.model_dump(exclude_unset=True) == MESSAGE_USAGE
    row = trace.last()
    assert (row["status"], row["kind"], row["input_tokens"], row["output_tokens"]) == ("completed", "messages", 100, 50)
    assert (row["cached_tokens"], row["cost_micros"]) == (40, 164)


async def test_raw_and_streaming_responses(anthropic: Any, provider: ModelServer) -> None:
    provider.answer = answering(message(text_block(TEXT)), anthropic_ratelimit_requests_remaining="41")
    headers = {"anthropic-beta": "context-1m-2025-08-07", "x-session-id": "session 7"}
    raw = await settled(anthropic.messages.with_raw_response.create(**ASKED, extra_headers=headers))
    assert raw.headers["x-intutic-verdict"] == "bypass"
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "41"
    assert (await settled(raw.parse())).content[0].text == TEXT
    assert provider.headers[0]["anthropic-beta"] == "context-1m-2025-08-07"
    provider.answer = sent(*message_events(text_block(TEXT)))
    async with opened(anthropic.messages.with_streaming_response.create(**ASKED, stream=True)) as got:
        lines = [line async for line in each(got.iter_lines())]
    assert [line for line in lines if line.startswith("event: ")][-1] == "event: message_stop"


async def test_a_stream(anthropic: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = sent(*message_events(thinking_block("I think."), text_block(TEXT)))
    got = await all_of(anthropic.messages.create(**ASKED, stream=True))
    deltas = [one.delta for one in got if one.type == "content_block_delta"]
    assert "".join(one.text for one in deltas if one.type == "text_delta") == TEXT
    assert "".join(one.thinking for one in deltas if one.type == "thinking_delta") == "I think."
    assert [one.signature for one in deltas if one.type == "signature_delta"] == [thinking_block("")["signature"]]
    assert got[0].type == "message_start"
    assert (got[-2].delta.stop_reason, got[-2].usage.output_tokens, got[-1].type) == ("end_turn", 50, "message_stop")
    row = trace.last()
    assert (row["status"], row["cost_micros"], row["cached_tokens"]) == ("completed", 164, 40)


async def test_the_stream_helper_accumulates(anthropic: Any, provider: ModelServer) -> None:
    blocks = [thinking_block("I think."), text_block(TEXT), tool_block(WEATHER), tool_block(TIME)]
    provider.answer = sent(*message_events(*blocks))
    async with opened(anthropic.messages.stream(**ASKED, tools=TOOLS)) as stream:
        events = await all_of(stream)
        final = await settled(stream.get_final_message())
    assert "".join(one.text for one in events if one.type == "text") == TEXT
    assert [one.snapshot for one in events if one.type == "input_json"][-1] == {}
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.input for block in final.content[2:]] == [WEATHER.arguments, {}]
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("tool_use", 60, 50)
    provider.answer = sent(*message_events(*blocks))
    async with opened(anthropic.messages.stream(**ASKED)) as stream:
        assert "".join(await all_of(stream.text_stream)) == TEXT
        assert await settled(stream.get_final_text()) == TEXT


async def test_tools_are_called_and_answered(anthropic: Any, provider: ModelServer) -> None:
    provider.answer = answering(message(thinking_block("Hm."), tool_block(WEATHER), tool_block(TIME)))
    messages: list[Any] = [{"role": "user", "content": "How is it, and when?"}]
    asked = {"model": "claude", "max_tokens": 500, "tools": TOOLS}
    got = await settled(anthropic.messages.create(**asked, messages=messages))
    assert got.stop_reason == "tool_use"
    uses = [block for block in got.content if block.type == "tool_use"]
    assert [(one.id, one.name, one.input) for one in uses] == [
        ("call_1", "weather", WEATHER.arguments),
        ("call_2", "time", {}),
    ]
    messages.append({"role": "assistant", "content": got.content})
    results = [{"type": "tool_result", "tool_use_id": one.id, "content": "ok"} for one in uses]
    messages.append({"role": "user", "content": results})
    provider.answer = answering(message(text_block(TEXT)))
    got = await settled(anthropic.messages.create(**asked, messages=messages))
    assert got.content[0].text == TEXT
    returned = provider.requests[1]["messages"][1]["content"]
    assert (returned[0]["signature"], returned[1]["input"]) == (thinking_block("")["signature"], WEATHER.arguments)


async def test_structured_output(anthropic: Any, provider: ModelServer) -> None:
    text = SOLUTION.model_dump_json()
    provider.answer = answering(message(text_block(text)))
    got = await settled(anthropic.messages.parse(**ASKED, output_format=Solution))
    assert got.parsed_output == SOLUTION
    assert provider.requests[0]["output_config"]["format"]["type"] == "json_schema"
    provider.answer = sent(*message_events(text_block(text)))
    async with opened(anthropic.messages.stream(**ASKED, output_format=Solution)) as stream:
        final = await settled(stream.get_final_message())
    assert final.parsed_output == SOLUTION


async def test_the_credential_may_be_a_token(gateway: Gateway, provider: ModelServer, account: Any) -> None:
    provider.answer = answering(message(text_block(TEXT)))
    with anthropic_of(gateway.server.base_url, "", "sync", api_key=None, auth_token=account.virtual_key) as client:
        assert client.messages.create(**ASKED).content[0].text == TEXT
