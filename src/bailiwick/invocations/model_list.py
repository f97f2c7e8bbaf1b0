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
from typing import Any, Literal

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


def _resolved(value: Any) -> Any:
    """LiteLLM's `os.environ/NAME` stands for the environment variable NAME."""
    if isinstance(value, str) and value.startswith("os.environ/"):
        return os.environ.get(value.removeprefix("os.environ/"))
    return value


def _deployment(entry: Any, where: str) -> Deployment:
    if not isinstance(entry, dict) or not isinstance(entry.get("litellm_params"), dict):
        raise ModelListInvalid(f"{where}: needs model_name and litellm_params")
    parameters = {name: _resolved(value) for name, value in entry["litellm_params"].items()}
    info = entry.get("model_info") or {}
    target = parameters.get("model")
    if not isinstance(entry.get("model_name"), str) or not isinstance(target, str):
        raise ModelListInvalid(f"{where}: model_name and litellm_params.model must be strings")
    prefix, separator, model = target.partition("/")
    if not separator or prefix not in _PROVIDERS:
        custom = parameters.get("custom_llm_provider")
        known = isinstance(custom, str) and custom in _PROVIDERS
        prefix, model = str(custom) if known else _guess(target, where), target
    dialect, default_base = _PROVIDERS[prefix]
    base_url = parameters.get("api_base") or parameters.get("base_url") or default_base
    if not base_url:
        raise ModelListInvalid(f"{where}: provider {prefix} needs litellm_params.api_base")
    try:
        return msgspec.convert(
            {
                "name": entry["model_name"],
                "provider": prefix,
                "model": model,
                "dialect": dialect,
                "base_url": str(base_url).rstrip("/"),
                "api_key": parameters.get("api_key"),
                "api_version": parameters.get("api_version"),
                "input_price": parameters.get("input_cost_per_token", info.get("input_cost_per_token")),
                "output_price": parameters.get("output_cost_per_token", info.get("output_cost_per_token")),
                "max_output_tokens": parameters.get("max_tokens") or info.get("max_output_tokens") or 4096,
                "timeout_seconds": parameters.get("timeout"),
                "weight": parameters.get("weight", 1),
                "headers": parameters.get("extra_headers") or {},
            },
            Deployment,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise ModelListInvalid(f"{where}: {error}") from None


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
    except (OSError, yaml.YAMLError) as error:
        raise ModelListInvalid(f"{path}: {error}") from None
    entries = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ModelListInvalid(f"{path}: needs a list `model_list`")
    models: dict[str, list[Deployment]] = {}
    for position, entry in enumerate(entries):
        deployment = _deployment(entry, f"{path}: model_list[{position}]")
        models.setdefault(deployment.name, []).append(deployment)
    return models
