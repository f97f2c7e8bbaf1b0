"""Metrics of invocations, for Prometheus."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Histogram

from bailiwick.invocations.requests import Decision, Status, Usage

_ENDED = Counter(
    "bailiwick_invocations_total",
    "Invocations by kind, target, end and decision",
    ("kind", "target", "status", "decision"),
)
_SECONDS = Histogram(
    "bailiwick_invocation_seconds",
    "Time from admission to settlement",
    ("kind",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
_TOKENS = Counter("bailiwick_tokens_total", "Tokens by model and direction", ("model", "direction"))
_COST = Counter("bailiwick_cost_micro_usd_total", "Cost charged, in micro-dollars", ("model",))
_HITS = Counter("bailiwick_cache_hits_total", "Answers repeated from the cache, by model", ("model",))
_SAVED = Counter("bailiwick_cache_savings_micro_usd_total", "Cost that the cache saved, in micro-dollars", ("model",))

_OTHER = "(other)"
_LONGEST_NAME = 128


class Names:
    """The names that stand in labels: so many, then all further ones are `(other)`. Under a wildcard of the model list
    callers choose them, and each is kept as long as the process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """What stands for `name`."""
        name = name[:_LONGEST_NAME]
        if len(self._known) < self._most:
            self._known.add(name)
        return name if name in self._known else _OTHER


_targets, _models = Names(1000), Names(1000)


# Looking a labelled child up takes a lock and builds a tuple each time; an invocation has few distinct ones.
@lru_cache(maxsize=4096)
def _ended(kind: str, target: str, status: Status, decision: Decision) -> Counter:
    return _ENDED.labels(kind, _targets.label(target), status.value, decision.value)


@lru_cache(maxsize=64)
def _seconds(kind: str) -> Histogram:
    return _SECONDS.labels(kind)


@lru_cache(maxsize=1024)
def _model(model: str) -> tuple[Counter, Counter, Counter]:
    model = _models.label(model)
    return _TOKENS.labels(model, "input"), _TOKENS.labels(model, "output"), _COST.labels(model)


def measure(*, kind: str, target: str, status: Status, decision: Decision, usage: Usage, latency_ms: int) -> None:
    """Counts one ended invocation."""
    _ended(kind, target, status, decision).inc()
    _seconds(kind).observe(latency_ms / 1000)
    if usage.cache_hit:  # its tokens were used before
        model = _models.label(usage.model)
        _HITS.labels(model).inc()
        _SAVED.labels(model).inc(usage.cache_savings_micros)
    elif usage.model:
        tokens_in, tokens_out, cost = _model(usage.model)
        tokens_in.inc(usage.input_tokens)
        tokens_out.inc(usage.output_tokens)
        cost.inc(usage.cost_micros)
