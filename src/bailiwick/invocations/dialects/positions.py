"""Where texts stand in the requests and answers of each dialect.

Sources: the public references of OpenAI (Chat Completions, Responses) and Anthropic (Messages). Not text: images, audio
and files, as data or as addresses; identifiers; names of functions and participants; stop sequences; what a provider
encrypted; credentials that are meant for a tool server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bailiwick.invocations.dialects.errors import InvalidBody
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.walk import Path, Places, Position, Step, changes_of, rewrite, walk

_STRUCTURE = frozenset(
    {
        *("id", "object", "type", "role", "model", "name", "status", "created", "service_tier", "detail", "format"),
        *("stop", "stop_sequences", "stop_sequence", "stop_reason", "finish_reason", "user", "user_id"),
        *("data", "file_data", "file_id", "file_url", "url", "media_type", "system_fingerprint"),
        *("authorization", "authorization_token", "headers", "server_url", "server_label"),
        *("safety_identifier", "prompt_cache_key", "prompt_cache_retention", "encrypted_content", "signature"),
        *("logit_bias", "logprobs", "usage", "cache_control"),
    }
)

_CHAT = Places(
    structure=_STRUCTURE | {"tool_call_id", "reasoning_effort", "verbosity", "modalities", "voice", "b64_json"},
    envelope=frozenset(
        {
            *("messages", "content", "tool_calls", "function_call", "function", "custom", "tools", "functions"),
            *("allowed_tools", "tool_choice", "image_url", "input_audio", "file", "audio", "prediction"),
            *("response_format", "json_schema", "choices", "message", "delta", "annotations", "url_citation"),
            *("reasoning_details", "stream_options", "images"),
        }
    ),
    schemas=frozenset({"parameters", "schema"}),
    json_texts=frozenset({"arguments"}),
)

_MESSAGES = Places(
    structure=_STRUCTURE
    | {"tool_use_id", "encrypted_index", "encrypted_stdout", "container", "betas", "anthropic_version", "caller"},
    envelope=frozenset(
        {
            *("messages", "system", "content", "source", "tools", "tool_choice", "thinking", "mcp_servers"),
            *(
                "citations",
                "citation",
                "output_config",
                "output_format",
                "metadata",
                "message",
                "content_block",
                "delta",
            ),
            *("context_management", "edits", "tool_configuration", "stop_details"),
        }
    ),
    schemas=frozenset({"input_schema", "schema"}),
)

_RESPONSES = Places(
    structure=_STRUCTURE
    | {
        *("call_id", "item_id", "image_url", "previous_response_id", "conversation", "include", "truncation", "store"),
        *("container_id", "vector_store_ids", "partial_image_b64", "obfuscation", "effort", "connector_id"),
        *("approval_request_id", "phase", "file_ids", "size", "quality", "background"),
    },
    envelope=frozenset(
        {
            *("input", "content", "summary", "output", "tools", "tool_choice", "text", "prompt", "reasoning"),
            *("annotations", "response", "item", "part", "annotation", "outputs", "results"),
            *("incomplete_details", "error", "format", "input_image_mask"),
        }
    ),
    schemas=frozenset({"parameters", "schema", "input_schema"}),
    json_texts=frozenset({"arguments"}),
)

# The provider repeats the request in its answer: those texts have been inspected on their way out.
_ECHOED = frozenset({"instructions", "tools", "tool_choice", "prompt", "metadata", "reasoning"})

_REQUESTS = {Dialect.CHAT: _CHAT, Dialect.MESSAGES: _MESSAGES, Dialect.RESPONSES: _RESPONSES}


def request_positions(dialect: Dialect, body: Any) -> list[Position]:
    """Every text of a request that may hold what the caller or its user wrote. Raises InvalidBody."""
    if not isinstance(body, dict):
        raise InvalidBody("body", "must be a JSON object")
    positions = walk(_REQUESTS[dialect], body)
    if dialect is not Dialect.RESPONSES:
        return positions
    return [position for position in positions if not _is_image(body, position)]


def response_positions(dialect: Dialect, answer: Any) -> list[Position]:
    """Every text of a whole answer or of a stream event's data. Raises InvalidBody when it is no object."""
    if not isinstance(answer, dict):
        raise InvalidBody("body", "must be a JSON object")
    if dialect is not Dialect.RESPONSES:
        return walk(_REQUESTS[dialect], answer)
    positions = walk(_RESPONSES, answer)
    return [position for position in positions if not (_is_echo(position) or _is_image(answer, position))]


def _is_echo(position: Position) -> bool:
    path = position.path[1:] if position.path[0] == "response" else position.path
    return bool(path) and path[0] in _ECHOED


def _is_image(body: Any, position: Position) -> bool:
    """Whether a position is a generated image: the `result` of one kind of item is base64, in which anything may be
    found; another's would be a text."""
    *above, key = position.path
    if key != "result" or Step.JSON_TEXT in above:
        return False
    for step in above:
        body = body[step]
    return bool(body.get("type") == "image_generation_call")


def with_response_texts(dialect: Dialect, answer: Any, positions: Sequence[Position], texts: Iterable[str]) -> Any:
    """An answer, or a stream event's data, with its texts replaced as by `with_texts`. Token probabilities spell a text
    out once more: beside a text that changed they are left out. Raises ValueError as `with_texts` does."""
    changes = changes_of(positions, texts)
    silenced: dict[Path, Any] = {}
    for path, _ in changes:
        if dialect is Dialect.CHAT and path[0] == "choices":
            silenced[(*path[:2], "logprobs")] = None
        elif dialect is Dialect.RESPONSES and path[-1] == "text":
            silenced[(*path[:-1], "logprobs")] = []
    present = [(path, value) for path, value in silenced.items() if _holds(answer, path)]
    return rewrite(answer, [*changes, *present])


def _holds(node: Any, path: Path) -> bool:
    for step in path[:-1]:
        node = node[step]
    return path[-1] in node
