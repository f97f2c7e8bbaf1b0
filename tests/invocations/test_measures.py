"""Metrics of invocations."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client import REGISTRY

from bailiwick.invocations import measures
from bailiwick.invocations.calls import StreamCall
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import InvocationBlocked
from bailiwick.invocations.measures import Names, measure
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.requests import Decision, Status, Usage
from tests.invocations.conftest import ModelServer, Tenant
from tests.invocations.model_calls import chat_body, model_call


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_an_ended_invocation_is_counted_with_its_usage() -> None:
    ended = {"kind": "chat", "target": "counted", "status": "completed", "decision": "ENHANCE"}
    usage = Usage(model="counted-1", input_tokens=7, output_tokens=5, cost_micros=31)
    for _ in range(2):
        measure(
            kind="chat",
            target="counted",
            status=Status.COMPLETED,
            decision=Decision.ENHANCE,
            usage=usage,
            latency_ms=40,
        )
    assert value("bailiwick_invocations_total", **ended) == 2
    assert value("bailiwick_tokens_total", model="counted-1", direction="input") == 14
    assert value("bailiwick_tokens_total", model="counted-1", direction="output") == 10
    assert value("bailiwick_cost_micro_usd_total", model="counted-1") == 62


def test_a_repeated_answer_uses_no_tokens() -> None:
    usage = Usage(model="repeated-1", input_tokens=7, output_tokens=5, cache_hit=True, cache_savings_micros=31)
    for _ in range(2):
        measure(kind="chat", target="t", status=Status.COMPLETED, decision=Decision.BYPASS, usage=usage, latency_ms=1)
    assert value("bailiwick_cache_hits_total", model="repeated-1") == 2
    assert value("bailiwick_cache_savings_micro_usd_total", model="repeated-1") == 62
    assert value("bailiwick_tokens_total", model="repeated-1", direction="input") == 0


def test_time_goes_into_its_bucket_in_seconds() -> None:
    for latency_ms in (4, 40):
        measure(
            kind="timed",
            target="t",
            status=Status.FAILED,
            decision=Decision.BYPASS,
            usage=Usage(),
            latency_ms=latency_ms,
        )
    assert value("bailiwick_invocation_seconds_bucket", kind="timed", le="0.005") == 1
    assert value("bailiwick_invocation_seconds_bucket", kind="timed", le="0.05") == 2
    assert value("bailiwick_invocation_seconds_sum", kind="timed") == pytest.approx(0.044)


def test_what_used_no_model_counts_no_tokens() -> None:
    measure(kind="chat", target="t", status=Status.BLOCKED, decision=Decision.KILL, usage=Usage(), latency_ms=1)
    assert REGISTRY.get_sample_value("bailiwick_tokens_total", {"model": "", "direction": "input"}) is None


def test_names_that_callers_make_up_are_counted_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "_targets", Names(2))
    monkeypatch.setattr(measures, "_models", Names(2))
    for number in range(5):
        name = f"made-up-{number}"
        measure(
            kind="wild",
            target=name,
            status=Status.COMPLETED,
            decision=Decision.BYPASS,
            usage=Usage(model=name, input_tokens=1),
            latency_ms=1,
        )
    ended = {"kind": "wild", "status": "completed", "decision": "BYPASS"}
    counts = [
        value("bailiwick_invocations_total", **ended, target=name) for name in ("made-up-1", "made-up-2", "(other)")
    ]
    assert counts == [1, 0, 3]
    assert value("bailiwick_tokens_total", model="(other)", direction="input") == 3


async def test_every_end_of_a_call_is_counted_once(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    def a_call(text: str) -> StreamCall:
        call = model_call(tenant, model.deployment(), exchange, chat_body(text))
        return msgspec.structs.replace(call, kind="measured")

    await pipeline.invoke(a_call("Hello"))
    with pytest.raises(InvocationBlocked):
        await pipeline.invoke(a_call("SSN 536-22-8726"))
    of = {"kind": "measured", "target": "fast"}
    assert value("bailiwick_invocations_total", **of, status="completed", decision="BYPASS") == 1
    assert value("bailiwick_invocations_total", **of, status="blocked", decision="KILL") == 1
    assert value("bailiwick_invocation_seconds_count", kind="measured") == 2
