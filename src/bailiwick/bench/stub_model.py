"""A model that answers at once and always the same: what stands behind every proxy in a benchmark.

Speaks the shapes of the OpenAI chat completions and embeddings APIs and of the Anthropic messages API, plain and
streaming (server-sent events), with usage. It authenticates nobody. Run as `python -m bailiwick.bench.stub_model`;
the first line that it prints is its port.

`GET /stub/calls` answers {"calls": n}: how many model calls reached it, so that a run can show that none was invented.
"""

import argparse
import asyncio
import contextlib
import sys
from functools import lru_cache
from typing import cast

import msgspec

from bailiwick.bench.load import NotLoopbackError, is_loopback

try:
    import uvloop
except ImportError:  # not built for every platform
    uvloop = None  # type: ignore[assignment]

ANSWER = "Restart the access point, then check its uplink on the floor switch."
CREATED = 1_750_000_000
MOST_HEAD_BYTES = 65_536


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ModelCall(msgspec.Struct, frozen=True):
    """The few fields of a request that change the answer's shape."""

    model: str = "stub"
    stream: bool = False
    stream_options: StreamOptions | None = None
    input: str | list[str] = ""


def input_tokens(content: bytes) -> int:
    """A stand-in for tokenising: a quarter of the body's bytes."""
    return max(1, len(content) // 4)


def words() -> list[str]:
    """ANSWER in the pieces in which it is streamed."""
    first, *rest = ANSWER.split(" ")
    return [first, *(f" {word}" for word in rest)]


OUTPUT_TOKENS = len(words())


def encode_event(data: object, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


def chat_completion(model: str, prompt_tokens: int) -> object:
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": chat_usage(prompt_tokens),
        "system_fingerprint": "fp_stub",
    }


def chat_usage(prompt_tokens: int) -> dict[str, int]:
    total = prompt_tokens + OUTPUT_TOKENS
    return {"prompt_tokens": prompt_tokens, "completion_tokens": OUTPUT_TOKENS, "total_tokens": total}


def chat_stream(model: str, prompt_tokens: int, include_usage: bool) -> list[bytes]:
    def chunk(choices: list[object], **more: object) -> bytes:
        return encode_event(
            {
                "id": "chatcmpl-stub",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": model,
                "choices": choices,
                **more,
            }
        )

    def choice(delta: dict[str, str], finish_reason: str | None = None) -> list[object]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    events = [chunk(choice({"role": "assistant", "content": ""}))]
    events += [chunk(choice({"content": word})) for word in words()]
    events.append(chunk(choice({}, "stop")))
    if include_usage:
        events.append(chunk([], usage=chat_usage(prompt_tokens)))
    return [*events, b"data: [DONE]\n\n"]


def message(model: str, prompt_tokens: int) -> object:
    return {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": prompt_tokens, "output_tokens": OUTPUT_TOKENS},
    }


def message_stream(model: str, prompt_tokens: int, _include_usage: bool) -> list[bytes]:
    opening: dict[str, object] = {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt_tokens, "output_tokens": 1},
    }
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": opening},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    for word in words():
        delta = {"type": "text_delta", "text": word}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": OUTPUT_TOKENS},
        },
        {"type": "message_stop"},
    ]
    return [encode_event(event, str(event["type"])) for event in events]


def embeddings(model: str, prompt_tokens: int, count: int) -> object:
    vector = [0.125, -0.25, 0.5, -0.75]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


CHAT = {"/v1/chat/completions", "/chat/completions"}
MESSAGES = {"/v1/messages"}
EMBEDDINGS = {"/v1/embeddings", "/embeddings"}
MODEL_PATHS = CHAT | MESSAGES | EMBEDDINGS


def response(status: str, content: bytes, *, closes: bool = False) -> bytes:
    ending = "Connection: close\r\n" if closes else ""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{ending}\r\n"
    ).encode() + content


