"""Streams in another dialect: what the client puts together is what a whole answer would have said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects import (
    Dialect,
    ServerEvent,
    StreamUnreadable,
    error_event,
    stream_reader,
    stream_translator,
)
from tests.invocations.dialects.streams import MASK, SECRET, STREAMS, chunk, named, pieces_of, relayed, told

CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES
TEXT = f"It is {SECRET}."
ARGUMENTS = json.dumps({"q": SECRET}, separators=(",", ":"))
PAIRS = [(MESSAGES, CHAT), (CHAT, MESSAGES), (CHAT, RESPONSES), (MESSAGES, RESPONSES)]
pairs = pytest.mark.parametrize(("provider", "client"), PAIRS)
cuts = st.lists(st.integers(1, 20), max_size=5)


def translated(provider: Dialect, client: Dialect, events: Sequence[ServerEvent]) -> list[ServerEvent]:
    translator = stream_translator(provider, client, {"instructions": "i"}, created=1)
    return [out for event in events for out in translator.feed(event)]


def whole(provider: Dialect, client: Dialect) -> list[ServerEvent]:
    return translated(provider, client, STREAMS[provider]([TEXT], [ARGUMENTS]))


@given(st.sampled_from(PAIRS), cuts, cuts)
def test_texts_and_arguments_arrive_however_they_are_cut(
    pair: tuple[Dialect, Dialect], first: list[int], second: list[int]
) -> None:
    provider, client = pair
    events = translated(provider, client, STREAMS[provider](pieces_of(TEXT, first), pieces_of(ARGUMENTS, second)))
    assert sorted(told(client, events).values(), key=len) == sorted([TEXT, ARGUMENTS], key=len)
    masked = relayed(client, events)
    assert SECRET not in json.dumps(masked)
    assert len([text for text in told(client, masked).values() if MASK in text]) == 2


@pairs
def test_usage_and_the_end_arrive(provider: Dialect, client: Dialect) -> None:
    reader = stream_reader(client)
    for event in whole(provider, client):
        reader.read(event)
    assert reader.is_finished
    assert reader.usage is not None
    # Anthropic's stub tells cached tokens beside the others
    assert (reader.usage.input, reader.usage.output) == (8 if provider is MESSAGES else 5, 7)


def test_a_message_as_chunks() -> None:
    events = [data for _, data in whole(MESSAGES, CHAT)]
    assert events[-1] is None
    chunks = [data for data in events if data is not None]
    assert {data["id"] for data in chunks} == {"msg_1"}
    assert [data["choices"][0]["delta"] for data in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": TEXT},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS}}]},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}


def test_chunks_as_a_message() -> None:
    events = whole(CHAT, MESSAGES)
    assert [name for name, _ in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    tool = (events[4][1] or {})["content_block"]
    assert tool == {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
    assert (events[-2][1] or {})["delta"]["stop_reason"] == "tool_use"
    assert (events[-2][1] or {})["usage"]["input_tokens"] == 5


@pytest.mark.parametrize("provider", [CHAT, MESSAGES])
def test_chunks_as_a_response(provider: Dialect) -> None:
    events = [data or {} for _, data in whole(provider, RESPONSES)]
    assert [data["type"] for data in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [data["sequence_number"] for data in events] == list(range(13))
    final = events[-1]["response"]
    assert (final["status"], final["instructions"]) == ("completed", "i")
    assert [item["status"] for item in final["output"]] == ["completed", "completed"]
    assert final["output"][0]["content"][0]["text"] == TEXT
    assert final["output"][1]["arguments"] == ARGUMENTS
    assert events[5]["item"]["arguments"] == ""


def test_thinking_and_calls_without_input() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    events = [
        named({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}}),
        named({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        named({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        named({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}}),
        named({"type": "content_block_stop", "index": 0}),
        named({"type": "content_block_start", "index": 1, "content_block": tool}),
        named({"type": "content_block_stop", "index": 1}),
        named({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 1}}),
        named({"type": "message_stop"}),
    ]
    assert told(CHAT, translated(MESSAGES, CHAT, events)) == {
        "choices[0].message.reasoning_content": "hm",
        "choices[0].message.tool_calls[0].function.arguments": "{}",
    }
    response = (translated(MESSAGES, RESPONSES, events)[-1][1] or {})["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["type"] for item in response["output"]] == ["reasoning", "function_call"]


def call_piece(index: int, text: str) -> ServerEvent:
    function = {"name": f"f{index}", "arguments": text}
    return chunk({"tool_calls": [{"index": index, "id": f"c{index}", "function": function}]})


def blocks_of(events: Sequence[ServerEvent]) -> list[dict[str, Any]]:
    """The blocks of a message's stream as Anthropic's clients put them together: in turn, counted from 0."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for name, data in events:
        assert data is not None
        assert name == data["type"]
        if name == "content_block_start":
            assert (is_open, data["index"]) == (False, len(blocks))
            is_open = True
            blocks.append({**data["content_block"], "said": ""})
        elif name in ("content_block_delta", "content_block_stop"):
            assert (is_open, data["index"]) == (True, len(blocks) - 1)
            is_open = name == "content_block_delta"
            delta = data.get("delta", {})
            blocks[-1]["said"] += delta.get("text") or delta.get("partial_json") or ""
        else:
            assert not is_open
    return blocks


