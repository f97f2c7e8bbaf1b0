"""Providers of models by LiteLLM's names for them: how each is spoken to, and where."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from bailiwick.invocations.deployments import Protocol

_PROVIDERS: Mapping[str, tuple[Protocol, str | None]] = {
    "openai": ("openai", "https://api.openai.com/v1"),
    "text-completion-openai": ("openai", "https://api.openai.com/v1"),
    "anthropic": ("anthropic", "https://api.anthropic.com"),
    "azure": ("azure", None),
    "gemini": ("openai", "https://generativelanguage.googleapis.com/v1beta/openai"),
    "ollama": ("openai", "http://127.0.0.1:11434/v1"),
    "ollama_chat": ("openai", "http://127.0.0.1:11434/v1"),
    "hosted_vllm": ("openai", None),
    "vllm": ("openai", None),
    "groq": ("openai", "https://api.groq.com/openai/v1"),
    "mistral": ("openai", "https://api.mistral.ai/v1"),
    "deepseek": ("openai", "https://api.deepseek.com/v1"),
    "openrouter": ("openai", "https://openrouter.ai/api/v1"),
    "together_ai": ("openai", "https://api.together.xyz/v1"),
    "fireworks_ai": ("openai", "https://api.fireworks.ai/inference/v1"),
    "xai": ("openai", "https://api.x.ai/v1"),
    "perplexity": ("openai", "https://api.perplexity.ai"),
    "lm_studio": ("openai", None),
    "litellm_proxy": ("openai", None),
    "openai_like": ("openai", None),
    "custom_openai": ("openai", None),
}
"""Protocol and default base URL. Every other provider is reached by the library `litellm`, where it is installed."""


class UnknownProvider(ValueError):
    """A model whose provider cannot be told, or needs a library that is not installed."""


def protocol_of(provider: str) -> Protocol:
    """How a provider is spoken to."""
    return _PROVIDERS[provider][0] if provider in _PROVIDERS else "litellm"


def default_base_url(provider: str) -> str | None:
    """Where a provider is; None: the model list must say it."""
    return _PROVIDERS[provider][1] if provider in _PROVIDERS else None


def find_provider(model: str, custom: str | None) -> tuple[str, str]:
    """The provider and its name of the model, from `<provider>/<model>`, `custom_llm_provider` or a well-known name.
    Raises UnknownProvider."""
    prefix, separator, rest = model.partition("/")
    if custom is not None:
        own = rest if prefix == custom and separator else model
        return custom if custom in _PROVIDERS else _of_library(f"{custom}/{own}"), own
    if separator and prefix in _PROVIDERS:
        return prefix, rest
    # LiteLLM takes well-known names without a prefix.
    if model.startswith("claude"):
        return "anthropic", model
    if model.startswith(("gpt-", "o1", "o3", "o4", "text-embedding-", "chatgpt")):
        return "openai", model
    provider = _of_library(model)
    return provider, rest if prefix == provider and separator else model


def load_litellm() -> Any:
    """The library `litellm`, which takes seconds and some hundred megabytes; without asking the network for its price
    list. Raises ImportError."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return importlib.import_module("litellm")


def _of_library(model: str) -> str:
    """The provider by LiteLLM's own reckoning."""
    if importlib.util.find_spec("litellm") is None:
        raise UnknownProvider(
            f"unknown provider in model {model!r}; write <provider>/<model>, or install bailiwick[litellm] for the"
            " providers that LiteLLM knows"
        )
    try:
        return str(load_litellm().get_llm_provider(model)[1])
    except Exception as error:  # the library has a hierarchy of its own for each version
        raise UnknownProvider(f"unknown provider in model {model!r}: {type(error).__name__}") from None
