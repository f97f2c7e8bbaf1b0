"""Models and their providers, from a YAML file with LiteLLM's `model_list`.

    model_list:
      - model_name: fast
        litellm_params:
          model: openai/gpt-4o-mini
          api_base: https://api.openai.com/v1
          api_key: os.environ/OPENAI_API_KEY
          input_cost_per_token: 0.00000015
        model_info: {mode: chat}

Several entries of one `model_name` are deployments of one model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

Dialect = Literal["openai", "anthropic", "azure"]

# How LiteLLM's provider prefix is spoken to: dialect and default base URL.
_PROVIDERS: Mapping[str, tuple[Dialect, str | None]] = {
    "openai": ("openai", "https://api.openai.com/v1"),
    "text-completion-openai": ("openai", "https://api.openai.com/v1"),
    "anthropic": ("anthropic", "https://api.anthropic.com"),
    "azure": ("azure", None),
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


class ModelListInvalid(ValueError):
    """The model list cannot be used; the message names file, entry and field."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a model is served."""

    name: str
    """The name that callers use (`model_name`)."""
    provider: str
    model: str
    """The provider's name of the model."""
    dialect: Dialect
    base_url: str
    api_key: str | None = None
    api_version: str | None = None
    input_price: float | None = None
    """USD for one input token, when the file says so."""
    output_price: float | None = None
    max_output_tokens: int = 4096
    timeout_seconds: float | None = None
    weight: int = 1
    headers: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        """What tells this deployment from others, for its circuit breaker."""
        return f"{self.provider}/{self.model}@{self.base_url}"


Price = Annotated[float, msgspec.Meta(ge=0, le=1)]  # USD for one token; also refuses NaN


class _Parameters(msgspec.Struct, kw_only=True):
    """What is read of `litellm_params`, by LiteLLM's names; the rest is ignored."""

    model: str
    custom_llm_provider: str | None = None
    api_base: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    api_version: str | None = None
    input_cost_per_token: Price | None = None
    output_cost_per_token: Price | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    weight: Annotated[int, msgspec.Meta(ge=0)] | None = None
    extra_headers: dict[str, str | None] | None = None


class _Info(msgspec.Struct, kw_only=True):
    """What is read of `model_info`."""

    input_cost_per_token: Price | None = None
    output_cost_per_token: Price | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None


class _Entry(msgspec.Struct, kw_only=True):
    model_name: str
    litellm_params: _Parameters
    model_info: _Info | None = None


def _resolved(value: Any) -> Any:
    """LiteLLM's `os.environ/NAME` stands for the environment variable NAME; one that is not set, for nothing."""
    if isinstance(value, dict):
        return {name: _resolved(item) for name, item in value.items()}
    if isinstance(value, str) and value.startswith("os.environ/"):
        return os.environ.get(value.removeprefix("os.environ/"))
    return value


def _deployment(raw: Any, where: str) -> Deployment:
    try:
        entry = msgspec.convert(_resolved(raw), _Entry, strict=False)
    except msgspec.ValidationError as error:
        raise ModelListInvalid(f"{where}: {error}") from None
    given, info = entry.litellm_params, entry.model_info or _Info()
    prefix, model = _provider(given, where)
    dialect, default_base = _PROVIDERS[prefix]
    base_url = given.api_base or given.base_url or default_base
    if not base_url:
        raise ModelListInvalid(f"{where}: provider {prefix} needs litellm_params.api_base")
    return Deployment(
        name=entry.model_name,
        provider=prefix,
        model=model,
        dialect=dialect,
        base_url=base_url.rstrip("/"),
        api_key=given.api_key,
        api_version=given.api_version,
        input_price=info.input_cost_per_token if given.input_cost_per_token is None else given.input_cost_per_token,
        output_price=info.output_cost_per_token if given.output_cost_per_token is None else given.output_cost_per_token,
        max_output_tokens=given.max_tokens or info.max_output_tokens or 4096,
        timeout_seconds=given.timeout,
        weight=1 if given.weight is None else given.weight,
        headers={name: value for name, value in (given.extra_headers or {}).items() if value is not None},
    )


def _provider(given: _Parameters, where: str) -> tuple[str, str]:
    """The provider and its name of the model, from `<provider>/<model>`, `custom_llm_provider` or a well-known name."""
    prefix, separator, model = given.model.partition("/")
    custom = given.custom_llm_provider
    if custom is not None and custom in _PROVIDERS:
        return custom, model if prefix == custom and separator else given.model
    if separator and prefix in _PROVIDERS:
        return prefix, model
    return _guess(given.model, where), given.model


def _guess(model: str, where: str) -> str:
    """LiteLLM takes well-known names without a prefix."""
    if model.startswith("claude"):
        return "anthropic"
    if model.startswith(("gpt-", "o1", "o3", "o4", "text-embedding-", "chatgpt")):
        return "openai"
    raise ModelListInvalid(f"{where}: unknown provider in model {model!r}; write <provider>/<model>")


def load_models(path: Path | None) -> dict[str, list[Deployment]]:
    """The deployments of each model name, in the file's order; none without a file. Raises ModelListInvalid."""
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelListInvalid(f"{path}: {error}") from None
    entries = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ModelListInvalid(f"{path}: needs a list `model_list`")
    models: dict[str, list[Deployment]] = {}
    for position, entry in enumerate(entries):
        deployment = _deployment(entry, f"{path}: model_list[{position}]")
        models.setdefault(deployment.name, []).append(deployment)
    return models
