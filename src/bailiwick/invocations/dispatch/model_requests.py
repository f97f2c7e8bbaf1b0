"""A call of a model, and what one deployment is asked of it: in a dialect that it speaks, within what the hold pays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dialects import (
    Dialect,
    InvalidBody,
    PriceModes,
    ask_for_usage,
    cap_output,
    input_tokens_bound,
    modes_asked,
    output_bound,
    translate_request,
)

# OpenAI's reasoning models refuse `max_tokens`, and its servers know both; others may know nothing else.
_REASONING = re.compile(r"o\d|gpt-5")


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a model, inspected and admitted."""

    dialect: Dialect
    """The client's."""
    body: dict[str, Any]
    """In that dialect; what is meant for the gateway alone is taken out."""
    stream: bool = False
    most_output_tokens: int
    """What the hold pays for, over all choices; no provider is asked for more."""
    most_input_tokens: int | None = None
    """The bound that the hold was made with, for calls whose provider tells no usage; None: reckoned from the body."""
    headers: Mapping[str, str] = {}
    """The client's (lower-case names); those of the provider's own protocol are passed on where it is spoken."""


class SentRequest(msgspec.Struct, frozen=True):
    """What a deployment was asked: the dialect, and the body in it."""

    dialect: Dialect
    body: dict[str, Any]

    @property
    def modes(self) -> PriceModes:
        """What it asks for that changes the price of all its tokens."""
        return modes_asked(self.dialect, self.body)


def _dialect_for(deployment: Deployment, client: Dialect) -> Dialect:
    """The dialect that a deployment is asked in: the client's if it speaks it. Raises InvalidBody."""
    for dialect in (client, Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES):
        if dialect in deployment.speaks:
            return dialect
    raise InvalidBody("model", "this model does not write answers")


def sent_to(deployment: Deployment, request: ModelRequest) -> SentRequest:
    """A request as one deployment gets it. Raises InvalidBody and Untranslatable."""
    client = request.dialect
    provider = _dialect_for(deployment, client)
    takes_new_key = deployment.base_url == "https://api.openai.com/v1" or _REASONING.match(deployment.model)
    chat_key = "max_completion_tokens" if takes_new_key else "max_tokens"
    most = request.most_output_tokens
    if output_bound(client, request.body) is None:
        most = min(most, deployment.max_output_tokens * _choices(request.body))
    body = translate_request(client, provider, request.body, default_max_tokens=most, chat_key=chat_key)
    body = cap_output(provider, body, most, chat_key=chat_key)  # a new object: it may be written to
    body["model"] = deployment.model
    if request.stream:
        body["stream"] = True
        if deployment.provider == "mistral":
            body.pop("stream_options", None)  # which it refuses: it tells the usage anyway
        elif provider is Dialect.CHAT:
            body, _ = ask_for_usage(body)
    else:
        body.pop("stream", None)
        body.pop("stream_options", None)
    return SentRequest(provider, body)


def _choices(body: Mapping[str, Any]) -> int:
    choices = body.get("n")
    return choices if isinstance(choices, int) and choices > 0 else 1


def most_input(request: ModelRequest, sent: SentRequest) -> int:
    """The bound of the input's tokens."""
    if request.most_input_tokens is not None:
        return request.most_input_tokens
    return input_tokens_bound(sent.dialect, sent.body)
