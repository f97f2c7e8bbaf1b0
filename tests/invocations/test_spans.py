"""Spans of invocations: the GenAI conventions' names and attributes, never content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bailiwick.invocations import spans
from bailiwick.invocations.calls import StreamCall
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import InvocationBlocked, TargetUnavailable
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.kernel.ids import Prefix, encode
from tests.invocations.conftest import ModelServer, Tenant
from tests.invocations.model_calls import chat_body, model_call, said

TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROMPT = "A prompt that no span may carry"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that an installation with an exporter sends; to be asked for before the pipeline."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The process's own provider can be set only once; what asks for it is answered with this one.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("bailiwick.invocations"))
    yield exporter
    provider.shutdown()


def a_call(
    tenant: Tenant, model: ModelServer, exchange: Exchange, text: str = PROMPT, *, trace_parent: str | None = None
) -> StreamCall:
    body = chat_body(text)
    return model_call(
        tenant, model.deployment(), exchange, body, session_name="conversation 7", trace_parent=trace_parent
    )


def by_name(exported: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exported.get_finished_spans()}


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def times(found: Sequence[ReadableSpan]) -> list[int]:
    return [moment for span in found for moment in (span.start_time or 0, span.end_time or 0)]


async def test_a_completed_call_is_one_span_with_its_stages(
    exported: InMemorySpanExporter, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    await pipeline.invoke(a_call(tenant, model, exchange))
    found = by_name(exported)
    assert set(found) == {"chat fast", "admit", "inspect", "dispatch", "settle"}
    whole = found["chat fast"]
    row = await tenant.last()
    assert attributes_of(whole) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "fast",
        "gen_ai.response.model": "stub-1",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.conversation.id": "conversation 7",
        "bailiwick.organization.id": encode(Prefix.ORGANIZATION, tenant.organization_id),
        "bailiwick.invocation.id": encode(Prefix.TRACE, row["id"]),
        "bailiwick.decision": "BYPASS",
        "bailiwick.findings": 0,
        "bailiwick.cost_usd_micros": 200,
    }
    assert whole.kind is SpanKind.SERVER
    assert whole.parent is None
    assert whole.status.status_code is StatusCode.UNSET
    assert whole.context is not None
    stages = [found[name] for name in ("admit", "inspect", "dispatch", "settle")]
    assert {stage.parent.span_id for stage in stages if stage.parent} == {whole.context.span_id}
    assert times(stages) == sorted(times(stages))
    assert (stages[0].start_time, stages[-1].end_time) == (whole.start_time, whole.end_time)


async def test_the_callers_trace_goes_on(
    exported: InMemorySpanExporter, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    await pipeline.invoke(a_call(tenant, model, exchange, trace_parent=TRACE_PARENT))
    whole = by_name(exported)["chat fast"]
    assert whole.context is not None
    assert whole.parent is not None
    assert f"{whole.context.trace_id:032x}" == TRACE_PARENT.split("-")[1]
    assert f"{whole.parent.span_id:016x}" == TRACE_PARENT.split("-")[2]


async def test_a_bad_traceparent_begins_a_trace(
    exported: InMemorySpanExporter, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    for bad in ("", "nonsense", "00-0-0-01", "ff-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        exported.clear()
        await pipeline.invoke(a_call(tenant, model, exchange, trace_parent=bad))
        assert by_name(exported)["chat fast"].parent is None


async def test_a_failed_call_tells_its_error_and_no_content(
    exported: InMemorySpanExporter, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def fail(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "no such thing"}, status=404)

    model.answer = fail
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, model, exchange))
    found = by_name(exported)
    assert set(found) == {"chat fast", "admit", "inspect", "settle"}  # nothing was answered
    whole = found["chat fast"]
    assert whole.status.status_code is StatusCode.ERROR
    assert attributes_of(whole)["error.type"] == "MODEL_UNAVAILABLE"
    assert all(PROMPT not in span.to_json() for span in found.values())


async def test_a_blocked_call_tells_how_many_findings_and_none_of_them(
    exported: InMemorySpanExporter, tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    with pytest.raises(InvocationBlocked):
        await pipeline.invoke(a_call(tenant, model, exchange, "His SSN is 536-22-8726"))
    whole = by_name(exported)["chat fast"]
    told = attributes_of(whole)
    assert (told["bailiwick.decision"], told["bailiwick.findings"]) == ("KILL", 1)
    assert "536-22-8726" not in whole.to_json()


async def test_without_a_provider_there_are_no_spans(
    tenant: Tenant,
    pipeline: Pipeline,
    model: ModelServer,
    exchange: Exchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoSpans:
        def start_span(self, *_arguments: object, **_more: object) -> None:
            raise AssertionError("a span was made")

    monkeypatch.setattr(spans, "_tracer", NoSpans())
    assert said(await pipeline.invoke(a_call(tenant, model, exchange))) == "Hello."
