"""Calls of models through the pipeline, against a model server on loopback."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from bailiwick.invocations.calls import Outcome, StreamCall
from bailiwick.invocations.deployments import Deployment, ModelList
from bailiwick.invocations.dialects import Dialect, EventParser, ServerEvent, input_tokens_bound, request_positions
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.http_wire import HttpWire
from bailiwick.invocations.dispatch.routing import Policy, Router
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.inspection import HOSTED, InspectionPolicy
from bailiwick.invocations.model_target import ModelAnswers, ModelResponse, ModelTarget
from bailiwick.invocations.relaying import inspected
from tests.invocations.conftest import Tenant

_breakers: WeakKeyDictionary[Exchange, CircuitBreaker] = WeakKeyDictionary()


def upstreams_of(exchange: Exchange, *deployments: Deployment, timeout_seconds: float = 30) -> Upstreams:
    """Upstreams that know these deployments."""
    models: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        models.setdefault(deployment.name, []).append(deployment)
    router = Router(
        ModelList(models),
        _breakers.setdefault(exchange, CircuitBreaker(failures=3, cooldown_seconds=60)),
        Policy(attempts=3, timeout_seconds=timeout_seconds),
    )
    return Upstreams(router, HttpWire(exchange))


def model_call(
    tenant: Tenant,
    deployment: Deployment,
    exchange: Exchange,
    body: dict[str, Any],
    *,
    dialect: Dialect = Dialect.CHAT,
    policy: InspectionPolicy = HOSTED,
    timeout_seconds: float = 30,
    **more: Any,
) -> StreamCall:
    """A call of `deployment` that is charged to the tenant's account of runs."""
    positions = request_positions(dialect, body)
    upstreams = upstreams_of(exchange, deployment, timeout_seconds=timeout_seconds)
    input_tokens = input_tokens_bound(dialect, body)
    target = ModelTarget(
        name=deployment.name,
        upstreams=upstreams,
        dialect=dialect,
        body=body,
        positions=positions,
        headers={},
        input_tokens=input_tokens,
        output_tokens=deployment.max_output_tokens,
        passed_on={},
        amount_micros=upstreams.worst_case_micros(deployment.name, input_tokens, deployment.max_output_tokens),
    )
    return StreamCall(
        caller=tenant.caller,
        organization_id=tenant.organization_id,
        kind="chat",
        target=target,
        texts=[inspected(position) for position in positions],
        charge=tenant.charge,
        stale=lambda _: None,
        form=ModelAnswers(dialect),
        policy=policy,
        dialect=dialect,
        hashed_input=msgspec.json.encode(body).decode(),
        **more,
    )


def chat_body(text: str, model: str = "fast") -> dict[str, Any]:
    """A chat of one message."""
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def input_bound(text: str) -> int:
    """The most input tokens of such a chat."""
    return input_tokens_bound(Dialect.CHAT, chat_body(text))


def said(outcome: Outcome) -> str:
    """The text of a chat's whole answer."""
    response: ModelResponse = outcome.response
    return str(msgspec.json.decode(response.content)["choices"][0]["message"]["content"])


Streaming = AbstractAsyncContextManager[AsyncGenerator[bytes, None]]


async def read_events(streaming: Streaming, into: list[ServerEvent]) -> None:
    """Reads a stream to its end; what came before an error stands in `into`."""
    parser = EventParser()
    async with streaming as reads:
        async for content in reads:
            into += parser.feed(content)


def text_of(event: ServerEvent) -> str:
    """The text that one event of a chat's stream brings."""
    _, data = event
    choices = (data or {}).get("choices")
    return str(choices[0]["delta"].get("content") or "") if choices else ""


def finish_reasons(events: list[ServerEvent]) -> list[str]:
    """Why a chat's stream says that it is over."""
    return [
        choice["finish_reason"]
        for _, data in events
        if data is not None
        for choice in data.get("choices", [])
        if choice.get("finish_reason")
    ]
