"""Where models are served: deployments, the list of them, and what it says about choosing between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from bailiwick.invocations.dialects import Dialect
from bailiwick.invocations.encodings import Encoding, encoding_of
from bailiwick.kernel.wildcards import stood_for

Protocol = Literal["openai", "anthropic", "azure", "litellm"]
"""How a provider's servers are addressed; `litellm`: by the library of that name."""

_SPOKEN: Mapping[Protocol, tuple[Dialect, ...]] = {
    "openai": (Dialect.CHAT,),
    "anthropic": (Dialect.MESSAGES,),
    "azure": (Dialect.CHAT,),
    "litellm": (Dialect.CHAT,),
}
MOST_DERIVED = 1024
"""Names of models, made from wildcards, of which what belongs to them is kept."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a model is served. Prices are USD for one token, where the model list says so."""

    name: str
    """The name that callers use (`model_name`)."""
    provider: str
    model: str
    """The provider's name of the model."""
    base_model: str | None = None
    """The model that it is, where `model` is no more than a name for it (Azure)."""
    has_own_tokenizer: bool = False
    """Whether the model list says that its tokenizer is not that of the model whose name it has."""
    protocol: Protocol
    base_url: str
    api_key: str | None = None
    api_version: str | None = None
    endpoints: tuple[Dialect, ...] | None = None
    """The dialects that it speaks; None: that of its protocol."""
    embeds: bool = True
    """Whether it may be asked for embeddings."""
    input_price: float | None = None
    output_price: float | None = None
    cached_input_price: float | None = None
    cache_write_price: float | None = None
    hour_cache_write_price: float | None = None
    reasoning_price: float | None = None
    price_factors: Mapping[str, float] = {}
    """By how much ways of processing (`PriceMode`) multiply the price, where the model list says it."""
    max_input_tokens: int | None = None
    max_output_tokens: int = 4096
    timeout_seconds: float | None = None
    """For the whole answer."""
    stream_timeout_seconds: float | None = None
    """For the first piece of a stream and between two."""
    retries: int | None = None
    weight: float | None = None
    requests_per_minute: float | None = None
    """Its share where no weights are given."""
    headers: Mapping[str, str] = {}
    options: Mapping[str, Any] = {}
    """What else its entry says, for the library that calls it."""
    pattern: str | None = None
    """The wildcard in the model list that it comes from."""
    account: int = 0
    """Which of several accounts at the same place it uses."""

    @property
    def key(self) -> str:
        """What tells this deployment from others, for its circuit breaker and cooldown."""
        account = f"#{self.account}" if self.account else ""
        return f"{self.provider}/{self.pattern or self.model}@{self.base_url}{account}"

    @property
    def known_model(self) -> str:
        """The name by which its price and its tokenizer are known."""
        return self.model if self.base_model is None else self.base_model

    @property
    def encoding(self) -> Encoding | None:
        """Its tokenizer; None when nobody knows it."""
        return None if self.has_own_tokenizer else encoding_of(self.provider, self.known_model)

    @property
    def speaks(self) -> tuple[Dialect, ...]:
        """The dialects that it speaks."""
        return _SPOKEN[self.protocol] if self.endpoints is None else self.endpoints


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """What a model list says about choosing between deployments; None: the installation's settings."""

    retries: int | None = None
    timeout_seconds: float | None = None
    cooldown_seconds: float | None = None
    allowed_fails: int | None = None
    fallbacks: Mapping[str, Sequence[str]] = {}
    """For each model, those that take its place in that order."""
    context_window_fallbacks: Mapping[str, Sequence[str]] = {}
    """The same for requests that are too long for it."""
    default_fallbacks: Sequence[str] = ()

    def fallbacks_of(self, model: str) -> Sequence[str]:
        """The models that take a model's place when it fails."""
        return [name for name in self.fallbacks.get(model, self.default_fallbacks) if name != model]

    def fallback_names(self) -> Iterator[str]:
        """Every model that is to take another's place."""
        for names in (*self.fallbacks.values(), *self.context_window_fallbacks.values(), self.default_fallbacks):
            yield from names


class ModelList(msgspec.Struct, frozen=True):
    """The models of an installation by name, in their file's order. A name may hold `*` (`openai/*`)."""

    models: Mapping[str, Sequence[Deployment]] = {}
    routing: Routing = msgspec.field(default_factory=Routing)
    created: int = 0
    """When its file was last written, in Unix seconds."""
    derived: dict[str, Sequence[Deployment]] = msgspec.field(default_factory=dict)
    """What `find` made of wildcards."""

    def base_urls(self) -> set[str]:
        """Where the models are served."""
        return {deployment.base_url for served in self.models.values() for deployment in served}

    def find(self, name: str) -> Sequence[Deployment]:
        """The deployments of a model; of several wildcards that match, those with the longest text; else none."""
        if "*" in name:
            return ()
        if (exact := self.models.get(name)) is not None:
            return exact
        if (known := self.derived.get(name)) is not None:
            return known
        patterns = sorted((pattern for pattern in self.models if "*" in pattern), key=len, reverse=True)
        for pattern in patterns:
            if (texts := stood_for(pattern, name)) is not None:
                found = [_derived(deployment, name, texts) for deployment in self.models[pattern]]
                if len(self.derived) >= MOST_DERIVED:  # callers choose the names
                    self.derived.clear()
                self.derived[name] = found
                return found
        return ()


def _derived(deployment: Deployment, name: str, texts: Sequence[str]) -> Deployment:
    """A wildcard's deployment for one model: what `*` stood for takes the place of each `*` in the provider's name."""
    stood = list(texts)
    model = re.sub(r"\*", lambda _: stood.pop(0) if stood else "*", deployment.model)
    return msgspec.structs.replace(deployment, name=name, model=model, pattern=deployment.model)
