"""Every place in which a text can stand, in every dialect and direction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects.errors import InvalidBody
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.positions import request_positions, response_positions, with_response_texts
from bailiwick.invocations.dialects.walk import with_texts

SECRET = "the secret"


def chat(**message: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "first"}, message]}


def messages(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": list(blocks)}]}


def responses(item: Any) -> dict[str, Any]:
    return {"model": "m", "input": [item]}


def choice(**message: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": message}]}


def message(*blocks: Any) -> dict[str, Any]:
    return {"id": "msg", "type": "message", "role": "assistant", "content": list(blocks)}


def response(item: Any) -> dict[str, Any]:
    return {"id": "resp", "object": "response", "output": [item]}


def call(arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}


ARGUMENTS = json.dumps({"city": SECRET, "days": 3})
REQUESTS = [
    ("chat", chat(role="system", content=SECRET), "messages[1].content"),
    ("chat", chat(role="developer", content=SECRET), "messages[1].content"),
    ("chat", chat(role="user", content=SECRET), "messages[1].content"),
    ("chat", chat(role="user", content=[{"type": "text", "text": SECRET}]), "messages[1].content[0].text"),
    ("chat", chat(role="assistant", content=SECRET), "messages[1].content"),
    ("chat", chat(role="assistant", content=None, refusal=SECRET), "messages[1].refusal"),
    (
        "chat",
        chat(role="assistant", content=[{"type": "refusal", "refusal": SECRET}]),
        "messages[1].content[0].refusal",
    ),
    ("chat", chat(role="assistant", reasoning_content=SECRET), "messages[1].reasoning_content"),
    ("chat", chat(role="assistant", tool_calls=[call(ARGUMENTS)]), "messages[1].tool_calls[0].function.arguments.city"),
    ("chat", chat(role="assistant", tool_calls=[call(SECRET)]), "messages[1].tool_calls[0].function.arguments"),
    (
        "chat",
        chat(role="assistant", tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": SECRET}}]),
        "messages[1].tool_calls[0].custom.input",
    ),
    (
        "chat",
        chat(role="assistant", function_call={"name": "f", "arguments": ARGUMENTS}),
        "messages[1].function_call.arguments.city",
    ),
    ("chat", chat(role="tool", tool_call_id="c", content=SECRET), "messages[1].content"),
    ("chat", chat(role="tool", content=[{"type": "text", "text": SECRET}]), "messages[1].content[0].text"),
    ("chat", chat(role="function", name="f", content=SECRET), "messages[1].content"),
    (
        "chat",
        {"messages": [], "tools": [{"type": "function", "function": {"name": "f", "description": SECRET}}]},
        "tools[0].function.description",
    ),
    (
        "chat",
        {"tools": [{"function": {"parameters": {"type": "object", "properties": {"a": {"description": SECRET}}}}}]},
        "tools[0].function.parameters.properties.a.description",
    ),
    ("chat", {"functions": [{"name": "f", "description": SECRET}]}, "functions[0].description"),
    (
        "chat",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": SECRET}}},
        "response_format.json_schema.description",
    ),
    ("chat", {"prediction": {"type": "content", "content": SECRET}}, "prediction.content"),
    ("chat", {"metadata": {"note": SECRET}}, "metadata.note"),
    ("chat", {"something_new": {"deep": [SECRET]}}, "something_new.deep[0]"),
    ("messages", {"system": SECRET}, "system"),
    ("messages", {"system": [{"type": "text", "text": SECRET}]}, "system[0].text"),
    ("messages", {"messages": [{"role": "user", "content": SECRET}]}, "messages[0].content"),
    ("messages", {"messages": [{"role": "assistant", "content": SECRET}]}, "messages[0].content"),
    ("messages", messages({"type": "text", "text": SECRET}), "messages[0].content[0].text"),
    (
        "messages",
        messages({"type": "tool_use", "id": "t", "name": "f", "input": {"type": SECRET}}, role="assistant"),
        "messages[0].content[0].input.type",
    ),
    (
        "messages",
        messages({"type": "tool_result", "tool_use_id": "t", "content": SECRET}),
        "messages[0].content[0].content",
    ),
    (
        "messages",
        messages({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": SECRET}]}),
        "messages[0].content[0].content[0].text",
    ),
    (
        "messages",
        messages({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": SECRET}}),
        "messages[0].content[0].source.data",
    ),
    (
        "messages",
        messages({"type": "document", "title": SECRET, "source": {"type": "url", "url": "https://x"}}),
        "messages[0].content[0].title",
    ),
    (
        "messages",
        messages({"type": "search_result", "source": "s", "content": [{"type": "text", "text": SECRET}]}),
        "messages[0].content[0].content[0].text",
    ),
    ("messages", {"tools": [{"name": "f", "description": SECRET, "input_schema": {}}]}, "tools[0].description"),
    (
        "messages",
        {"tools": [{"name": "f", "input_schema": {"properties": {"x": {"default": SECRET}}}}]},
        "tools[0].input_schema.properties.x.default",
    ),
    ("responses", {"instructions": SECRET}, "instructions"),
    ("responses", {"input": SECRET}, "input"),
    ("responses", responses({"role": "user", "content": SECRET}), "input[0].content"),
    (
        "responses",
        responses({"role": "user", "content": [{"type": "input_text", "text": SECRET}]}),
        "input[0].content[0].text",
    ),
    (
        "responses",
        responses({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": SECRET}]}),
        "input[0].content[0].text",
    ),
    (
        "responses",
        responses({"type": "function_call", "call_id": "c", "name": "f", "arguments": ARGUMENTS}),
        "input[0].arguments.city",
    ),
    ("responses", responses({"type": "function_call_output", "call_id": "c", "output": SECRET}), "input[0].output"),
    (
        "responses",
        responses({"type": "function_call_output", "output": [{"type": "input_text", "text": SECRET}]}),
        "input[0].output[0].text",
    ),
    ("responses", responses({"type": "custom_tool_call", "name": "f", "input": SECRET}), "input[0].input"),
    ("responses", responses({"type": "custom_tool_call_output", "output": SECRET}), "input[0].output"),
    (
        "responses",
        responses({"type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}]}),
        "input[0].summary[0].text",
    ),
    (
        "responses",
        responses({"type": "local_shell_call", "action": {"type": "exec", "command": [SECRET]}}),
        "input[0].action.command[0]",
    ),
    ("responses", {"tools": [{"type": "function", "name": "f", "description": SECRET}]}, "tools[0].description"),
    (
        "responses",
        {"text": {"format": {"type": "json_schema", "schema": {"description": SECRET}}}},
        "text.format.schema.description",
    ),
    ("responses", {"prompt": {"id": "p", "variables": {"who": SECRET}}}, "prompt.variables.who"),
]
ANSWERS = [
    ("chat", choice(content=SECRET), "choices[0].message.content"),
    ("chat", choice(refusal=SECRET), "choices[0].message.refusal"),
    ("chat", choice(reasoning_content=SECRET), "choices[0].message.reasoning_content"),
    ("chat", choice(tool_calls=[call(ARGUMENTS)]), "choices[0].message.tool_calls[0].function.arguments.city"),
    ("chat", choice(audio={"id": "a", "data": "UklG", "transcript": SECRET}), "choices[0].message.audio.transcript"),
    (
        "chat",
        choice(annotations=[{"type": "url_citation", "url_citation": {"url": "https://x", "title": SECRET}}]),
        "choices[0].message.annotations[0].url_citation.title",
    ),
    ("messages", message({"type": "text", "text": SECRET}), "content[0].text"),
    (
        "messages",
        message({"type": "text", "citations": [{"cited_text": SECRET}]}),
        "content[0].citations[0].cited_text",
    ),
    ("messages", message({"type": "tool_use", "id": "t", "input": {"q": SECRET}}), "content[0].input.q"),
    (
        "responses",
        response({"type": "message", "id": "m", "content": [{"type": "output_text", "text": SECRET}]}),
        "output[0].content[0].text",
    ),
    ("responses", response({"type": "message", "content": [{"refusal": SECRET}]}), "output[0].content[0].refusal"),
    ("responses", response({"type": "function_call", "arguments": ARGUMENTS}), "output[0].arguments.city"),
    ("responses", response({"type": "custom_tool_call", "input": SECRET}), "output[0].input"),
    ("responses", response({"type": "reasoning", "summary": [{"text": SECRET}]}), "output[0].summary[0].text"),
    ("responses", response({"type": "code_interpreter_call", "code": SECRET}), "output[0].code"),
    ("responses", response({"type": "mcp_call", "arguments": "{}", "output": SECRET}), "output[0].output"),
]


@pytest.mark.parametrize(("dialect", "body", "field"), REQUESTS)
def test_a_text_in_a_request_is_found_and_replaced(dialect: str, body: dict[str, Any], field: str) -> None:
    before = json.dumps(body)
    positions = request_positions(Dialect(dialect), body)
    assert [position.field for position in positions if position.text == SECRET] == [field]
    after = with_texts(body, positions, [p.text.replace(SECRET, "[MASK]") for p in positions])
    assert json.dumps(after) == before.replace(SECRET, "[MASK]").replace(r"\": ", r"\":").replace(r", \"", r",\"")
    assert json.dumps(body) == before


@pytest.mark.parametrize(("dialect", "body", "field"), ANSWERS)
def test_a_text_in_an_answer_is_found_and_replaced(dialect: str, body: dict[str, Any], field: str) -> None:
    positions = response_positions(Dialect(dialect), body)
    assert [position.field for position in positions if position.text == SECRET] == [field]
    after = with_texts(body, positions, [p.text.replace(SECRET, "[MASK]") for p in positions])
    assert SECRET not in json.dumps(after)
    assert "[MASK]" in json.dumps(after)


STRUCTURE = [
    (
        "chat",
        chat(role="user", name="n", content=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]),
    ),
    ("chat", chat(role="user", content=[{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}])),
    ("chat", chat(role="user", content=[{"type": "file", "file": {"file_data": "AA", "file_id": "f"}}])),
    ("chat", chat(role="tool", tool_call_id="call_123456789")),
    ("chat", {"stop": ["a", "b"], "user": "u", "seed": 12345678, "tool_choice": {"function": {"name": "f"}}}),
    ("messages", messages({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}})),
    ("messages", messages({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})),
    ("messages", messages({"type": "redacted_thinking", "data": "AA"})),
    ("messages", {"stop_sequences": ["x"], "metadata": {"user_id": "u"}}),
    ("messages", {"mcp_servers": [{"type": "url", "url": "https://x", "name": "n", "authorization_token": "t"}]}),
    ("responses", responses({"type": "reasoning", "id": "r", "encrypted_content": "AA", "summary": []})),
    (
        "responses",
        responses({"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,A"}]}),
    ),
    (
        "responses",
        {"previous_response_id": "resp_1", "include": ["x"], "tools": [{"type": "mcp", "headers": {"a": "b"}}]},
    ),
]


def test_generated_images_are_no_texts() -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"}
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for dialect, answer in (
        (Dialect.RESPONSES, response(image)),
        (Dialect.RESPONSES, {"type": "response.output_item.done", "output_index": 0, "item": image}),
        (Dialect.CHAT, {"choices": [{"index": 0, "message": {"role": "assistant", "images": [part]}}]}),
    ):
        assert response_positions(dialect, answer) == []
    assert request_positions(Dialect.RESPONSES, {"input": [image]}) == []
    other = response_positions(Dialect.RESPONSES, response({"type": "something_call", "result": SECRET}))
    assert [position.text for position in other] == [SECRET]


@pytest.mark.parametrize(("dialect", "body"), STRUCTURE)
def test_structure_is_no_text(dialect: str, body: dict[str, Any]) -> None:
    assert [p.field for p in request_positions(Dialect(dialect), body) if p.text != "first"] == []


def test_signed_thinking_can_be_read_but_not_changed() -> None:
    body = messages({"type": "thinking", "thinking": SECRET, "signature": "c2ln"}, role="assistant")
    (position,) = request_positions(Dialect.MESSAGES, body)
    assert position.is_read_only
    assert with_texts(body, [position], [SECRET]) is body
    with pytest.raises(ValueError, match="read-only"):
        with_texts(body, [position], ["[MASK]"])


def test_numbers_and_keys_in_arguments_are_texts() -> None:
    body = chat(tool_calls=[call('{"card": 4111111111111111, "who": {"joe@example.com": 1, "a@example.com": 2}}')])
    positions = request_positions(Dialect.CHAT, body)
    assert [(p.text, p.label) for p in positions[1:]] == [
        ("4111111111111111", "card"),
        ("joe@example.com", "joe@example.com"),
        ("a@example.com", "a@example.com"),
    ]
    assert all("@" not in p.field for p in positions)
    masked = with_texts(body, positions, ["first", "[CARD]", "[MAIL]", "[MAIL]"])
    arguments = masked["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"card": "[CARD]", "who": {"[MAIL]": 1, "[MAIL]_2": 2}}


def test_a_value_behind_a_duplicate_key_is_not_overlooked() -> None:
    raw = '{"a": "hidden", "a": "shown"}'
    positions = request_positions(Dialect.CHAT, chat(tool_calls=[call(raw)]))
    assert [p.text for p in positions[1:]] == [raw]


def test_the_request_echoed_in_an_answer_is_not_inspected_again() -> None:
    answer = {"instructions": "x", "tools": [{"type": "function", "description": "y"}], "output": []}
    assert response_positions(Dialect.RESPONSES, answer) == []
    event = {"type": "response.created", "response": answer}
    assert [position.field for position in response_positions(Dialect.RESPONSES, event)] == []


def test_token_probabilities_go_when_their_text_changed() -> None:
    answer = {"choices": [{"message": {"content": SECRET}, "logprobs": {"content": [{"token": SECRET}]}}]}
    positions = response_positions(Dialect.CHAT, answer)
    assert with_response_texts(Dialect.CHAT, answer, positions, [SECRET]) is answer
    assert with_response_texts(Dialect.CHAT, answer, positions, ["-"]) == {
        "choices": [{"message": {"content": "-"}, "logprobs": None}]
    }
    part = {"type": "output_text", "text": SECRET, "logprobs": [{"token": SECRET}]}
    answer = {"output": [{"type": "message", "content": [part]}]}
    positions = response_positions(Dialect.RESPONSES, answer)
    masked = with_response_texts(Dialect.RESPONSES, answer, positions, ["-"])
    assert masked["output"][0]["content"] == [{"type": "output_text", "text": "-", "logprobs": []}]


def test_nesting_has_a_bound() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidBody):
        request_positions(Dialect.CHAT, {"messages": deep})
    with pytest.raises(InvalidBody):
        request_positions(Dialect.CHAT, {"extra": deep})
    raw = "[" * 100_000 + "]" * 100_000
    positions = request_positions(Dialect.CHAT, chat(tool_calls=[call(raw)]))
    assert [p.text for p in positions[1:]] == [raw]


words = [
    "messages",
    "content",
    "role",
    "tool_calls",
    "function",
    "arguments",
    "input",
    "type",
    "text",
    "source",
    "data",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(words) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.sampled_from(Dialect), st.dictionaries(st.sampled_from(words), json_values, max_size=5))
def test_any_object_can_be_walked_and_every_text_replaced(dialect: Dialect, body: dict[str, Any]) -> None:
    positions = request_positions(dialect, body)
    assert with_texts(body, positions, [p.text for p in positions]) is body
    writable = [p for p in positions if not p.is_read_only]
    after = with_texts(body, writable, ["§"] * len(writable))
    assert {p.text.rstrip("_23456789") for p in request_positions(dialect, after) if not p.is_read_only} <= {"§"}
