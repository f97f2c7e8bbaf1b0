"""Requests for embeddings in OpenAI's form (`POST /v1/embeddings`): where their texts stand, and how large they are.

`input` is a text, a list of texts, a list of token numbers, or a list of such lists. Token numbers are counted, but
they are no text: nothing in them can be inspected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bailiwick.invocations.dialects.errors import InvalidBody
from bailiwick.invocations.dialects.limits import input_tokens_bound
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.walk import Places, Position, walk

_PLACES: Final = Places(
    structure=frozenset({"model", "encoding_format", "dimensions", "user", "input_type", "truncate", "type"}),
    envelope=frozenset({"input"}),
)
_AROUND_INPUT: Final = 16
"""Tokens that a model puts before and after each input (BERT's have two)."""


def embedding_positions(body: Any) -> list[Position]:
    """Every text of a request. Raises InvalidBody."""
    if not isinstance(body, dict):
        raise InvalidBody("body", "must be a JSON object")
    return walk(_PLACES, body)


def embedding_tokens_bound(body: Mapping[str, Any]) -> int:
    """The most input tokens that the request can be: a token number is one, a token of a text at least a byte."""
    rest = {key: value for key, value in body.items() if key != "input"}
    given = body.get("input")
    inputs = given if isinstance(given, list) else [given]
    if all(isinstance(item, int) for item in inputs):
        return input_tokens_bound(Dialect.CHAT, rest) + len(inputs) + _AROUND_INPUT
    return input_tokens_bound(Dialect.CHAT, rest) + sum(_AROUND_INPUT + _bound(item) for item in inputs)


def _bound(item: object) -> int:
    if isinstance(item, list) and all(isinstance(token, int) for token in item):
        return len(item)
    return input_tokens_bound(Dialect.CHAT, {"input": item})
