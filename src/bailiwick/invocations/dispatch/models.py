"""Dispatch to models: OpenAI-compatible, Azure OpenAI and Anthropic, whole answers and streams.

Spoken as their public references say: OpenAI `POST /chat/completions`, Anthropic `POST /v1/messages`
(`anthropic-version: 2023-06-01`), server-sent events for streams.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from bailiwick.invocations.dispatch.exchange import Exchange, read
from bailiwick.invocations.errors import TargetUnavailable
from bailiwick.invocations.model_list import Deployment
from bailiwick.invocations.prices import MOST_TOKENS, cost_micros, most_tokens
from bailiwick.invocations.requests import InspectedText, Usage

Messages = Sequence[Mapping[str, str]]
_MESSAGE_OVERHEAD_TOKENS = 16
_MOST_EVENT_BYTES = 1024 * 1024
_MOST_TOKEN_BYTES = 256  # twice the longest token of the known vocabularies (a run of 128 spaces)


class _OpenAIUsage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _OpenAIMessage(msgspec.Struct):
    content: str | None = None


class _OpenAIChoice(msgspec.Struct):
    message: _OpenAIMessage = msgspec.field(default_factory=_OpenAIMessage)
    delta: _OpenAIMessage = msgspec.field(default_factory=_OpenAIMessage)
    finish_reason: str | None = None


class _OpenAIAnswer(msgspec.Struct):
    choices: list[_OpenAIChoice] = []
    usage: _OpenAIUsage | None = None
    error: Any = None


class _AnthropicUsage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    @property
    def all_input_tokens(self) -> int:
        return self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)


class _AnthropicBlock(msgspec.Struct):
    type: str = "text"
    text: str = ""


class _AnthropicAnswer(msgspec.Struct):
    content: list[_AnthropicBlock]
    usage: _AnthropicUsage = msgspec.field(default_factory=_AnthropicUsage)


class _AnthropicEvent(msgspec.Struct):
    type: str
    message: _AnthropicAnswer | None = None
    delta: _AnthropicBlock | None = None
    usage: _AnthropicUsage | None = None


# OpenAI's reasoning models refuse `max_tokens`; other servers may know nothing else.
_REASONING = re.compile(r"o\d|gpt-5")
_openai = msgspec.json.Decoder(_OpenAIAnswer)
_anthropic = msgspec.json.Decoder(_AnthropicAnswer)
_anthropic_event = msgspec.json.Decoder(_AnthropicEvent)
_json = msgspec.json.Encoder()


def worst_case_micros(deployment: Deployment, messages: Messages) -> int:
    """The most that a call can cost: every input byte a token, the whole output bound used."""
    tokens = sum(most_tokens(message["content"]) + _MESSAGE_OVERHEAD_TOKENS for message in messages)
    return cost_micros(deployment, tokens, deployment.max_output_tokens)


def _request(deployment: Deployment, messages: Messages, *, stream: bool) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and body for one deployment."""
    headers = dict(deployment.headers)
    limit = "max_completion_tokens" if _REASONING.match(deployment.model) else "max_tokens"
    body: dict[str, Any] = {"model": deployment.model, limit: deployment.max_output_tokens}
    if stream:
        body["stream"] = True
    if deployment.dialect == "anthropic":
        system = [message["content"] for message in messages if message["role"] == "system"]
        if system:
            body["system"] = "\n\n".join(system)
        body["messages"] = [message for message in messages if message["role"] != "system"]
        headers |= {"anthropic-version": "2023-06-01", "x-api-key": deployment.api_key or ""}
        return f"{deployment.base_url}/v1/messages", headers, _json.encode(body)
    body["messages"] = list(messages)
    if stream:
        body["stream_options"] = {"include_usage": True}
    if deployment.dialect == "azure":
        version = deployment.api_version or "2024-10-21"
        headers["api-key"] = deployment.api_key or ""
        path = f"/openai/deployments/{deployment.model}/chat/completions?api-version={version}"
        return deployment.base_url + path, headers, _json.encode(body)
    if deployment.api_key:
        headers["authorization"] = f"Bearer {deployment.api_key}"
    return f"{deployment.base_url}/chat/completions", headers, _json.encode(body)


def _count(deployment: Deployment, usage: Usage, input_tokens: int, output_tokens: int) -> None:
    """Notes what the provider tells."""
    usage.provider, usage.model = deployment.provider, deployment.model
    usage.input_tokens = min(max(input_tokens, 0), MOST_TOKENS)
    usage.output_tokens = min(max(output_tokens, 0), MOST_TOKENS)
    usage.cost_micros = cost_micros(deployment, usage.input_tokens, usage.output_tokens)
    usage.is_estimate = False


def _estimate(deployment: Deployment, usage: Usage, input_tokens: int, received_bytes: int) -> None:
    """Notes an upper bound: the model was told how many tokens it may answer with, and a byte is one at most."""
    _count(deployment, usage, input_tokens, min(received_bytes, deployment.max_output_tokens))
    usage.is_estimate = True


class ModelTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A model; the texts of a call are the contents of its messages, whose roles stand in `roles`."""

    deployment: Deployment
    roles: Sequence[str]
    exchange: Exchange
    timeout_seconds: float
    kind: str = "model"

    @property
    def name(self) -> str:
        """The model's name in the model list."""
        return self.deployment.name

    def _messages(self, texts: Sequence[str]) -> Messages:
        return [{"role": role, "content": text} for role, text in zip(self.roles, texts, strict=True)]

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """The most that a call can cost."""
        return worst_case_micros(self.deployment, self._messages([inspected.text for inspected in texts]))

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> str:
        """The whole answer."""
        messages = self._messages(texts)
        return await complete(self.exchange, self.deployment, messages, usage, timeout_seconds=self.timeout_seconds)

    def stream(self, texts: Sequence[str], usage: Usage) -> AsyncGenerator[str, None]:
        """The answer's pieces as they come."""
        messages = self._messages(texts)
        return stream(self.exchange, self.deployment, messages, usage, timeout_seconds=self.timeout_seconds)


async def complete(
    exchange: Exchange, deployment: Deployment, messages: Messages, usage: Usage, *, timeout_seconds: float
) -> str:
    """The whole answer of a model; `usage` tells what it used. Raises TargetUnavailable and its kin."""
    url, headers, body = _request(deployment, messages, stream=False)
    timeout = deployment.timeout_seconds or timeout_seconds
    async with exchange.post(deployment.key, url, headers=headers, body=body, timeout_seconds=timeout) as response:
        content = await read(response)
    try:
        if deployment.dialect == "anthropic":
            message = _anthropic.decode(content)
            _count(deployment, usage, message.usage.all_input_tokens, message.usage.output_tokens)
            return "".join(block.text for block in message.content if block.type == "text")
        answer = _openai.decode(content)
    except msgspec.DecodeError:
        raise TargetUnavailable("The model's answer could not be read.") from None
    text = (answer.choices[0].message.content or "") if answer.choices else ""
    if answer.usage is not None:
        _count(deployment, usage, answer.usage.prompt_tokens, answer.usage.completion_tokens)
    else:  # a server that tells no usage is charged by the upper bound
        _estimate(deployment, usage, sum(most_tokens(m["content"]) for m in messages), most_tokens(text))
    if not answer.choices:
        raise TargetUnavailable("The model's answer held no choice.")
    return text


async def stream(
    exchange: Exchange, deployment: Deployment, messages: Messages, usage: Usage, *, timeout_seconds: float
) -> AsyncGenerator[str, None]:
    """The answer's pieces of text as they come; `usage` is current at every piece.

    Until the provider tells its own count, usage is the upper bound of what has gone over the wire: a stream that is
    cut is charged for what was used of it. Raises TargetUnavailable, also for a stream that ends before the model said
    that it is complete.
    """
    url, headers, body = _request(deployment, messages, stream=True)
    started = time.perf_counter()
    sent = sum(most_tokens(message["content"]) for message in messages)
    received = 0
    progress = _Progress()
    timeout = deployment.timeout_seconds or timeout_seconds
    async with exchange.post(deployment.key, url, headers=headers, body=body, timeout_seconds=timeout) as response:
        _estimate(deployment, usage, sent, 0)
        async with contextlib.aclosing(events(response)) as pieces:
            async for data in pieces:
                if data == b"[DONE]":
                    progress.is_complete = True
                    break
                try:
                    text = _piece(deployment, data, progress)
                except msgspec.DecodeError:
                    raise TargetUnavailable("The model's stream could not be read.") from None
                received += most_tokens(text)
                if received > deployment.max_output_tokens * _MOST_TOKEN_BYTES:
                    raise TargetUnavailable("The model answers with more than it was asked for.")
                if progress.output_tokens:
                    _count(deployment, usage, progress.input_tokens, progress.output_tokens)
                else:
                    _estimate(deployment, usage, progress.input_tokens or sent, received)
                if text:
                    if usage.first_token_ms is None:
                        usage.first_token_ms = round((time.perf_counter() - started) * 1000)
                    yield text
        if not progress.is_complete:
            raise TargetUnavailable("The model's stream broke off.")


class _Progress(msgspec.Struct):
    """What a stream has told besides text: the provider's own counts so far (0: none), and its end."""

    input_tokens: int = 0
    output_tokens: int = 0
    is_complete: bool = False


def _piece(deployment: Deployment, data: bytes, progress: _Progress) -> str:
    """The text of one event; keeps `progress` current. Raises TargetUnavailable for an error that the model tells."""
    if deployment.dialect != "anthropic":
        chunk = _openai.decode(data)
        if chunk.error is not None:
            raise TargetUnavailable("The model ended its stream with an error.")
        if chunk.usage is not None:
            progress.input_tokens, progress.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        if not chunk.choices:
            return ""
        progress.is_complete = progress.is_complete or chunk.choices[0].finish_reason is not None
        return chunk.choices[0].delta.content or ""
    event = _anthropic_event.decode(data)
    match event.type:
        case "error":
            raise TargetUnavailable("The model ended its stream with an error.")
        case "message_start" if event.message is not None:
            progress.input_tokens = event.message.usage.all_input_tokens
        case "message_delta" if event.usage is not None:
            progress.output_tokens = event.usage.output_tokens
        case "message_stop":
            progress.is_complete = True
        case "content_block_delta" if event.delta is not None:
            return event.delta.text
    return ""


async def events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event (WHATWG HTML §9.2), one after the other."""
    buffer = b""
    lines: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        *complete_lines, buffer = (buffer + part).split(b"\n")
        for raw in complete_lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" "))
                size += len(line)
            elif not line and lines:
                yield b"\n".join(lines)
                lines, size = [], 0
        if len(buffer) + size > _MOST_EVENT_BYTES:
            raise TargetUnavailable("An event of the target's stream is too large.")
    if lines:
        yield b"\n".join(lines)