VALUES = [{"q": SECRET}, {}, {"b": [{"c": 'a "}" {'}, "\\"]}, {"s": {"t": "}"}}]


@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4), st.data())
def test_calls_beside_each_other_arrive_one_after_the_other(values: list[dict[str, Any]], data: st.DataObject) -> None:
    sayings = [json.dumps(value) for value in values]
    pieces = [pieces_of(text, data.draw(cuts)) for text in sayings]
    left = [*pieces, pieces_of(TEXT, data.draw(cuts))]
    events: list[ServerEvent] = []
    while any(left):
        index = data.draw(st.sampled_from([at for at, rest in enumerate(left) if rest]))
        piece = left[index].pop(0)
        events.append(call_piece(index, piece) if index < len(values) else chunk({"content": piece}))
    events += [chunk({}, finish="tool_calls"), (None, None)]
    message = translated(CHAT, MESSAGES, events)
    blocks = blocks_of(message)
    assert {block["id"]: block["said"] for block in blocks if block["type"] == "tool_use"} == {
        f"c{index}": text for index, text in enumerate(sayings)
    }
    assert "".join(block["said"] for block in blocks if block["type"] == "text") == TEXT
    assert (message[-2][1] or {})["delta"]["stop_reason"] == "tool_use"
    response = translated(CHAT, RESPONSES, events)
    output = (response[-1][1] or {})["response"]["output"]
    assert {item["call_id"]: item["arguments"] for item in output if item["type"] == "function_call"} == {
        f"c{index}": text for index, text in enumerate(sayings)
    }
    for client, stream in ((MESSAGES, message), (RESPONSES, response), (CHAT, events)):
        masked = relayed(client, stream)
        assert SECRET not in json.dumps(masked)
        assert SECRET not in "".join(told(client, masked).values())
        if client is MESSAGES:
            heard = {block["name"]: json.loads(block["said"]) for block in blocks_of(masked) if "name" in block}
            assert heard == {f"f{index}": json.loads(text.replace(SECRET, MASK)) for index, text in enumerate(sayings)}


def test_a_call_goes_out_as_soon_as_the_one_before_is_complete() -> None:
    translator = stream_translator(CHAT, MESSAGES, {}, created=1)
    events = [
        [name for name, _ in translator.feed(call_piece(index, text))]
        for index, text in [(0, '{"a"'), (1, "{"), (0, ":1"), (0, "}"), (1, "}"), (2, "{}")]
    ]
    start, delta, stop = "content_block_start", "content_block_delta", "content_block_stop"
    assert events == [["message_start", start], [], [], [delta, stop, start], [], [delta, stop, start]]


@pytest.mark.parametrize(
    ("text", "finish", "said"),
    [
        ('{"a": oops}', "tool_calls", '{"INVALID_JSON":"{\\"a\\": oops}"}'),
        ("oops", "stop", '{"INVALID_JSON":"oops"}'),
        ('{"a": "cut o', "length", '{"a": "cut o'),
    ],
)
def test_arguments_that_are_no_json_are_told_as_in_a_whole_answer(text: str, finish: str, said: str) -> None:
    events = [call_piece(0, text[:4]), call_piece(0, text[4:]), chunk({}, finish=finish), (None, None)]
    assert [block["said"] for block in blocks_of(translated(CHAT, MESSAGES, events))] == [said]


def test_input_that_comes_with_the_start_of_its_block_arrives() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    events = [
        named({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}}),
        named({"type": "content_block_start", "index": 0, "content_block": tool}),
        named({"type": "content_block_stop", "index": 0}),
        named({"type": "message_stop"}),
    ]
    assert told(CHAT, translated(MESSAGES, CHAT, events)) == {
        "choices[0].message.tool_calls[0].function.arguments": '{"a":1}'
    }


def test_what_waits_goes_out_in_the_end() -> None:
    events = [call_piece(0, ""), call_piece(1, '{"a": 1}'), chunk({"content": "Hi"}), (None, None)]
    blocks = blocks_of(translated(CHAT, MESSAGES, events))
    assert [(block["type"], block["said"]) for block in blocks] == [
        ("tool_use", ""),
        ("tool_use", '{"a": 1}'),
        ("text", "Hi"),
    ]


def test_arguments_that_go_on_after_their_end_make_no_sense() -> None:
    with pytest.raises(StreamUnreadable):
        translated(CHAT, MESSAGES, [call_piece(0, "{}"), call_piece(1, "{"), call_piece(0, "}")])


