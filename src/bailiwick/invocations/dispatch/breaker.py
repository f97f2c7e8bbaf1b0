"""A circuit breaker for each target: after some failures in a row it is left alone, then tried with one call."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from prometheus_client import Counter

_OPENED = Counter("bailiwick_breaker_opened_total", "Times that a target's circuit breaker opened", ("target",))
_MOST_TARGETS = 4096


class _State(msgspec.Struct):
    failures: int = 0
    open_until: float = 0.0
    probing: bool = False


class CircuitBreaker:
    """The breakers of all targets of a process. `clock` tells seconds and never goes back."""

    def __init__(self, *, failures: int, cooldown_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._cooldown = cooldown_seconds
        self._clock = clock
        self._states: dict[str, _State] = {}

    def allows(self, target: str) -> bool:
        """Whether a call may be tried now. After the cooldown, exactly one caller is let through to probe."""
        state = self._states.get(target)
        if state is None or state.failures < self._limit:
            return True
        if self._clock() < state.open_until or state.probing:
            return False
        state.probing = True
        return True

    def succeeded(self, target: str) -> None:
        """Closes the breaker."""
        self._states.pop(target, None)

    def failed(self, target: str) -> None:
        """Counts a failure; opens the breaker at the limit, or again when the probe failed."""
        if target not in self._states and len(self._states) >= _MOST_TARGETS:
            self._states.pop(next(iter(self._states)))
        state = self._states.setdefault(target, _State())
        state.failures += 1
        state.probing = False
        if state.failures >= self._limit:
            state.open_until = self._clock() + self._cooldown
            _OPENED.labels(target).inc()

    def abandoned(self, target: str) -> None:
        """A call that ended without telling anything of the target (the caller went away): lets the next one probe."""
        if (state := self._states.get(target)) is not None:
            state.probing = False
