"""What the input of a request is made of: its texts, whose tokens a tokenizer counts, and an upper bound of the rest.

No provider tells how it renders a request. A known tokenizer's count is therefore kept above what OpenAI's cookbook
documents (How to count tokens with tiktoken): 3 tokens for a message and one for its name, 3 for the reply; for tools 7
to 10 a function, 3 a property, 3 a value of an enumeration, 12 at the end. Where no tokenizer is known, every byte is
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bailiwick.invocations.dialects.names import Dialect

_OBJECT: Final = 16
"""Tokens around each object of a list of messages: roles, separators."""
_REQUEST: Final = 64
"""Tokens around all of a counted request: the reply's beginning, and what a model is told of the day and its effort."""
_JSON_OBJECT: Final = 4
"""Tokens by which an object of a schema, rendered otherwise, may exceed its JSON; beside one a quotation mark."""
_FUNCTIONS: Final = 64
_TOOLS: Final = 1024
"""Tokens of the hidden prompt that tools bring along (Anthropic's table tells up to 530 for its own models); OpenAI's
functions have a short one, its own tools have no documented one."""
_OPENAI_LOW_IMAGE: Final = 2_833
"""OpenAI's image with `detail: low` on the model that counts most for it (gpt-4o-mini)."""
_OPENAI_IMAGE: Final = 48_169
"""The largest of OpenAI's images: eight tiles (768 by 2048 pixels) of 5,667 tokens and the base of 2,833, again
gpt-4o-mini. Every other model counts fewer."""
_ANTHROPIC_IMAGE: Final = 4_784
"""Anthropic's largest image, high resolution; 1,600 for models before that."""
_BYTES_PER_AUDIO_TOKEN: Final = 32
"""Ten tokens a second, and no format of speech has less than a few hundred bytes a second."""
_LEAST_FILE: Final = 10_000
_UNSEEN: Final = 1_000_000
"""A file, conversation or prompt that the provider holds: as much as the largest context window."""

_SPOKEN: Final = frozenset({"messages", "system", "instructions", "input"})
"""Members of a request whose texts a model reads as they stand; any other is read, if at all, as JSON."""
_PARAMETERS: Final = frozenset(
    {
        *("model", "stream", "stream_options", "metadata", "user", "store", "service_tier", "include", "background"),
        *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "cache_control", "temperature", "top_p"),
        *("top_k", "n", "seed", "max_tokens", "max_completion_tokens", "max_output_tokens", "presence_penalty"),
        *("frequency_penalty", "logprobs", "top_logprobs", "parallel_tool_calls", "encoding_format", "dimensions"),
        "logit_bias",
    }
)
"""Members that no model reads."""
_NESTED: Final = frozenset({"function", "custom", "source", "content"})
"""Members of a message that hold an object of the dialect itself."""
_UNREAD: Final = frozenset({"id", "cache_control"})
_SILENT: Final = frozenset({"role", "content", "type", "text", "name", "tool_calls", "function", "arguments"})
"""Keys that OpenAI's messages are not rendered with; what stands for them is in the tokens around an object."""
_NAMED: Final = frozenset({"role", "type"})
"""Keys whose values are names of the dialect, and in those tokens as well."""
_LONGEST_NAME: Final = 32
_OPAQUE: Final = frozenset({"encrypted_content", "signature", "data"})
"""What the provider alone can read: no tokenizer says what is in it."""
_BINARY_TYPES: Final = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_FILE_TYPES: Final = frozenset({"file", "input_file", "document"})
_BINARY_KEYS: Final = frozenset({"image_url", "source", "file", "file_data", "file_id", "file_url", "input_audio"})
_PROVIDER_HELD: Final = ("previous_response_id", "conversation", "prompt")
_AN_HOUR: Final = "1h"
_encode = msgspec.json.Encoder().encode


class Prompt(msgspec.Struct):
    """The input of one request."""

    texts: list[str] = msgspec.field(default_factory=list)
    """What is read as it stands."""
    documents: list[str] = msgspec.field(default_factory=list)
    """JSON, which a provider may render otherwise: tools, schemas, arguments."""
    separators: int = 0
    """The most tokens around messages and their parts."""
    others: int = 0
    """The most tokens of everything else, such as images."""
    keys: int = 0
    """Bytes of keys that are not rendered as far as is known."""
    messages: int = 0
    names: int = 0
    """How many of them tell who speaks."""
    hidden: int = 0
    """The most tokens of what the provider adds for tools."""
    functions_only: bool = True
    """Whether these tools are all the caller's own functions."""
    caches_an_hour: bool = False
    """Whether it asks that some of it be cached for an hour, which Anthropic prices higher."""

    @property
    def pieces(self) -> Sequence[str]:
        """What a tokenizer counts."""
        return (*self.texts, *self.documents) if self.documents else self.texts

    @property
    def most_tokens(self) -> int:
        """The bound without a tokenizer: a token is at least a byte of UTF-8."""
        total = self.separators + self.others + self.keys + self.hidden + sum(map(utf8_bytes, self.texts))
        return total + sum(utf8_bytes(text) + _OBJECT * text.count("{") for text in self.documents)

    def most_tokens_of(self, counted: int) -> int:
        """The bound when a tokenizer of OpenAI's makes `counted` tokens of the pieces."""
        total = counted + self.separators + self.others + _REQUEST
        if self.hidden:
            total += _FUNCTIONS if self.functions_only else self.hidden
        return total + sum(text.count('"') + _JSON_OBJECT * text.count("{") for text in self.documents)

    def likely_tokens_of(self, counted: int) -> int:
        """What OpenAI probably counts, when its tokenizer makes `counted` tokens of the pieces: 3 tokens and the role
        for each message, one for a name, 3 for the reply. What is not text counts as much as it can."""
        return counted + self.others + 4 * self.messages + self.names + 3


