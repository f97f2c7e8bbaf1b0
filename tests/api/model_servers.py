"""A model server for tests of a running Bailiwick server: in a thread of this process, told by tests what to answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.invocations.conftest import ModelServer, running_model_server
from tests.waiting import PATIENCE_SECONDS

_INPUT_PRICE, _OUTPUT_PRICE = 0.000001, 0.000002


@contextlib.contextmanager
def model_server() -> Iterator[ModelServer]:
    """A running model server."""
    ready, stop = threading.Event(), threading.Event()
    found: list[ModelServer] = []

    async def run() -> None:
        async with running_model_server() as server:
            found.append(server)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_SECONDS)
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)


def write_model_list(folder: Path, models: list[dict[str, Any]], **routing: Any) -> Path:
    """Writes a model list with these entries and settings of its router, by which nothing is tried twice."""
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump({"model_list": models, "router_settings": {"num_retries": 0, **routing}}))
    return path


def write_models(folder: Path, base_url: str) -> Path:
    """A model list: `fast` speaks OpenAI's chat, `smart` Anthropic's dialect, `responder` Responses as well; each costs
    1 USD for a million input tokens, 2 for output, and answers with at most 1000."""

    def entry(name: str, model: str, **info: Any) -> dict[str, Any]:
        parameters = {"model": model, "api_base": base_url, "api_key": "sk-test", "max_tokens": 1000}
        prices = {"input_cost_per_token": _INPUT_PRICE, "output_cost_per_token": _OUTPUT_PRICE}
        return {"model_name": name, "litellm_params": {**parameters, **prices}, "model_info": info}

    models = [
        entry("fast", "openai/stub-1"),
        entry("smart", "anthropic/stub-2"),
        entry("responder", "openai/stub-3", supported_endpoints=["/v1/chat/completions", "/v1/responses"]),
    ]
    return write_model_list(folder, models)


def answer(body: dict[str, Any], status: int = 200, **headers: str) -> Callable[[web.Request], Any]:
    """A whole answer."""

    async def give(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return give


def chat_answer(message: dict[str, Any], input_tokens: int = 100, output_tokens: int = 50) -> dict[str, Any]:
    """A chat completion."""
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub-1",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }


def message_answer(content: list[dict[str, Any]], input_tokens: int = 100, output_tokens: int = 50) -> dict[str, Any]:
    """A message."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "stub-2",
        "content": content,
        "stop_reason": "tool_use" if any(part["type"] == "tool_use" for part in content) else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens},
    }


def response_answer(output: list[dict[str, Any]], input_tokens: int = 100, output_tokens: int = 50) -> dict[str, Any]:
    """A Responses object."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "stub-3",
        "output": output,
        "usage": {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }


def events_of(content: str) -> list[Any]:
    """The data of server-sent events."""
    found = [line.removeprefix("data: ") for line in content.splitlines() if line.startswith("data: ")]
    return [None if data == "[DONE]" else json.loads(data) for data in found]


def chat_text(events: Sequence[Any]) -> str:
    """The text of a chat's stream."""
    return "".join(
        choice["delta"].get("content") or "" for data in events if data is not None for choice in data["choices"]
    )
