"""`/api/v1/agent/run`: runs a hosted agent.

The busiest route of the family: a plain ASGI application in front of the web framework, which would cost it half as
much again as the run itself.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from litestar.types import Receive, Scope, Send

from bailiwick.api import asgi
from bailiwick.api.authentication import bearer_token_of
from bailiwick.api.errors import HOSTED_AGENTS, HttpRefused, allowed, as_domain_error, invalid_body
from bailiwick.identity import authenticate
from bailiwick.invocations import AgentRuns
from bailiwick.kernel.errors import BailiwickError, Forbidden, InvalidInput

OPERATION = "hosted_agent_run"
_MOST_BODY_BYTES = 512 * 1024  # 40,000 characters of four bytes, escaped as \uXXXX pairs
_ALLOW = allowed(["POST"])
_JSON_HEADER = (b"content-type", b"application/json")
_encoder = msgspec.json.Encoder()


class AgentRunRequest(msgspec.Struct, rename="camel"):
    """`agentId` names a template; `message` is never stored; the override takes the place of the template's prompt."""

    agent_id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=32_000)]
    system_prompt_override: Annotated[str, msgspec.Meta(max_length=8_000)] | msgspec.UnsetType = msgspec.UNSET


class AgentRunResult(msgspec.Struct):
    """The answer; `decision` and `cost_usd_micros` go beyond the contract."""

    response: str
    audit_id: str
    policy_flags: list[dict[str, object]]
    model_used: str
    tokens_used: int
    decision: str
    cost_usd_micros: int


_decoder = msgspec.json.Decoder(AgentRunRequest)


def _decode(body: bytes) -> AgentRunRequest:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_body(error) from None
    except msgspec.DecodeError:
        raise InvalidInput("The body is not valid JSON.") from None
    except RecursionError:
        raise InvalidInput("The body is nested too deep.") from None


async def _run(runs: AgentRuns, scope: Scope, receive: Receive) -> bytes:
    if scope.get("method") != "POST":
        raise HttpRefused(405, allow=_ALLOW)
    caller = await authenticate(bearer_token_of(scope["headers"]))
    _ = caller.tenant
    if "*" not in caller.scopes and "agent:write" not in caller.scopes:
        raise Forbidden("The key's scopes do not cover this operation.")
    request = _decode(await asgi.read_body(scope, receive, most_bytes=_MOST_BODY_BYTES))
    override = None if request.system_prompt_override is msgspec.UNSET else request.system_prompt_override
    running = runs.run(caller, request.agent_id, request.message, override)
    outcome = await (running if runs.model is None else asgi.until_disconnect(running, scope))
    return _encoder.encode(
        AgentRunResult(
            response=outcome.response,
            audit_id=outcome.record.audit_id,
            policy_flags=outcome.record.flags,
            model_used=outcome.usage.model,
            tokens_used=outcome.usage.input_tokens + outcome.usage.output_tokens,
            decision=outcome.decision.value,
            cost_usd_micros=outcome.usage.cost_micros,
        )
    )


async def run_agent(runs: AgentRuns, scope: Scope, receive: Receive, send: Send) -> None:
    """The route as an ASGI application."""
    if scope.get("method") == "OPTIONS":
        await asgi.send_whole(send, 204, [(b"allow", _ALLOW.encode())])
        return
    error: BailiwickError
    try:
        content = await _run(runs, scope, receive)
    except asyncio.CancelledError:
        if not asgi.is_being_cancelled():
            return  # the caller has gone; nobody is there to be answered
        error = asgi.stopping()
    except Exception as raised:
        error = as_domain_error(raised)
    else:
        await asgi.send_whole(send, 200, [_JSON_HEADER], content)
        return
    headers = [_JSON_HEADER, *HOSTED_AGENTS.headers(error)]
    await asgi.send_whole(send, error.status, headers, _encoder.encode(HOSTED_AGENTS.body(error)))
