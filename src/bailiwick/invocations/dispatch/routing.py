"""Which deployments a call tries, in which order, and when it stops trying.

Of a model's deployments a random one by weight, then the others; those whose breaker is open or that asked to be left
alone are skipped. An error that may pass is tried again where it happened if that is soon enough, else at the next
deployment; then come the model's fallbacks. All of it within the call's total time.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import structlog

from bailiwick import identity
from bailiwick.invocations.deployments import MOST_DERIVED, Deployment, ModelList
from bailiwick.invocations.dialects import Dialect, InvalidBody, Untranslatable, error_body, translate_error
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.wire import NoAnswer, Refusal
from bailiwick.invocations.errors import ProviderRefused, TargetTimeout, TargetUnavailable

_log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")

_MOST_WAIT_SECONDS = 10.0
"""The longest wait before the same deployment is asked again."""
_MOST_WAIT_WITH_OTHERS = 1.0
"""The same while another deployment could be asked at once."""
_MOST_COOLDOWN_SECONDS = 300.0
_OF_DEPLOYMENT = frozenset({401, 402, 403, 404})
"""What a provider says of its deployment rather than of the request: another one may well answer."""
_TOO_LONG = re.compile(
    r"context[ _]?(length|window)|maximum context|prompt is too long|input is too long|too many (input )?tokens",
    re.IGNORECASE,
)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long is tried, where the model list does not say it."""

    attempts: int
    timeout_seconds: float


