"""Streams: texts masked across events, ends in order, repeated texts rebuilt, cuts that end properly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.dialects.chat_stream import ChatStreamReader
from bailiwick.invocations.dialects.frames import CutReason
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.server_events import EventParser, ServerEvent, StreamUnreadable, encode_event
from bailiwick.invocations.dialects.usage import TokenUsage
from tests.invocations.dialects.streams import (
    MASK,
    SECRET,
    STREAMS,
    chunk,
    named,
    pieces_of,
    reader_of,
    relay_of,
    relayed,
    told,
)

TEXT = f"It is {SECRET}, and so on."
ARGUMENTS = json.dumps({"q": f"what {SECRET}"}, separators=(",", ":"))
cuts = st.lists(st.integers(1, 40), max_size=6)
dialects = pytest.mark.parametrize("dialect", list(Dialect))


def stream(dialect: Dialect, text_cuts: Sequence[int] = (8, 12), cuts: Sequence[int] = (4, 15)) -> list[ServerEvent]:
    return STREAMS[dialect](pieces_of(TEXT, text_cuts), pieces_of(ARGUMENTS, cuts))


@given(st.sampled_from(Dialect), cuts, cuts)
def test_a_stream_is_masked_alike_however_it_is_cut(dialect: Dialect, first: list[int], second: list[int]) -> None:
    events = relayed(dialect, stream(dialect, first, second))
    texts = sorted(told(dialect, events).values(), key=len)
    assert texts == [ARGUMENTS.replace(SECRET, MASK), TEXT.replace(SECRET, MASK)]
    assert SECRET not in json.dumps(events)


@dialects
def test_nothing_is_altered_without_a_finding(dialect: Dialect) -> None:
    events = STREAMS[dialect](["plain ", "words"], ['{"a":', "1}"])
    texts = told(dialect, relayed(dialect, events))
    assert texts == told(dialect, events)
    others = [event for event in events if event[1] is None or not _is_delta(event[1])]
    after = [event for event in relayed(dialect, events) if event[1] is None or not _is_delta(event[1])]
    assert _unnumbered(after) == _unnumbered(others)


def _is_delta(data: dict[str, Any]) -> bool:
    choices = data.get("choices")
    return "delta" in str(data.get("type")) or bool(choices and set(choices[0]["delta"]) - {"role"})


def _unnumbered(events: list[ServerEvent]) -> list[Any]:
    return [data and {k: v for k, v in data.items() if k != "sequence_number"} for _, data in events]


def test_the_final_response_repeats_what_went_out() -> None:
    events = relayed(Dialect.RESPONSES, stream(Dialect.RESPONSES))
    masked, arguments = TEXT.replace(SECRET, MASK), ARGUMENTS.replace(SECRET, MASK)
    by_type = {data["type"]: data for _, data in events if data is not None}
    assert by_type["response.output_text.done"]["text"] == masked
    assert by_type["response.content_part.done"]["part"]["text"] == masked
    assert by_type["response.function_call_arguments.done"]["arguments"] == arguments
    output = by_type["response.completed"]["response"]["output"]
    assert output[0]["content"][0]["text"] == masked
    assert output[1]["arguments"] == arguments
    numbers = [data["sequence_number"] for _, data in events if data is not None]
    assert numbers == list(range(len(numbers)))


def test_a_text_that_was_never_streamed_is_masked_whole() -> None:
    item = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": TEXT}]}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    final = {"type": "response.completed", "response": {"id": "r", "output": [item]}}
    events = relayed(Dialect.RESPONSES, [named(done), named(final)])
    assert SECRET not in json.dumps(events)
    assert json.dumps(events).count(MASK) == 2


@dialects
def test_what_is_held_back_goes_out_before_the_end_of_its_text(dialect: Dialect) -> None:
    events = relayed(dialect, stream(dialect))
    kinds = [_kind(data) for _, data in events]
    ends = {
        Dialect.CHAT: "finish",
        Dialect.MESSAGES: "content_block_stop",
        Dialect.RESPONSES: "response.output_text.done",
    }
    deltas = {Dialect.CHAT: "content", Dialect.MESSAGES: "text_delta", Dialect.RESPONSES: "response.output_text.delta"}
    last = len(kinds) - 1 - kinds[::-1].index(deltas[dialect])
    assert last < kinds.index(ends[dialect])


def _kind(data: dict[str, Any] | None) -> str:
    if data is None:
        return "done"
    if data.get("choices"):
        choice = data["choices"][0]
        return "finish" if choice["finish_reason"] else next(iter(choice["delta"]), "")
    return str(data["delta"]["type"]) if data.get("type") == "content_block_delta" else str(data.get("type"))


@dialects
def test_usage_is_read(dialect: Dialect) -> None:
    reader = reader_of(dialect)
    for event in stream(dialect):
        reader.read(event)
    assert reader.is_finished
    assert reader.usage is not None
    assert (reader.usage.input, reader.usage.output) == (8 if dialect is Dialect.MESSAGES else 5, 7)


def test_usage_that_the_client_did_not_ask_for_is_kept_from_it() -> None:
    reader = ChatStreamReader(hides_usage=True)
    events = [reader.emit(frame) for event in stream(Dialect.CHAT) for frame in reader.read(event)]
    assert all("usage" not in data for _, data in events if data is not None)
    assert events[-1] == (None, None)
    assert reader.usage is not None


def test_a_chunk_with_many_texts_is_taken_apart() -> None:
    data = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": "one", "refusal": "two"}, "finish_reason": "stop"},
            {"index": 1, "delta": {"content": SECRET, "custom_field": {"note": SECRET}}, "finish_reason": None},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    events = relayed(Dialect.CHAT, [(None, data), chunk({}, finish="stop", index=1), (None, None)])
    assert told(Dialect.CHAT, events) == {
        "choices[0].message.content": "one",
        "choices[0].message.refusal": "two",
        "choices[1].message.content": MASK,
    }
    assert SECRET not in json.dumps(events)
    finishes = [c["finish_reason"] for _, d in events if d for c in d["choices"] if c["index"] == 0]
    assert finishes.index("stop") == len(finishes) - 1
    assert sum("usage" in d for _, d in events if d) == 1


def test_token_probabilities_do_not_tell_what_was_masked() -> None:
    event = chunk({"content": SECRET})
    assert event[1] is not None
    event[1]["choices"][0]["logprobs"] = {"content": [{"token": SECRET, "logprob": -1}]}
    events = relayed(Dialect.CHAT, [event, chunk({}, finish="stop")])
    assert SECRET not in json.dumps(events)


def test_probabilities_that_come_without_their_text_do_not_spell_it_out() -> None:
    alone = chunk({"content": ""})
    assert alone[1] is not None
    alone[1]["choices"][0]["logprobs"] = {"content": [{"token": SECRET, "logprob": -1}]}
    events = relayed(Dialect.CHAT, [chunk({"content": f"It is {SECRET}."}), alone, chunk({}, finish="stop")])
    assert SECRET not in json.dumps(events)
    assert MASK in json.dumps(events)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": [{"type": "text", "text": SECRET}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}]},
        {"reasoning_content": {"text": SECRET}},
        {
            "tool_calls": [
                {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": {"q": SECRET}}}
            ]
        },
    ],
)
def test_a_text_in_a_place_of_its_own_is_masked(delta: dict[str, Any]) -> None:
    masked = json.dumps(relayed(Dialect.CHAT, [chunk(delta), chunk({}, finish="stop"), (None, None)]))
    assert SECRET not in masked
    assert MASK in masked


@given(cuts, cuts)
def test_content_in_parts_is_masked_however_it_is_cut(first: list[int], second: list[int]) -> None:
    def thought(piece: str) -> dict[str, Any]:
        return {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}

    thoughts, texts = pieces_of(f"I think {SECRET}.", first), pieces_of(f"It is {SECRET}.", second)
    events = [chunk({"content": [thought(piece)]}) for piece in thoughts]
    events += [chunk({"content": [{"type": "text", "text": piece}]}) for piece in texts]
    events += [chunk({}, finish="stop"), (None, None)]
    found = {"thinking": "", "text": ""}
    for _, data in relayed(Dialect.CHAT, events):
        for part in (data["choices"][0]["delta"].get("content") or ()) if data else ():
            said = part[part["type"]]
            found[part["type"]] += said if isinstance(said, str) else "".join(one["text"] for one in said)
    assert found == {"thinking": f"I think {MASK}.", "text": f"It is {MASK}."}


def test_signed_thinking_passes_unaltered() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": SECRET}}
    signed = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}}
    events = [named(data) for data in (start, thought, signed, {"type": "content_block_stop", "index": 0})]
    assert relayed(Dialect.MESSAGES, events) == events


def test_cited_text_is_masked() -> None:
    citation = {"type": "char_location", "cited_text": TEXT, "document_title": "t"}
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": citation}}
    assert SECRET not in json.dumps(relayed(Dialect.MESSAGES, [named(event)]))


@dialects
@pytest.mark.parametrize("reason", list(CutReason))
@pytest.mark.parametrize("after", range(9))
def test_a_cut_ends_the_stream_as_its_dialect_does(dialect: Dialect, reason: CutReason, after: int) -> None:
    relay = relay_of(dialect)
    events = [out for event in stream(dialect)[:after] for out in relay.feed(event)]
    events += relay.cut(reason, TokenUsage(input=3, output=4))
    assert SECRET not in json.dumps(events)
    if reason is CutReason.LIMIT and after >= 6:
        assert any(MASK in text for text in told(dialect, events).values())
    if dialect is Dialect.CHAT:
        assert events[-1] == (None, None)
        finish = [c["finish_reason"] for _, d in events if d for c in d["choices"] if c["finish_reason"]]
        assert finish == ["length" if reason is CutReason.LIMIT else "content_filter"]
    elif dialect is Dialect.MESSAGES:
        kinds = [name for name, _ in events]
        assert kinds[0] == "message_start"
        assert kinds[-2:] == ["message_delta", "message_stop"]
        assert kinds.count("content_block_start") == kinds.count("content_block_stop")
        assert (events[-2][1] or {})["delta"]["stop_reason"] == (
            "max_tokens" if reason is CutReason.LIMIT else "refusal"
        )
    else:
        name, final = events[-1]
        assert name == "response.incomplete"
        response = (final or {})["response"]
        assert response["status"] == "incomplete"
        assert [i["type"] for i in response["output"]] == ["message", "function_call"][: (after > 1) + (after > 8)]
        sent = "".join(told(dialect, events).values())
        assert not response["output"] or json.dumps(sent)[1:-1] in json.dumps(response["output"])


def test_a_cut_after_the_end_of_every_choice_adds_none() -> None:
    relay = relay_of(Dialect.CHAT)
    for event in stream(Dialect.CHAT)[:-2]:
        relay.feed(event)
    assert relay.cut(CutReason.POLICY) == [(None, None)]


@given(st.sampled_from(Dialect), st.lists(st.integers(1, 4000), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_bytes_are_read_alike_however_they_come(dialect: Dialect, edges: list[int], newline: str) -> None:
    events = stream(dialect)
    raw = b": hello\n\n" + b"".join(map(encode_event, events))
    raw = raw.replace(b"\n", newline.encode())
    parser = EventParser()
    ends = sorted({min(edge, len(raw)) for edge in edges} | {0, len(raw)})
    read = [event for a, b in pairwise(ends) for event in parser.feed(raw[a:b])]
    assert read + parser.feed(b"\n") == events


@pytest.mark.parametrize("raw", [b"data: [1]\n\n", b"data: {\n\n", b"data: hello\n\n"])
def test_what_is_no_event_is_refused(raw: bytes) -> None:
    with pytest.raises(StreamUnreadable):
        EventParser().feed(raw)


def test_an_event_over_many_lines_is_one() -> None:
    assert EventParser().feed(b'\xef\xbb\xbfevent: x\ndata: {"a":\ndata: 1}\nid: 3\n\n') == [("x", {"a": 1})]


keys = st.sampled_from(
    [
        "type",
        "index",
        "choices",
        "delta",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "item",
        "finish_reason",
        "part",
        "content_block",
    ]
)
kinds = st.sampled_from(
    [
        "content_block_start",
        "content_block_delta",
        "response.output_text.delta",
        "response.output_item.done",
        "message_delta",
    ]
)
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | kinds,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(Dialect), st.lists(st.dictionaries(keys, values, max_size=5), max_size=3))
def test_odd_events_pass(dialect: Dialect, datas: list[dict[str, Any]]) -> None:
    relay = relay_of(dialect)
    for data in datas:
        relay.feed((None, data))
    relay.cut(CutReason.LIMIT)


def _calls(*calls: tuple[int, str]) -> ServerEvent:
    pieces = [{"index": index, "function": {"arguments": text}} for index, text in calls]
    return chunk({"tool_calls": pieces})


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(
            [_calls((0, '{"a":')), _calls((0, "1}")), _calls((1, "")), _calls((1, '{"b":2}'))],
            [(0, '{"a":1}'), (1, ""), (1, '{"b":2}')],
            id="one after the other",
        ),
        pytest.param(
            [_calls((0, '{"a":1}'), (1, '{"b":2}'), (2, "{}"))],
            [(0, '{"a":1}'), (1, '{"b":2}'), (2, "{}")],
            id="all in one event",
        ),
        pytest.param(
            [_calls((0, '{"a":')), _calls((1, '{"b":2}')), _calls((0, "1}"))],
            [(1, '{"b":2}'), (0, '{"a":1}')],
            id="alternating",
        ),
    ],
)
def test_the_arguments_of_a_call_go_out_before_the_next_call(
    sent: list[ServerEvent], expected: list[tuple[int, str]]
) -> None:
    events = relayed(Dialect.CHAT, [*sent, chunk({}, finish="tool_calls"), (None, None)])
    told_calls = [
        (call["index"], call["function"]["arguments"])
        for _, data in events
        if data is not None
        for choice in data["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert [call for call in told_calls if call[1]] == [call for call in expected if call[1]]
    begun = [index for index, _ in told_calls]
    assert begun == sorted(begun) or expected[0][0] == 1