def test_a_call_that_was_demanded_is_the_reason_to_stop() -> None:
    """OpenAI says `stop` then."""
    events = [call_piece(0, "{}"), chunk({}, finish="stop"), (None, None)]
    assert (translated(CHAT, MESSAGES, events)[-2][1] or {})["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("keys", [("reasoning_content",), ("reasoning",), ("reasoning_content", "reasoning")])
def test_reasoning_arrives_once_whatever_it_is_called(keys: Sequence[str]) -> None:
    events = [chunk(dict.fromkeys(keys, "hm")), chunk({"content": "Hi"}), chunk({}, finish="stop"), (None, None)]
    output = (translated(CHAT, RESPONSES, events)[-1][1] or {})["response"]["output"]
    assert [item["content"][0]["text"] for item in output] == ["hm", "Hi"]


def test_content_in_parts_arrives() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events = [
        chunk({"role": "assistant", "content": [thought]}),
        chunk({"content": [{"type": "text", "text": "Hi"}]}),
        chunk({"content": " there"}, finish="stop"),
        (None, None),
    ]
    assert [block["said"] for block in blocks_of(translated(CHAT, MESSAGES, events))] == ["Hi there"]
    output = (translated(CHAT, RESPONSES, events)[-1][1] or {})["response"]["output"]
    assert [item["content"][0]["text"] for item in output] == ["hm", "Hi there"]


@pytest.mark.parametrize("index", [{}, {"index": 0}, {"index": None}])
def test_calls_of_one_index_are_told_apart_by_their_ids(index: dict[str, Any]) -> None:
    calls = [{**index, "id": f"c{n}", "function": {"name": "f", "arguments": f'{{"n":{n}}}'}} for n in range(3)]
    events = [*(chunk({"tool_calls": [call]}) for call in calls), chunk({}, finish="tool_calls"), (None, None)]
    said = [f'{{"n":{n}}}' for n in range(3)]
    assert [block["said"] for block in blocks_of(translated(CHAT, MESSAGES, events))] == said
    output = (translated(CHAT, RESPONSES, events)[-1][1] or {})["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [(f"c{n}", said[n]) for n in range(3)]


def test_a_call_with_another_id_in_each_piece_is_one() -> None:
    first = {"index": 0, "id": "c0", "function": {"name": "f", "arguments": '{"a"'}}
    second = {"index": 0, "id": "c1", "function": {"arguments": ":1}"}}
    events = [chunk({"tool_calls": [call]}) for call in (first, second)]
    blocks = blocks_of(translated(CHAT, MESSAGES, [*events, (None, None)]))
    assert [(block["id"], block["said"]) for block in blocks] == [("c0", '{"a":1}')]


def test_a_refusal_stays_one() -> None:
    events = [chunk({"role": "assistant", "refusal": "No."}), chunk({}, finish="stop"), (None, None)]
    message = translated(CHAT, MESSAGES, events)
    assert (message[-2][1] or {})["delta"]["stop_reason"] == "refusal"
    response = (translated(CHAT, RESPONSES, events)[-1][1] or {})["response"]
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


@pairs
def test_an_error_in_the_middle_is_one_for_the_client(provider: Dialect, client: Dialect) -> None:
    upstream = error_event(provider, 529, message="Overloaded")
    name, data = translated(provider, client, [upstream])[-1]
    expected_name, expected = error_event(client, 502, message="Overloaded")
    assert name == expected_name
    assert data is not None
    assert expected is not None
    assert data.keys() == expected.keys()
    assert "Overloaded" in json.dumps(data)


keys = [
    "type",
    "index",
    "choices",
    "delta",
    "content",
    "tool_calls",
    "function",
    "arguments",
    "message",
    "usage",
    "text",
]
kinds = [
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "tool_use",
]
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(kinds),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(PAIRS), st.lists(st.dictionaries(st.sampled_from(keys), values, max_size=5), max_size=4))
def test_odd_events_are_translated_or_refused(pair: tuple[Dialect, Dialect], datas: list[dict[str, Any]]) -> None:
    translator = stream_translator(*pair, {}, created=0)
    try:
        for data in datas:
            translator.feed((None, data))
        translator.feed((None, None))
    except StreamUnreadable:
        return


@pytest.mark.parametrize("reasons", [(None, "max_tokens"), ("max_tokens",), (None,), ()])
def test_a_message_has_one_reason_for_its_end_however_often_it_is_told_of(reasons: Sequence[str | None]) -> None:
    deltas = [
        named({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}})
        for reason in reasons
    ]
    start = named({"type": "message_start", "message": {"id": "m", "model": "x", "usage": {"input_tokens": 2}}})
    events = translated(MESSAGES, CHAT, [start, *deltas, named({"type": "message_stop"})])
    told_reasons = [
        choice["finish_reason"] for _, data in events if data for choice in data["choices"] if choice["finish_reason"]
    ]
    assert told_reasons == ["length" if "max_tokens" in reasons else "stop"]
