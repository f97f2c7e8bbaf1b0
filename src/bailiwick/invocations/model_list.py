"""Models and their providers, from a YAML file in LiteLLM's form.

    model_list:
      - model_name: fast
        litellm_params:
          model: openai/gpt-4o-mini
          api_key: os.environ/OPENAI_API_KEY
        model_info: {mode: chat}
    router_settings:
      num_retries: 2
      fallbacks: [{fast: [careful]}]

Several entries of one `model_name` are deployments of one model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from bailiwick.invocations.deployments import Deployment, ModelList, Routing
from bailiwick.invocations.dialects import Dialect
from bailiwick.invocations.providers import UnknownProvider, default_base_url, find_provider, protocol_of
from bailiwick.kernel.errors import Misconfigured
from bailiwick.kernel.outbound import AddressRefused, server_of

_DEFAULT_OUTPUT_TOKENS = 4096
_ENDPOINTS = {
    "/chat/completions": Dialect.CHAT,
    "/messages": Dialect.MESSAGES,
    "/responses": Dialect.RESPONSES,
}
# A header field's name and value (RFC 9110 section 5), as far as they can be sent.
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class ModelListInvalid(Misconfigured):
    """The model list cannot be used; the message names file, entry and field."""


Price = Annotated[float, msgspec.Meta(ge=0, le=1)]  # USD for one token; also refuses NaN
Factor = Annotated[float, msgspec.Meta(ge=0, le=1000)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Retries = Annotated[int, msgspec.Meta(ge=0, le=10)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class _Prices(msgspec.Struct, kw_only=True):
    input_cost_per_token: Price | None = None
    output_cost_per_token: Price | None = None
    cache_read_input_token_cost: Price | None = None
    cache_creation_input_token_cost: Price | None = None
    cache_creation_input_token_cost_above_1hr: Price | None = None
    output_cost_per_reasoning_token: Price | None = None


class _Parameters(_Prices, kw_only=True):
    """What is read of `litellm_params`, by LiteLLM's names."""

    model: str
    custom_llm_provider: str | None = None
    api_base: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    api_version: str | None = None
    max_tokens: Tokens | None = None
    timeout: Seconds | None = None
    stream_timeout: Seconds | None = None
    max_retries: Retries | None = None
    weight: Weight | None = None
    rpm: Weight | None = None
    extra_headers: dict[str, str | None] | None = None


class _Info(_Prices, kw_only=True):
    """What is read of `model_info`."""

    provider_specific_entry: dict[str, Factor] | None = None
    mode: str | None = None
    base_model: str | None = None
    custom_tokenizer: Any = None
    supported_endpoints: list[str] | None = None
    max_input_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None


class _Entry(msgspec.Struct, kw_only=True):
    model_name: str
    litellm_params: _Parameters
    model_info: _Info | None = None


class _Settings(msgspec.Struct, kw_only=True):
    """What is read of `router_settings` and `litellm_settings`; of what both say, the first counts."""

    num_retries: Retries | None = None
    timeout: Seconds | None = None
    request_timeout: Seconds | None = None
    cooldown_time: Seconds | None = None
    allowed_fails: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    fallbacks: list[dict[str, list[str]]] | None = None
    context_window_fallbacks: list[dict[str, list[str]]] | None = None
    default_fallbacks: list[str] | None = None


def _resolved(value: Any) -> Any:
    """LiteLLM's `os.environ/NAME` stands for the environment variable NAME; one that is not set, for nothing."""
    if isinstance(value, dict):
        return {name: _resolved(item) for name, item in value.items()}
    if isinstance(value, str) and value.startswith("os.environ/"):
        return os.environ.get(value.removeprefix("os.environ/"))
    return value


def _deployment(raw: Any, where: str) -> Deployment:
    resolved = _resolved(raw)
    try:
        entry = msgspec.convert(resolved, _Entry, strict=False)
    except msgspec.ValidationError as error:
        raise ModelListInvalid(f"{where}: {error}") from None
    given, info = entry.litellm_params, entry.model_info or _Info()
    try:
        provider, model = find_provider(given.model, given.custom_llm_provider)
    except UnknownProvider as error:
        raise ModelListInvalid(f"{where}: {error}") from None
    protocol = protocol_of(provider)
    base_url = (given.api_base or given.base_url or default_base_url(provider) or "").rstrip("/")
    if not base_url and protocol != "litellm":
        raise ModelListInvalid(f"{where}: provider {provider} needs litellm_params.api_base")
    if protocol != "litellm" and (fault := _unsendable(base_url, given)) is not None:
        raise ModelListInvalid(f"{where}: litellm_params.{fault}")
    rest = {
        name: value
        for name, value in resolved["litellm_params"].items()
        if name not in _Parameters.__struct_fields__ and value is not None
    }
    return Deployment(
        name=entry.model_name,
        provider=provider,
        model=model,
        base_model=None if info.base_model is None else info.base_model.rpartition("/")[2],
        has_own_tokenizer=info.custom_tokenizer is not None,
        protocol=protocol,
        base_url=base_url,
        api_key=given.api_key,
        api_version=given.api_version,
        endpoints=_endpoints(info, provider, base_url),
        embeds=info.mode in (None, "embedding"),
        input_price=_either(given, info, "input_cost_per_token"),
        output_price=_either(given, info, "output_cost_per_token"),
        cached_input_price=_either(given, info, "cache_read_input_token_cost"),
        cache_write_price=_either(given, info, "cache_creation_input_token_cost"),
        hour_cache_write_price=_either(given, info, "cache_creation_input_token_cost_above_1hr"),
        reasoning_price=_either(given, info, "output_cost_per_reasoning_token"),
        price_factors=info.provider_specific_entry or {},
        max_input_tokens=info.max_input_tokens,
        max_output_tokens=given.max_tokens or info.max_output_tokens or _DEFAULT_OUTPUT_TOKENS,
        timeout_seconds=given.timeout,
        stream_timeout_seconds=given.stream_timeout,
        retries=given.max_retries,
        weight=given.weight,
        requests_per_minute=given.rpm,
        headers={name: value for name, value in (given.extra_headers or {}).items() if value is not None},
        options=rest if protocol == "litellm" else {},
    )


