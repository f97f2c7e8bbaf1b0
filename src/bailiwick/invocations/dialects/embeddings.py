"""Requests for embeddings in OpenAI's form (`POST /v1/embeddings`): where their texts stand, and how large they are.

`input` is a text, a list of texts, a list of token numbers, or a list of such lists. Token numbers are counted, but
they are no text: nothing in them can be inspected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from bailiwick.invocations.dialects.errors import InvalidBody
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.prompts import Prompt, prompt_of
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


def embedding_prompt(body: Mapping[str, Any]) -> Prompt:
    """The input of the request. A token number is a token."""
    given = body.get("input")
    inputs = given if isinstance(given, list) else [given]
    if all(isinstance(item, int) for item in inputs):
        texts, numbers, count = [], len(inputs), 1
    else:
        texts = [item for item in inputs if not _is_numbers(item)]
        numbers = sum(len(item) for item in inputs if _is_numbers(item))
        count = len(inputs)
    prompt = prompt_of(Dialect.CHAT, {**body, "input": texts})
    prompt.others += numbers + count * _AROUND_INPUT
    return prompt


def embedding_tokens_bound(body: Mapping[str, Any]) -> int:
    """The most input tokens that the request can be, whatever model gets it."""
    return embedding_prompt(body).most_tokens


def _is_numbers(item: object) -> TypeGuard[list[int]]:
    return isinstance(item, list) and all(isinstance(token, int) for token in item)
