"""Spans of invocations, by the OpenTelemetry GenAI semantic conventions. The mapping of our words to theirs is here.

Spans are made after settlement from the times noted on the way, so that an installation that exports none pays nothing
but the notes.
"""

from __future__ import annotations

import time

import msgspec
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from bailiwick.invocations.requests import Admission, Inspection, Status, Usage
from bailiwick.kernel.ids import Prefix, encode

_tracer = trace.get_tracer("bailiwick.invocations")


class Timeline(msgspec.Struct):
    """When each stage of an invocation ended, in nanoseconds since the epoch; 0: not reached."""

    started: int = msgspec.field(default_factory=time.time_ns)
    admitted: int = 0
    inspected: int = 0
    answered: int = 0


_OPERATIONS = {"embeddings": "embeddings", "count_tokens": "count_tokens"}
"""What OpenTelemetry's conventions call an operation, by the kind of invocation; of any other of a model, `chat`."""


def are_traced() -> bool:
    """Whether anybody wants spans. To be asked once: the answer takes longer than noting times does."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def trace_invocation(
    timeline: Timeline,
    *,
    admission: Admission,
    inspection: Inspection,
    usage: Usage,
    status: Status,
    error_code: str | None,
    trace_parent: str | None,
) -> None:
    """Makes the spans of a settled invocation: the whole, and admission, inspection, dispatch and settlement in it."""
    ended = time.time_ns()
    parent = propagate.extract({"traceparent": trace_parent}) if trace_parent else None
    is_model = admission.target_kind == "model"
    operation = _OPERATIONS.get(admission.kind, "chat") if is_model else "invoke_agent"
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": usage.provider,
        "gen_ai.request.model" if is_model else "gen_ai.agent.id": admission.target_name,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "bailiwick.organization.id": encode(Prefix.ORGANIZATION, admission.organization_id),
        "bailiwick.invocation.id": encode(Prefix.TRACE, admission.id),
        "bailiwick.decision": inspection.decision.value,
        "bailiwick.findings": len(inspection.findings),
        "bailiwick.cost_usd_micros": usage.cost_micros,
    }
    if usage.cache_hit:
        attributes["bailiwick.cache_hit"] = True
    if usage.model:
        attributes["gen_ai.response.model"] = usage.model
    if admission.session_name is not None:
        attributes["gen_ai.conversation.id"] = admission.session_name
    if error_code is not None:
        attributes["error.type"] = error_code
    span = _tracer.start_span(
        f"{operation} {admission.target_name}",
        parent,
        kind=SpanKind.SERVER,
        attributes=attributes,
        start_time=timeline.started,
    )
    inside = trace.set_span_in_context(span)
    begun = timeline.started
    for name, at in (
        ("admit", timeline.admitted),
        ("inspect", timeline.inspected),
        ("dispatch", timeline.answered),
        ("settle", ended),
    ):
        if at:
            _tracer.start_span(name, inside, start_time=begun).end(at)
            begun = at
    if status is not Status.COMPLETED:
        span.set_status(StatusCode.ERROR, error_code)
    span.end(ended)