class _Failed(Exception):
    """A deployment did not answer; `error` is what the caller is told if no other does."""

    def __init__(self, error: Exception, *, is_final: bool = False, is_too_long: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_final = is_final
        """Whether no other deployment may be asked."""
        self.is_too_long = is_too_long
        """Whether the request does not fit into the model's context window."""


class Router:
    """The routing of one process. `clock` tells seconds and never goes back; `chance` chooses by weight."""

    def __init__(
        self,
        models: ModelList,
        breaker: CircuitBreaker,
        policy: Policy,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self.models = models
        self.breaker = breaker
        self._policy = policy
        self._clock = clock
        self._random = chance or random.Random()  # noqa: S311 - spreads load
        self._cool_until: dict[str, float] = {}
        self._reachable: dict[tuple[str, frozenset[str]], Sequence[Deployment]] = {}
        """What `deployments` found, which is asked several times for each call."""

    def _fallbacks(self, model: str, allowed: frozenset[str]) -> Sequence[str]:
        return [name for name in self.models.routing.fallbacks_of(model) if identity.allows_model(allowed, name)]

    def _larger(self, model: str, allowed: frozenset[str]) -> Sequence[str]:
        larger = self.models.routing.context_window_fallbacks.get(model, ())
        return [name for name in larger if identity.allows_model(allowed, name)]

    def _chain(self, model: str, allowed: frozenset[str]) -> Sequence[str]:
        """The names that a call of `model` may end up with, its own first."""
        names = [model, *self._fallbacks(model, allowed)]
        for name in names:  # grows on the way: a model that stands in may be too small as well
            names += [other for other in self._larger(name, allowed) if other not in names]
        return list(dict.fromkeys(names))

    def deployments(self, model: str, allowed: frozenset[str] = frozenset()) -> Sequence[Deployment]:
        """Every deployment that a call of `model` may reach; none for an unknown model. `allowed`: the models that may
        stand in for it; empty: every one."""
        known = self._reachable.get((model, allowed))
        if known is None:
            if not self.models.find(model):
                return ()
            known = [deployment for name in self._chain(model, allowed) for deployment in self.models.find(name)]
            if len(self._reachable) >= MOST_DERIVED:  # callers choose the names
                self._reachable.clear()
            self._reachable[model, allowed] = known
        return known

    async def run(
        self,
        model: str,
        client: Dialect,
        ask: Callable[[Deployment, float], Awaitable[_Answer]],
        *,
        allowed: frozenset[str] = frozenset(),
    ) -> tuple[Deployment, _Answer]:
        """What `ask` (a deployment, the seconds that it has) answers where it first succeeds, and where that was. The
        breaker is told of failures; of success the caller tells it. `allowed` is as in `deployments`.

        Raises the last failure: ProviderRefused, TargetTimeout, TargetUnavailable, Untranslatable or InvalidBody.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._total_seconds(model)
        last: Exception | None = None
        todo = deque([model, *self._fallbacks(model, allowed)])
        tried: set[str] = set()
        while todo and loop.time() < deadline:
            name = todo.popleft()
            if name in tried:
                continue
            tried.add(name)
            places = self._order(name)
            for position, deployment in enumerate(places):
                if loop.time() >= deadline or not self.breaker.allows(deployment.key):
                    continue
                has_others = bool(todo) or position + 1 < len(places)
                try:
                    return deployment, await self._ask(deployment, client, ask, deadline, has_others=has_others)
                except _Failed as failed:
                    if last is None or not isinstance(failed.error, InvalidBody | Untranslatable):
                        last = failed.error
                    if failed.is_too_long and (larger := self._larger(name, allowed)):
                        todo.extendleft(reversed(larger))
                        break
                    if failed.is_final:
                        raise last from None
                    _log.info("model_fallback", model=model, deployment=deployment.key, reason=str(failed))
        raise last or self._left_alone(model, client, allowed)

    def _total_seconds(self, model: str) -> float:
        default = self.models.routing.timeout_seconds or self._policy.timeout_seconds
        return max((place.timeout_seconds or default for place in self.models.find(model)), default=default)

    def _order(self, name: str) -> Sequence[Deployment]:
        """A model's deployments that may be asked now, in the order in which they are."""
        places = self.models.find(name)
        if self._cool_until:
            places = [place for place in places if self._cooling_seconds(place) <= 0]
        if len(places) < 2:
            return places
        # A weighted random order (Efraimidis, Spirakis: Weighted random sampling with a reservoir, 2006).
        keys = [self._random.random() ** (1 / weight) if weight > 0 else -1.0 for weight in _weights(places)]
        return [place for _, place in sorted(zip(keys, places, strict=True), key=lambda pair: pair[0], reverse=True)]

    async def _ask(
        self,
        deployment: Deployment,
        client: Dialect,
        ask: Callable[[Deployment, float], Awaitable[_Answer]],
        deadline: float,
        *,
        has_others: bool,
    ) -> _Answer:
        """Asks one deployment as often as it is worth it. Raises _Failed."""
        attempts = 1 + _first(deployment.retries, self.models.routing.retries, self._policy.attempts - 1)
        most_wait = _MOST_WAIT_WITH_OTHERS if has_others else _MOST_WAIT_SECONDS
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            attempt += 1
            left = deadline - loop.time()
            try:
                return await ask(deployment, min(left, deployment.timeout_seconds or left))
            except Refusal as refusal:
                self._note(deployment, refusal)
                failed, wait = _refused(refusal, client), refusal.retry_after
                may_pass = refusal.may_pass
            except NoAnswer as reason:
                self.breaker.failed(deployment.key)
                failed, wait = _unanswered(reason), None
                may_pass = reason.may_pass and not reason.is_timeout
            except (InvalidBody, Untranslatable) as error:
                self.breaker.abandoned(deployment.key)
                raise _Failed(error) from None
            except BaseException:  # whatever it is, it tells nothing of the deployment; the next call may probe it
                self.breaker.abandoned(deployment.key)
                raise
            if wait is None:
                wait = 0.1 * 3 ** (attempt - 1) * self._random.uniform(0.5, 1.5)
            if not may_pass or attempt >= attempts or wait > min(deadline - loop.time(), most_wait):
                raise failed
            if not self.breaker.allows(deployment.key):
                raise failed
            _log.info("model_retry", deployment=deployment.key, reason=str(failed), attempt=attempt)
            try:
                await asyncio.sleep(wait)
            except BaseException:
                self.breaker.abandoned(deployment.key)
                raise

    def _note(self, deployment: Deployment, refusal: Refusal) -> None:
        if not refusal.may_pass:
            self.breaker.succeeded(deployment.key)  # it answers; the request is what it does not like
        elif refusal.status == 429 and refusal.retry_after is not None:
            cooldown = min(refusal.retry_after, _MOST_COOLDOWN_SECONDS)
            self._cool_until[deployment.key] = self._clock() + cooldown
            self.breaker.abandoned(deployment.key)
        else:
            self.breaker.failed(deployment.key)

    def _cooling_seconds(self, deployment: Deployment) -> float:
        until = self._cool_until.get(deployment.key)
        if until is None:
            return 0.0
        left = until - self._clock()
        if left <= 0:
            del self._cool_until[deployment.key]
        return left

    def _left_alone(self, model: str, client: Dialect, allowed: frozenset[str]) -> Exception:
        """The error when not one deployment may be asked."""
        cooling = [left for place in self.deployments(model, allowed) if (left := self._cooling_seconds(place)) > 0]
        if not cooling:
            return TargetUnavailable("The target has failed repeatedly and is being left alone; try again later.")
        message = "The model's provider asks to be left alone for a while."
        headers = {"retry-after": str(math.ceil(min(cooling)))}
        return ProviderRefused(429, error_body(client, 429, message=message), headers)


def _weights(places: Sequence[Deployment]) -> list[float]:
    """LiteLLM's `simple-shuffle`: by weight where one is given, else by requests per minute, else all alike."""
    if any(place.weight is not None for place in places):
        return [1.0 if place.weight is None else place.weight for place in places]
    rates = [place.requests_per_minute for place in places]
    return [1.0 if None in rates else rate or 0.0 for rate in rates]


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _refused(refusal: Refusal, client: Dialect) -> _Failed:
    status = refusal.status
    if status == 401:  # what it says of the operator's key is not for the client
        body = error_body(client, status, message="The model's provider does not accept the gateway's key.")
    else:
        body = translate_error(refusal.dialect or Dialect.CHAT, client, status, refusal.body)
    return _Failed(
        ProviderRefused(status, body, refusal.headers),
        is_final=not refusal.may_pass and status not in _OF_DEPLOYMENT,
        is_too_long=status in (400, 413) and _says_too_long(refusal.body),
    )


def _says_too_long(body: object) -> bool:
    """OpenAI has a code for it, others words (Anthropic: `prompt is too long`)."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return error.get("code") == "context_length_exceeded" or bool(_TOO_LONG.search(str(error.get("message"))))
    return isinstance(error, str) and bool(_TOO_LONG.search(error))


def _unanswered(reason: NoAnswer) -> _Failed:
    error = TargetTimeout() if reason.is_timeout else TargetUnavailable(f"The model did not answer: {reason}.")
    return _Failed(error)
