"""Requests and answers in another dialect: golden examples, round trips, refusals by name."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bailiwick.invocations.dialects import (
    AnswerUnreadable,
    Dialect,
    InvalidBody,
    Untranslatable,
    translate_answer,
    translate_request,
)

CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PNG = "iVBORw0KGgo="

CHAT_REQUEST: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "sun"},
        {"role": "user", "content": "And?"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "max_completion_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["END"],
    "stream": True,
    "user": "u1",
    "reasoning_effort": "low",
    "a_new_field": {"x": 1},
}
MESSAGES_REQUEST: dict[str, Any] = {
    "model": "m",
    "system": "Be brief.",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "sun"},
                {"type": "text", "text": "And?"},
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop_sequences": ["END"],
    "stream": True,
    "metadata": {"user_id": "u1"},
    "output_config": {"effort": "low"},
    "a_new_field": {"x": 1},
}
RESPONSES_REQUEST: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                {"type": "input_image", "image_url": "https://example.com/a.png"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AA"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Bern"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": "sun"},
        {"role": "user", "content": "And?"},
    ],
    "tools": [{"type": "function", "name": "weather", "description": "Tells it.", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": False,
    "max_output_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "stream": True,
    "user": "u1",
    "reasoning": {"effort": "low", "summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "a_new_field": {"x": 1},
}


def translated(client: Dialect, provider: Dialect, body: Any) -> dict[str, Any]:
    return translate_request(client, provider, body, default_max_tokens=4096)


def test_a_chat_request_becomes_a_messages_request_and_back() -> None:
    assert translated(CHAT, MESSAGES, CHAT_REQUEST) == MESSAGES_REQUEST
    assert translated(MESSAGES, CHAT, MESSAGES_REQUEST) == CHAT_REQUEST


def test_a_responses_request_becomes_either() -> None:
    without_stop = {key: value for key, value in CHAT_REQUEST.items() if key != "stop"}
    assert translated(RESPONSES, CHAT, RESPONSES_REQUEST) == without_stop
    without_stop = {key: value for key, value in MESSAGES_REQUEST.items() if key != "stop_sequences"}
    assert translated(RESPONSES, MESSAGES, RESPONSES_REQUEST) == without_stop


@pytest.mark.parametrize("dialect", list(Dialect))
def test_within_a_dialect_nothing_changes(dialect: Dialect) -> None:
    body = {"anything": {"goes": [1]}}
    assert translated(dialect, dialect, body) is body


def test_structured_output_is_translated_both_ways() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": form}
    there = translated(CHAT, MESSAGES, body)
    assert there["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert there["max_tokens"] == 4096
    assert translated(MESSAGES, CHAT, there)["response_format"] == form
    flat = {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}}
    assert translated(RESPONSES, CHAT, flat)["response_format"]["json_schema"] == {"name": "n", "schema": SCHEMA}


@pytest.mark.parametrize(
    ("chat", "anthropic"), [("auto", {"type": "auto"}), ("none", {"type": "none"}), ("required", {"type": "any"})]
)
def test_tool_choices(chat: str, anthropic: dict[str, str]) -> None:
    assert translated(CHAT, MESSAGES, {"messages": [], "tool_choice": chat})["tool_choice"] == anthropic
    assert translated(MESSAGES, CHAT, {"messages": [], "tool_choice": anthropic})["tool_choice"] == chat
    assert translated(RESPONSES, CHAT, {"input": "", "tool_choice": chat})["tool_choice"] == chat


def test_a_prefill_and_system_messages_in_the_middle() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "developer", "content": "c"},
            {"role": "user", "content": "d"},
            {"role": "assistant", "content": "e"},
        ]
    }
    there = translated(CHAT, MESSAGES, body)
    assert there["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]
    assert there["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "d"}]},
        {"role": "assistant", "content": "e"},
    ]


def test_what_only_anthropic_says() -> None:
    body = {
        "max_tokens": 9,
        "thinking": {"type": "enabled", "budget_tokens": 10_000},
        "messages": [
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}},
                ],
            },
        ],
    }
    there = translated(MESSAGES, CHAT, body)
    assert there["reasoning_effort"] == "medium"
    assert there["messages"] == [
        {"role": "tool", "tool_call_id": "t", "content": "Error: no"},
        {"role": "user", "content": "doc"},
    ]


USER = [{"role": "user", "content": "x"}]
REFUSED: list[tuple[Dialect, Dialect, dict[str, Any], str]] = [
    (CHAT, MESSAGES, {"n": 2}, "n"),
    (CHAT, MESSAGES, {"logprobs": True}, "logprobs"),
    (CHAT, MESSAGES, {"logit_bias": {"1": 2}}, "logit_bias"),
    (CHAT, MESSAGES, {"presence_penalty": 0.5}, "presence_penalty"),
    (CHAT, MESSAGES, {"frequency_penalty": 0.5}, "frequency_penalty"),
    (CHAT, MESSAGES, {"temperature": 1.5}, "temperature"),
    (CHAT, MESSAGES, {"modalities": ["text", "audio"]}, "modalities"),
    (CHAT, MESSAGES, {"functions": [{"name": "f"}]}, "functions"),
    (CHAT, MESSAGES, {"response_format": {"type": "json_object"}}, "response_format.type"),
    (CHAT, MESSAGES, {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
    (CHAT, MESSAGES, {"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    (CHAT, MESSAGES, {"messages": [{"role": "function", "name": "f", "content": ""}]}, "messages[0].role"),
    (
        CHAT,
        MESSAGES,
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "messages[0].content[0].type",
    ),
    (
        CHAT,
        MESSAGES,
        {"messages": [{"role": "user", "name": name, "content": "x"} for name in ("ann", "bob")]},
        "messages[1].name",
    ),
    (MESSAGES, CHAT, {"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    (MESSAGES, CHAT, {"inference_geo": "eu"}, "inference_geo"),
    (MESSAGES, CHAT, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    (
        MESSAGES,
        CHAT,
        {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
        "messages[0].content[0].type",
    ),
    (
        MESSAGES,
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "tool_reference"}]}]}]},
        "messages[0].content[0].content[0].type",
    ),
    (RESPONSES, CHAT, {"previous_response_id": "resp_1"}, "previous_response_id"),
    (RESPONSES, CHAT, {"background": True}, "background"),
    (RESPONSES, CHAT, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
    (RESPONSES, CHAT, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    (RESPONSES, MESSAGES, {"input": "x", "text": {"verbosity": "low"}}, "verbosity"),
    (CHAT, RESPONSES, {}, "model"),
]


@pytest.mark.parametrize(("client", "provider", "more", "field"), REFUSED)
def test_what_cannot_be_said_is_refused_by_name(
    client: Dialect, provider: Dialect, more: dict[str, Any], field: str
) -> None:
    with pytest.raises(Untranslatable) as caught:
        translated(client, provider, {"model": "m", "messages": USER, **more})
    assert caught.value.field == field
    assert caught.value.problems[0]["path"] == field


@pytest.mark.parametrize(
    ("client", "body", "field"),
    [
        (CHAT, {"messages": "x"}, "messages"),
        (CHAT, {"messages": [{"role": "wizard"}]}, "messages[0].role"),
        (
            CHAT,
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "["}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (RESPONSES, {"input": [{"type": "function_call", "arguments": "{}"}]}, "input[0].name"),
    ],
)
def test_what_is_wrong_is_named(client: Dialect, body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        translated(client, MESSAGES, body)
    assert caught.value.field == field


CHAT_ANSWER: dict[str, Any] = {
    "id": "x1",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
MESSAGE: dict[str, Any] = {
    "id": "x1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 4,
        "output_tokens": 4,
        "cache_read_input_tokens": 6,
        "cache_creation_input_tokens": 0,
    },
}


def test_answers_are_translated_both_ways() -> None:
    assert translate_answer(MESSAGES, CHAT, MESSAGE, {}, created=7) == CHAT_ANSWER
    assert translate_answer(CHAT, MESSAGES, CHAT_ANSWER, {}, created=7) == MESSAGE


@pytest.mark.parametrize("provider", [CHAT, MESSAGES])
def test_an_answer_becomes_a_response(provider: Dialect) -> None:
    answer = CHAT_ANSWER if provider is CHAT else MESSAGE
    response = translate_answer(provider, RESPONSES, answer, {"instructions": "i", "tools": []}, created=7)
    assert (response["status"], response["instructions"], response["created_at"]) == ("completed", "i", 7)
    message, call = response["output"]
    assert message["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert (call["type"], call["call_id"], call["name"], call["arguments"]) == ("function_call", "c", "f", '{"a":1}')
    assert response["usage"]["input_tokens_details"] == {"cached_tokens": 6, "cache_write_tokens": 0}
    assert response["usage"]["total_tokens"] == 14


@pytest.mark.parametrize(
    ("anthropic", "openai"), [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")]
)
def test_reasons_for_stopping(anthropic: str, openai: str) -> None:
    message = {**MESSAGE, "content": [], "stop_reason": anthropic}
    chat = translate_answer(MESSAGES, CHAT, message, {}, created=0)
    assert chat["choices"][0]["finish_reason"] == openai
    assert translate_answer(CHAT, MESSAGES, chat, {}, created=0)["stop_reason"] == anthropic
    response = translate_answer(CHAT, RESPONSES, chat, {}, created=0)
    assert response["status"] == ("completed" if openai == "stop" else "incomplete")


def test_a_call_that_was_demanded_is_the_reason_to_stop() -> None:
    """OpenAI says `stop` then."""
    chat = {**CHAT_ANSWER, "choices": [{**CHAT_ANSWER["choices"][0], "finish_reason": "stop"}]}
    assert translate_answer(CHAT, MESSAGES, chat, {}, created=0)["stop_reason"] == "tool_use"


def test_reasoning_arrives_whatever_it_is_called() -> None:
    for key in ("reasoning_content", "reasoning"):
        message = {"role": "assistant", "content": "Hello", key: "hm"}
        chat = {**CHAT_ANSWER, "choices": [{"message": message, "finish_reason": "stop"}]}
        response = translate_answer(CHAT, RESPONSES, chat, {}, created=0)
        assert [item["content"][0]["text"] for item in response["output"]] == ["hm", "Hello"]


def test_content_in_parts_arrives() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    message = {"role": "assistant", "content": [thought, {"type": "text", "text": "Hello"}]}
    chat = {**CHAT_ANSWER, "choices": [{"message": message, "finish_reason": "stop"}]}
    blocks = translate_answer(CHAT, MESSAGES, chat, {}, created=0)["content"]
    assert blocks == [{"type": "text", "text": "Hello"}]
    output = translate_answer(CHAT, RESPONSES, chat, {}, created=0)["output"]
    assert [item["content"][0]["text"] for item in output] == ["hm", "Hello"]


def test_what_is_no_text_in_results_of_tools_follows_them_as_the_users() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW1n"}}
    found = {"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "found"}]}
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}}
    head = {"type": "text", "text": "Of the result of c1:"}
    results = [
        {"type": "tool_result", "tool_use_id": "c1", "content": [image]},
        {"type": "tool_result", "tool_use_id": "c2", "content": [found]},
    ]
    blocks = [*results, {"type": "text", "text": "Well?"}]
    assert translated(MESSAGES, CHAT, {"messages": [{"role": "user", "content": blocks}]})["messages"] == [
        {"role": "tool", "tool_call_id": "c1", "content": "The result is in the next message of the user."},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [{"type": "text", "text": text} for text in ("T", "s", "found")],
        },
        {"role": "user", "content": [head, shown]},
        {"role": "user", "content": "Well?"},
    ]
    parts = [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": "data:image/png;base64,aW1n"}]
    output = {"type": "function_call_output", "call_id": "c1", "output": parts}
    assert translated(RESPONSES, CHAT, {"input": [output]})["messages"] == [
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "t"}]},
        {"role": "user", "content": [head, shown]},
    ]
    (message,) = translated(RESPONSES, MESSAGES, {"input": [output]})["messages"]
    assert message["content"][0]["content"] == [{"type": "text", "text": "t"}, image]


def test_arguments_that_are_no_json_are_kept() -> None:
    answer = json.loads(json.dumps(CHAT_ANSWER).replace(r"{\"a\":1}", "oops"))
    message = translate_answer(CHAT, MESSAGES, answer, {}, created=0)
    assert message["content"][1]["input"] == {"INVALID_JSON": "oops"}


def test_what_is_no_answer_is_told_so() -> None:
    answers: list[dict[str, Any]] = [{}, {"choices": []}, {"choices": [{"message": 3}]}]
    for answer in answers:
        with pytest.raises(AnswerUnreadable):
            translate_answer(CHAT, MESSAGES, answer, {}, created=0)


texts = st.text("abc ", min_size=1, max_size=6)
names = st.text("fgh", min_size=1, max_size=4)
values = st.dictionaries(names, st.integers(0, 9) | texts, max_size=2)


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    """Chat requests of what both dialects can say, in the one spelling that comes back."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(texts)})
        calls = [
            {
                "id": f"c{turn}{number}",
                "type": "function",
                "function": {"name": draw(names), "arguments": json.dumps(draw(values), separators=(",", ":"))},
            }
            for number in range(draw(st.integers(0, 2)))
        ]
        if not calls:
            messages.append({"role": "assistant", "content": draw(texts)})
            continue
        messages.append({"role": "assistant", "content": draw(texts | st.none()), "tool_calls": calls})
        messages += ({"role": "tool", "tool_call_id": call["id"], "content": draw(texts)} for call in calls)
    body = {"model": "m", "messages": messages, "max_completion_tokens": draw(st.integers(1, 99))}
    return body | draw(st.fixed_dictionaries({}, optional={"temperature": st.just(0.5), "stop": st.just(["x"])}))


