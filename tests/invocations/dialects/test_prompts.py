"""What a request's input is made of, and the bounds on its tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects import Dialect, Prompt, prompt_of, translate_request
from bailiwick.invocations.dialects.prompts import input_tokens_bound
from bailiwick.invocations.encodings import Encoding, counter

CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES
# OpenAI's cookbook, How to count tokens with tiktoken: what its API counts of these is told there.
EXAMPLE = [
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    (
        "user",
        None,
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
]
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
        "unit": {
            "type": "string",
            "description": "The unit of temperature to return",
            "enum": ["celsius", "fahrenheit"],
        },
    },
    "required": ["location"],
}


def counted(prompt: Prompt, encoding: Encoding) -> int:
    return sum(map(counter(encoding), prompt.pieces))


def bound(body: dict[str, Any], encoding: Encoding = Encoding.O200K, dialect: Dialect = CHAT) -> int:
    prompt = prompt_of(dialect, body)
    return prompt.most_tokens_of(counted(prompt, encoding))


@pytest.mark.parametrize(("encoding", "tokens"), [(Encoding.O200K, 124), (Encoding.CL100K, 129)])
def test_messages_count_what_openai_counts(encoding: Encoding, tokens: int) -> None:
    messages = [
        {"role": role, "content": text} if name is None else {"role": role, "name": name, "content": text}
        for role, name, text in EXAMPLE
    ]
    prompt = prompt_of(CHAT, {"model": "m", "messages": messages, "temperature": 0.5, "max_tokens": 9, "n": 1})
    assert prompt.likely_tokens_of(counted(prompt, encoding)) == tokens
    assert tokens < prompt.most_tokens_of(counted(prompt, encoding)) < tokens + 6 * 16 + 64
    assert prompt.most_tokens > 4 * tokens


def documented_tokens_of_tools(tools: list[dict[str, Any]], encoding: Encoding) -> int:
    """The cookbook's formula."""
    count, total = counter(encoding), 12
    for tool in tools:
        function = tool["function"]
        total += 10 + count(f"{function['name']}:{function['description'].rstrip('.')}")
        properties = function["parameters"]["properties"]
        total += 3 if properties else 0
        for name, field in properties.items():
            total += 3
            for item in field.get("enum", ()):
                total += 3 + count(item)
            total += count(f"{name}:{field['type']}:{field['description'].rstrip('.')}")
    return total


_words = st.text(st.sampled_from('aber_xyzAé日1 ."\\\n'), min_size=1, max_size=30)
_property = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "number", "object"]), "description": _words},
    optional={"enum": st.lists(_words, min_size=1, max_size=6)},
)


@given(
    st.lists(st.tuples(_words, _words, st.dictionaries(_words, _property, max_size=5)), min_size=1, max_size=4),
    st.sampled_from(Encoding),
)
def test_tools_are_never_counted_below_what_is_documented(
    functions: list[tuple[str, str, dict[str, Any]]], encoding: Encoding
) -> None:
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": text,
                "parameters": {"type": "object", "properties": properties},
            },
        }
        for name, text, properties in functions
    ]
    assert bound({"tools": tools}, encoding) >= documented_tokens_of_tools(tools, encoding)


@pytest.mark.parametrize(("encoding", "tokens"), [(Encoding.O200K, 101), (Encoding.CL100K, 105)])
def test_the_documented_tools_are_within_the_bound(encoding: Encoding, tokens: int) -> None:
    function = {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": WEATHER,
    }
    body = {
        "messages": [
            {
                "role": "system",
                "content": "You are a helpful assistant that can answer to questions about the weather.",
            },
            {"role": "user", "content": "What's the weather like in San Francisco?"},
        ],
        "tools": [{"type": "function", "function": function}],
    }
    assert tokens < bound(body, encoding) < 4 * tokens < input_tokens_bound(CHAT, body) / 3
    own = {**body, "tools": [{"type": "function", "function": function}, {"type": "web_search"}]}
    assert bound(own, encoding) > bound(body, encoding) + 900  # their hidden prompt is not documented