def _unsendable(base_url: str, given: _Parameters) -> str | None:
    """Why no request could be sent so, if that is so. Says nothing of the key itself."""
    try:
        server_of(base_url)
    except AddressRefused:
        return "api_base must be an http or https URL without credentials"
    if not _FIELD_VALUE.fullmatch(given.api_key or ""):
        return "api_key holds a character that no header may hold, a line end perhaps"
    for name, value in (given.extra_headers or {}).items():
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value or ""):
            return f"extra_headers: {name!r} cannot be sent as a header"
    return None


def _either(given: _Prices, info: _Prices, field: str) -> float | None:
    own: float | None = getattr(given, field)
    told: float | None = getattr(info, field)
    return told if own is None else own


def _endpoints(info: _Info, provider: str, base_url: str) -> tuple[Dialect, ...] | None:
    """The dialects that a deployment speaks, where that does not follow from its protocol."""
    if info.supported_endpoints is not None:
        told = {endpoint.removeprefix("/v1") for endpoint in info.supported_endpoints}
        return tuple(dialect for path, dialect in _ENDPOINTS.items() if path in told)
    if info.mode == "responses":
        return (Dialect.RESPONSES,)
    if info.mode not in (None, "chat", "completion"):
        return ()
    has_responses = base_url.endswith("/openai/v1") if provider == "azure" else base_url == "https://api.openai.com/v1"
    return (Dialect.CHAT, Dialect.RESPONSES) if has_responses else None


def _settings(document: Mapping[str, Any], path: Path) -> Routing:
    both = []
    for section in ("router_settings", "litellm_settings"):
        try:
            both.append(msgspec.convert(_resolved(document.get(section) or {}), _Settings, strict=False))
        except msgspec.ValidationError as error:
            raise ModelListInvalid(f"{path}: {section}: {error}") from None

    def told(*fields: str) -> Any:
        values = (getattr(settings, field) for settings in both for field in fields)
        return next((value for value in values if value is not None), None)

    fallbacks = _merged(told("fallbacks") or ())
    return Routing(
        retries=told("num_retries"),
        timeout_seconds=told("timeout", "request_timeout"),
        cooldown_seconds=told("cooldown_time"),
        allowed_fails=told("allowed_fails"),
        fallbacks=fallbacks,
        context_window_fallbacks=_merged(told("context_window_fallbacks") or ()),
        default_fallbacks=told("default_fallbacks") or fallbacks.get("*", ()),
    )


def _merged(items: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, Sequence[str]]:
    return {name: tuple(others) for item in items for name, others in item.items()}


def load_models(path: Path | None) -> ModelList:
    """The model list of a file; an empty one without a file. Raises ModelListInvalid."""
    if path is None:
        return ModelList()
    try:
        document, created = yaml.safe_load(path.read_text()), int(path.stat().st_mtime)
    except OSError as error:
        raise ModelListInvalid(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelListInvalid(f"{path}: {error}") from None
    entries = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ModelListInvalid(f"{path}: needs a list `model_list`")
    models: dict[str, list[Deployment]] = {}
    accounts: dict[str, list[object]] = {}
    for position, entry in enumerate(entries):
        deployment = _deployment(entry, f"{path}: model_list[{position}]")
        # What a provider says to one account, that it asks too often, is not said to another.
        account = (deployment.api_key, deployment.headers, deployment.options)
        known = accounts.setdefault(deployment.key, [])
        if account not in known:
            known.append(account)
        deployment = msgspec.structs.replace(deployment, account=known.index(account))
        models.setdefault(deployment.name, []).append(deployment)
    listed = ModelList(models=models, routing=_settings(document, path), created=created)
    for name in listed.routing.fallback_names():
        if not listed.find(name):
            raise ModelListInvalid(f"{path}: fallbacks: {name!r} is not in the model list")
    return listed


@lru_cache(maxsize=4)
def models_of(path: Path | None) -> ModelList:
    """The same, read once in a process."""
    return load_models(path)
