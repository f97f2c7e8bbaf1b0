"""`POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`: what clients ask before they call. Beyond the
contracts, so their document stands here."""

from __future__ import annotations

from typing import Any

from bailiwick.api.gateway.documents import governed, json_content
from bailiwick.api.gateway.endpoints import Endpoint
from bailiwick.invocations import ModelDialect

_DESCRIPTION = (
    "Free, and governed as a call is: the key must allow the model, kill switches stop it, texts are inspected and"
    " masked, it counts among the requests per minute, and it leaves a trace of kind `count_tokens`. Anthropic's models"
    " are counted by Anthropic; OpenAI's by OpenAI where a client of Responses asks for a model that speaks it, else by"
    " the model's public tokenizer, which is an estimate. Any other model is refused: 400 `invalid_body`."
)
_TOKENS = {"type": "integer", "minimum": 0}


def _endpoint(operation: str, path: str, dialect: ModelDialect, request: dict[str, Any], **more: Any) -> Endpoint:
    is_anthropic = dialect is ModelDialect.MESSAGES
    answer: dict[str, Any] = {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": _TOKENS}}
    if not is_anthropic:
        answer["properties"]["object"] = {"type": "string", "enum": ["response.input_tokens"]}
    return Endpoint(
        operation=operation,
        path=path,
        dialect=dialect,
        required=tuple(request["required"]),
        is_anthropic=is_anthropic,
        counts_tokens=True,
        document=governed(
            operation,
            description=_DESCRIPTION,
            request={"type": "object", "additionalProperties": True, **request},
            answer=json_content("How many tokens the input is.", answer),
            parameters=[],
            **more,
        ),
        nothing={"input_tokens": 0} if is_anthropic else {"object": "response.input_tokens", "input_tokens": 0},
    )


MESSAGES = _endpoint(
    "gateway_count_message_tokens",
    "/v1/messages/count_tokens",
    ModelDialect.MESSAGES,
    {
        "required": ["model", "messages"],
        "properties": {"model": {"type": "string"}, "messages": {"type": "array", "items": {"type": "object"}}},
    },
    summary="Tokens of a message, in the form of Anthropic's API",
)
RESPONSES = _endpoint(
    "gateway_count_response_tokens",
    "/v1/responses/input_tokens",
    ModelDialect.RESPONSES,
    {
        "required": ["model"],
        "properties": {
            "model": {"type": "string"},
            "input": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
        },
    },
    summary="Tokens of a response's input, in the form of OpenAI's API",
)