@given(conversations())
@settings(max_examples=60)
def test_what_both_can_say_comes_back(body: dict[str, Any]) -> None:
    assert translated(MESSAGES, CHAT, translated(CHAT, MESSAGES, body)) == body


words = [
    *("messages", "role", "content", "type", "text", "tools", "tool_calls", "function", "name", "arguments", "source"),
    *("input", "system", "tool_choice", "output_config", "response_format", "thinking", "include", "max_tokens"),
]
kinds = ["user", "assistant", "tool", "text", "tool_use", "tool_result", "function", "function_call", "image", "{}"]
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(kinds) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(words), inner, max_size=4),
    max_leaves=20,
)
pairs = [(CHAT, MESSAGES), (MESSAGES, CHAT), (RESPONSES, CHAT), (RESPONSES, MESSAGES)]


@given(st.sampled_from(pairs), st.dictionaries(st.sampled_from(words), junk, max_size=6))
def test_any_object_is_translated_or_refused(pair: tuple[Dialect, Dialect], body: dict[str, Any]) -> None:
    with contextlib.suppress(Untranslatable, InvalidBody):
        translated(*pair, body)


answer_words = [*words, "choices", "message", "delta", "usage", "finish_reason", "stop_reason"]
answers = st.dictionaries(
    st.sampled_from(answer_words),
    junk | st.lists(st.dictionaries(st.sampled_from(answer_words), junk, max_size=4), max_size=2),
    max_size=5,
)


@given(st.sampled_from(pairs), answers)
def test_any_answer_is_translated_or_unreadable(pair: tuple[Dialect, Dialect], answer: dict[str, Any]) -> None:
    client, provider = pair
    with contextlib.suppress(AnswerUnreadable):
        translate_answer(provider, client, answer, {}, created=0)
