"""The upstreams of a process, from its model list and settings."""

from __future__ import annotations

from bailiwick.invocations.deployments import Deployment, ModelList
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.http_wire import HttpWire
from bailiwick.invocations.dispatch.litellm_wire import LiteLlmWire
from bailiwick.invocations.dispatch.routing import Policy, Router
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.encodings import counter
from bailiwick.kernel.outbound import Outbound
from bailiwick.settings import InvocationSettings


def open_upstreams(models: ModelList, outbound: Outbound, configured: InvocationSettings) -> Upstreams:
    """What the model list says about failures comes before the settings. `outbound` must allow the list's servers."""
    said = models.routing
    breaker = CircuitBreaker(
        failures=configured.breaker_failures if said.allowed_fails is None else said.allowed_fails + 1,
        cooldown_seconds=said.cooldown_seconds or configured.breaker_cooldown_seconds,
    )
    exchange = Exchange(
        outbound, breaker, attempts=configured.dispatch_attempts, connect_seconds=configured.connect_timeout_seconds
    )
    policy = Policy(attempts=configured.dispatch_attempts, timeout_seconds=configured.dispatch_timeout_seconds)
    everywhere = [place for places in models.models.values() for place in places]
    needs_library = any(_is_of_library(place) for place in everywhere)
    for encoding in {place.encoding for place in everywhere if place.encoding is not None}:
        counter(encoding)  # loaded now, so that no call waits for it
    return Upstreams(
        Router(models, breaker, policy),
        HttpWire(exchange),
        LiteLlmWire() if needs_library else None,
        first_token_seconds=configured.first_token_timeout_seconds,
        idle_seconds=configured.idle_timeout_seconds,
    )


def _is_of_library(deployment: Deployment) -> bool:
    return deployment.protocol == "litellm"
