"""`client.messages.count_tokens` of Anthropic's package and `client.responses.input_tokens` of OpenAI's."""

from __future__ import annotations

from typing import Any

import anthropic as anthropic_package
import openai as openai_package
import pytest

from tests.api.clients.conftest import Trace
from tests.api.clients.flavours import settled
from tests.api.clients.test_anthropic import TOOLS
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering

MESSAGES: list[Any] = [{"role": "user", "content": "Hello, world!"}]


async def test_anthropic_counts(anthropic: Any, provider: ModelServer, trace: Trace) -> None:
    provider.answer = answering({"input_tokens": 403}, request_id="req_7")
    got = await settled(anthropic.messages.count_tokens(model="claude", messages=MESSAGES, tools=TOOLS, system="Hm."))
    assert (got.input_tokens, got._request_id) == (403, "req_7")
    assert (provider.requests[0]["model"], provider.requests[0]["tools"]) == ("claude-stub", TOOLS)
    assert provider.paths[0].endswith("/v1/messages/count_tokens")
    row = trace.last()
    assert (row["kind"], row["status"], row["cost_micros"]) == ("count_tokens", "completed", 0)


async def test_a_model_of_openais_is_counted(anthropic: Any, provider: ModelServer) -> None:
    got = await settled(anthropic.messages.count_tokens(model="gpt-4o-mini", messages=MESSAGES))
    assert got.input_tokens == 11
    assert provider.requests == []
    with pytest.raises(anthropic_package.BadRequestError) as error:
        await settled(anthropic.messages.count_tokens(model="gpt", messages=MESSAGES))
    assert "how many tokens" in error.value.message


async def test_openai_counts(openai: Any, provider: ModelServer) -> None:
    provider.answer = answering({"object": "response.input_tokens", "input_tokens": 11})
    got = await settled(openai.responses.input_tokens.count(model="gpt-responses", input="Hello, world!"))
    assert (got.input_tokens, got.object) == (11, "response.input_tokens")
    assert provider.paths[0].endswith("/responses/input_tokens")
    got = await settled(openai.responses.input_tokens.count(model="gpt-4o-mini", input="Hello, world!"))
    assert got.input_tokens == 11
    assert len(provider.requests) == 1
    with pytest.raises(openai_package.BadRequestError) as error:
        await settled(openai.responses.input_tokens.count(model="gpt", input="Hello, world!"))
    assert (error.value.code, error.value.param) == ("invalid_body", "model")