def prompt_of(dialect: Dialect, body: Mapping[str, Any], *, for_anthropic: bool = False) -> Prompt:
    """The input of a request. `for_anthropic`: only Anthropic's models can get it, whose images count otherwise.

    Images count by detail, audio and files by size, what the provider holds as the largest context window: the caller
    lowers the sum to the model's own.
    """
    prompt = Prompt()
    reader = _Reader(prompt, for_anthropic=for_anthropic)
    control = body.get("cache_control")
    if control is not None:
        reader.note_cache(control)
    for key, value in body.items():
        if key in _PARAMETERS:
            continue
        prompt.keys += len(key)
        if key in _SPOKEN and isinstance(value, str):  # a message of its own
            prompt.texts.append(value)
            prompt.separators += _OBJECT
            prompt.messages += 1
        elif key in _SPOKEN or not isinstance(value, (dict, list)):
            reader.read(value)
        else:
            reader.document(value)
    if tools := body.get("tools") or body.get("functions"):
        prompt.hidden = _TOOLS
        prompt.functions_only = isinstance(tools, list) and all(map(_is_function, tools))
    if dialect is Dialect.RESPONSES:
        prompt.others += sum(_UNSEEN for key in _PROVIDER_HELD if body.get(key))
    return prompt


def input_tokens_bound(dialect: Dialect, body: Mapping[str, Any]) -> int:
    """The most input tokens that a request can be, whatever model gets it in this dialect."""
    return prompt_of(dialect, body, for_anthropic=dialect is Dialect.MESSAGES).most_tokens


def utf8_bytes(text: str) -> int:
    """The bytes of a text, a half of a surrogate pair counted as one."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _is_function(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type", "function") in ("function", "custom")


class _Reader:
    """Reads parts of a request into a prompt."""

    def __init__(self, prompt: Prompt, *, for_anthropic: bool) -> None:
        self._prompt = prompt
        self._for_anthropic = for_anthropic

    def document(self, value: object) -> None:
        """Something that is read as JSON."""
        text = _encode(value).decode()
        self._prompt.documents.append(text)
        if f'"{_AN_HOUR}"' in text:
            self._prompt.caches_an_hour = True

    def note_cache(self, control: object) -> None:
        """A `cache_control`."""
        if isinstance(control, dict) and control.get("ttl") == _AN_HOUR:
            self._prompt.caches_an_hour = True

    def read(self, node: object) -> None:
        """Something whose texts are read as they stand. Not recursive: it may be nested as deeply as a decoder lets."""
        prompt = self._prompt
        if isinstance(node, list):
            prompt.messages += len(node)
            prompt.names += sum(1 for message in node if isinstance(message, dict) and "name" in message)
        todo = [node]
        while todo:
            item = todo.pop()
            if isinstance(item, dict):
                prompt.separators += _OBJECT
                self._read_object(item, todo)
            elif isinstance(item, str):
                prompt.texts.append(item)
            elif isinstance(item, list):
                prompt.separators += len(item)
                todo += item
            elif isinstance(item, int):
                prompt.others += item.bit_length() // 3 + 2
            elif item is not None:
                prompt.others += 32  # a float

    def _read_object(self, item: dict[str, Any], todo: list[object]) -> None:
        prompt = self._prompt
        if "cache_control" in item:
            self.note_cache(item["cache_control"])
        binary = self._binary(item)
        if binary is not None:
            prompt.others += binary
            todo += (value for key, value in item.items() if key not in _BINARY_KEYS)
            return
        for key, value in item.items():
            if key in _UNREAD:
                continue
            if key in _SILENT:
                prompt.keys += len(key) + 4
            else:
                prompt.others += utf8_bytes(key) + 4
            if isinstance(value, str):
                if key in _NAMED and len(value) <= _LONGEST_NAME and value.isascii():
                    prompt.keys += len(value)
                elif key in _OPAQUE and item.get("type") != "text":
                    prompt.others += utf8_bytes(value)
                else:
                    prompt.texts.append(value)
            elif isinstance(value, dict) and key not in _NESTED:
                self.document(value)
            else:
                todo.append(value)

    def _binary(self, part: Mapping[str, Any]) -> int | None:
        """The bound of a part that is not text; None for any other object."""
        kind = part.get("type")
        if not isinstance(kind, str):
            return None
        if kind in _BINARY_TYPES:
            if self._for_anthropic:
                return _ANTHROPIC_IMAGE
            inner = part.get("image_url")
            detail = inner.get("detail") if isinstance(inner, dict) else part.get("detail")
            return _OPENAI_LOW_IMAGE if detail == "low" else _OPENAI_IMAGE
        if kind == "input_audio":
            inner = part.get("input_audio")
            data = inner.get("data") if isinstance(inner, dict) else None
            return len(data) // _BYTES_PER_AUDIO_TOKEN + 1 if isinstance(data, str) else _UNSEEN
        return _file(part) if kind in _FILE_TYPES else None


def _file(part: Mapping[str, Any]) -> int | None:
    for holder in (part.get("file"), part.get("source"), part):
        if not isinstance(holder, dict):
            continue
        if holder.get("type") in ("text", "content"):
            return None  # a document of plain text or of parts counts as these do
        data = holder.get("file_data") or holder.get("data")
        if isinstance(data, str):
            return max(len(data), _LEAST_FILE)
        if holder.get("file_id") or holder.get("file_url") or holder.get("url"):
            return _UNSEEN
    return None
