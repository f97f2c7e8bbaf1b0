"""`POST /v1/embeddings`: what OpenAI clients call for vectors. Beyond the contracts, so its document stands here."""

from __future__ import annotations

from typing import Any

from bailiwick.api.gateway.documents import governed, header, json_content
from bailiwick.api.gateway.endpoints import Endpoint
from bailiwick.invocations import ModelDialect

_TOKENS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["model", "input"],
    "additionalProperties": True,
    "properties": {
        "model": {"type": "string"},
        "input": {
            "description": "A text, several, or the same as numbers of tokens. Numbers are counted and paid for, but"
            " they are no text: data-loss prevention finds nothing in them.",
            "oneOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                _TOKENS,
                {"type": "array", "minItems": 1, "items": _TOKENS},
            ],
        },
        "encoding_format": {"type": "string", "enum": ["float", "base64"], "description": "Passed on."},
        "dimensions": {"type": "integer", "minimum": 1, "description": "Passed on."},
        "user": {"type": "string"},
        "max_cost_usd": {"type": "number", "minimum": 0},
    },
}
_VECTOR = {"oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string", "format": "byte"}]}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {
        "object": {"type": "string", "enum": ["list"]},
        "model": {"type": "string"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "embedding"],
                "properties": {"object": {"type": "string"}, "index": {"type": "integer"}, "embedding": _VECTOR},
            },
        },
        "usage": {
            "type": "object",
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}
ENDPOINT = Endpoint(
    operation="gateway_embeddings",
    path="/v1/embeddings",
    dialect=ModelDialect.CHAT,
    required=("model", "input"),
    nothing={"object": "list", "data": [], "usage": {"prompt_tokens": 0, "total_tokens": 0}},
    makes_embeddings=True,
    document=governed(
        "gateway_embeddings",
        summary="Embeddings, in the form of OpenAI's API",
        description="Governed as the other model calls are: texts are inspected and masked, the price of the input"
        " is reserved, the answer is the provider's own.",
        request=_REQUEST,
        answer=json_content("The vectors, as the provider gives them.", _ANSWER),
        parameters=[
            header("X-Intutic-Cost-Limit", "The most that the call may cost, in USD."),
            header("Cache-Control", "`no-cache`: not answered from the key's cache; `no-store`: not kept there."),
        ],
    ),
)