TEXT = 'A heron waits.\n"Now", it says. ' * 20


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": TEXT}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}),
        (CHAT, {"messages": [{"role": TEXT, "content": "Hi"}]}),
        (CHAT, {"messages": [{"role": "tool", "tool_call_id": "c", "content": TEXT}]}),
        (
            CHAT,
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": TEXT}}]}
                ]
            },
        ),
        (CHAT, {"messages": [], "tools": [{"type": "function", "function": {"name": "f", "description": TEXT}}]}),
        (CHAT, {"messages": [], "response_format": {"json_schema": {"schema": {"description": TEXT}}}}),
        (CHAT, {"messages": [], "a_new_member": TEXT}),
        (CHAT, {"messages": [], "a_new_member": {"deep": [TEXT]}}),
        (CHAT, {"messages": [{"role": "user", "a_new_member": {"user": TEXT}}]}),
        (MESSAGES, {"system": TEXT, "messages": []}),
        (MESSAGES, {"system": [{"type": "text", "text": TEXT}], "messages": []}),
        (MESSAGES, {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"id": TEXT}}]}]}),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": TEXT}]}]}),
        (MESSAGES, {"messages": [], "tools": [{"name": "f", "input_schema": {"properties": {"user": TEXT}}}]}),
        (
            MESSAGES,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": TEXT}}]}
                ]
            },
        ),
        (RESPONSES, {"input": TEXT}),
        (RESPONSES, {"instructions": TEXT, "input": "x"}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": TEXT}]}),
        (RESPONSES, {"input": [{"type": "reasoning", "encrypted_content": TEXT}]}),
    ],
)
def test_a_text_counts_wherever_it_stands(dialect: Dialect, body: dict[str, Any]) -> None:
    for encoding in Encoding:
        assert bound(body, encoding, dialect) >= counter(encoding)(TEXT)
    assert input_tokens_bound(dialect, body) >= len(TEXT)


_json = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=12), _json, max_size=4), st.sampled_from(Encoding))
def test_arguments_that_are_rendered_as_json_are_within_the_bound(value: dict[str, Any], encoding: Encoding) -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": value}
    body = {"max_tokens": 9, "messages": [{"role": "assistant", "content": [use]}]}
    chat = translate_request(MESSAGES, CHAT, body, default_max_tokens=9)
    arguments = chat["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == value
    assert bound(body, encoding, MESSAGES) >= counter(encoding)(arguments)


@pytest.mark.parametrize(
    ("dialect", "body", "tokens"),
    [
        (RESPONSES, {"input": "Hello, world!"}, 4 + 4 + 3),
        (RESPONSES, {"instructions": "Hello, world!", "input": "Hello, world!"}, 8 + 8 + 3),
        (MESSAGES, {"system": "Hello, world!", "messages": [{"role": "user", "content": "Hello, world!"}]}, 8 + 8 + 3),
    ],
)
def test_a_text_by_itself_is_a_message(dialect: Dialect, body: dict[str, Any], tokens: int) -> None:
    prompt = prompt_of(dialect, body)
    assert prompt.likely_tokens_of(counted(prompt, Encoding.O200K)) == tokens


def test_parameters_are_no_prompt() -> None:
    plain = {"messages": [{"role": "user", "content": "Hi"}]}
    more = {"model": "m" * 99, "temperature": 0.1, "seed": 7, "metadata": {"a": "b"}, "logit_bias": {"1": 100}}
    assert input_tokens_bound(CHAT, plain | more) == input_tokens_bound(CHAT, plain)


def test_an_image_counts_as_the_models_that_may_see_it_count() -> None:
    part = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert prompt_of(MESSAGES, body, for_anthropic=True).most_tokens < 5_000
    assert prompt_of(MESSAGES, body).most_tokens > 48_000
    small = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    body = {"messages": [{"role": "user", "content": [small]}]}
    assert prompt_of(CHAT, body).most_tokens < 3_000
    assert prompt_of(CHAT, body, for_anthropic=True).most_tokens > 4_784


HOUR = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    "body",
    [
        {"cache_control": HOUR},
        {"system": [{"type": "text", "text": "x", "cache_control": HOUR}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": HOUR}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}, "cache_control": HOUR}]}]},
        {"tools": [{"name": "f", "input_schema": {}, "cache_control": HOUR}]},
    ],
)
def test_a_cache_of_an_hour_is_seen_wherever_it_is_asked_for(body: dict[str, Any]) -> None:
    assert prompt_of(MESSAGES, body).caches_an_hour
    plain = json.loads(json.dumps(body).replace("1h", "5m"))
    assert not prompt_of(MESSAGES, plain).caches_an_hour
