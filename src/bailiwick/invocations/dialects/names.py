"""The dialects that clients and providers speak."""

from __future__ import annotations

from enum import StrEnum


class Dialect(StrEnum):
    """A wire form of model calls."""

    CHAT = "chat"
    """OpenAI Chat Completions, and what is compatible with it."""
    MESSAGES = "messages"
    """Anthropic Messages."""
    RESPONSES = "responses"
    """OpenAI Responses."""