def event_stream(events: list[bytes]) -> list[bytes]:
    """The pieces to write: one chunk for each event (RFC 9112 section 7.1), the head before the first."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return [head + chunks[0], *chunks[1:], b"0\r\n\r\n"]


@lru_cache(maxsize=4096)
def plain_answer(path: str, model: str, prompt_tokens: int) -> list[bytes]:
    """The one piece of an answer that is not streamed. Kept: a load repeats few different requests."""
    content = chat_completion(model, prompt_tokens) if path in CHAT else message(model, prompt_tokens)
    return [response("200 OK", msgspec.json.encode(content))]


@lru_cache(maxsize=1024)
def streamed_answer(path: str, model: str, prompt_tokens: int, include_usage: bool) -> list[bytes]:
    """The pieces of a streamed answer, kept likewise."""
    stream = chat_stream if path in CHAT else message_stream
    return event_stream(stream(model, prompt_tokens, include_usage))


class StubModel:
    """State that all connections of one stub share."""

    def __init__(self, latency_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        """Waited before each answer of a model call, so that a proxy holds that many more calls open."""
        self.calls = 0
        self.decoder = msgspec.json.Decoder(ModelCall)

    def answer(self, path: str, content: bytes) -> list[bytes]:
        """The pieces of one answer, the head in the first."""
        path = path.partition("?")[0]
        if path not in MODEL_PATHS:
            return [self.answer_other(path)]
        try:
            call = self.decoder.decode(content)
        except msgspec.DecodeError as problem:
            text = {"error": {"message": str(problem), "type": "invalid_request_error", "param": None, "code": None}}
            return [response("400 Bad Request", msgspec.json.encode(text))]
        self.calls += 1
        tokens = input_tokens(content)
        if path in EMBEDDINGS:
            count = 1 if isinstance(call.input, str) else len(call.input)
            return [response("200 OK", msgspec.json.encode(embeddings(call.model, tokens, count)))]
        if call.stream:
            options = call.stream_options
            return streamed_answer(path, call.model, tokens, options is not None and options.include_usage)
        return plain_answer(path, call.model, tokens)

    def answer_other(self, path: str) -> bytes:
        if path == "/stub/calls":
            return response("200 OK", msgspec.json.encode({"calls": self.calls}))
        if path == "/health":
            return response("200 OK", b'{"status":"ok"}')
        if path in ("/v1/models", "/models"):
            model = {"id": "stub", "object": "model", "created": CREATED, "owned_by": "bailiwick"}
            return response("200 OK", msgspec.json.encode({"object": "list", "data": [model]}))
        return response("404 Not Found", b'{"error":{"message":"no such path","type":"invalid_request_error"}}')

    def protocol(self) -> "StubConnection":
        return StubConnection(self)


class StubConnection(asyncio.Protocol):
    """One HTTP/1.1 connection: requests with a Content-Length, answered one after the other."""

    def __init__(self, stub: StubModel) -> None:
        self.stub = stub
        self.received = b""
        self.waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in behaviour, not by class

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None:
            self.waiting.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.serve()

    def serve(self) -> None:
        """Answers every whole request received, unless one still waits for its latency."""
        while self.waiting is None and self.received:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                if len(self.received) > MOST_HEAD_BYTES:
                    self.refuse("431 Request Header Fields Too Large")
                return
            head = self.received[:end]
            lowered = head.lower()
            at = lowered.find(b"\r\ncontent-length:")
            if at < 0 and b"\r\ntransfer-encoding:" in lowered:
                self.refuse("411 Length Required")
                return
            length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            following = end + 4 + length
            if len(self.received) < following:
                return
            content = self.received[end + 4 : following]
            self.received = self.received[following:]
            path = head.split(b" ", 2)[1].decode("latin-1")
            pieces = self.stub.answer(path, content)
            if self.stub.latency_seconds and path in MODEL_PATHS:
                loop = asyncio.get_running_loop()
                self.waiting = loop.call_later(self.stub.latency_seconds, self.answer_late, pieces)
            else:
                self.write(pieces)

    def write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.transport.write(piece)

    def answer_late(self, pieces: list[bytes]) -> None:
        self.waiting = None
        self.write(pieces)
        self.serve()

    def refuse(self, status: str) -> None:
        self.transport.write(response(status, b"{}", closes=True))
        self.transport.close()
        self.received = b""


async def start_stub(*, host: str = "127.0.0.1", port: int = 0, latency_seconds: float = 0.0) -> asyncio.Server:
    """Listens and answers the server; port 0 takes a free one. Raises NotLoopbackError."""
    if not is_loopback(host):
        raise NotLoopbackError(host)
    stub = StubModel(latency_seconds)
    return await asyncio.get_running_loop().create_server(stub.protocol, host, port, backlog=1024)


async def serve(port: int, latency_seconds: float) -> None:
    server = await start_stub(port=port, latency_seconds=latency_seconds)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A model that always answers the same, on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    if uvloop is not None:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, options.latency_ms / 1000))


if __name__ == "__main__":
    main()
