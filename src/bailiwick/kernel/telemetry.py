"""Logs, traces and metrics.

Logs are structured and carry no content of prompts or answers. Spans follow the OpenTelemetry GenAI conventions and are
made only when an OTLP endpoint is set. Metrics are Prometheus'; several server processes share them through files.
"""

from __future__ import annotations

import logging
import sys

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from bailiwick.settings import Settings

_SECRET_WORDS = ("authorization", "password", "secret", "token", "api_key", "message", "prompt")


def _drop_secrets(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Last wall: a log line never carries a value under a name that tells a secret or content."""
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "[hidden]"
    return event


def _drop_query(record: logging.LogRecord) -> bool:
    """Of a line of the access log, whose third part is path and query: a link that was mailed has its token there."""
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, target, *others = record.args
        record.args = (client, method, str(target).partition("?")[0], *others)
    return True


def set_up_logs(settings: Settings) -> None:
    """One line for each event, on standard error, as JSON or for a terminal."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        # Its own form of exceptions shows local variables: tokens and content.
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    level = getattr(logging, settings.log_level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _drop_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr, level=max(level, logging.WARNING), format="%(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn.access").addFilter(_drop_query)


def set_up_traces(settings: Settings) -> TracerProvider | None:
    """Sends spans to the OTLP endpoint when one is set; returns the provider, to be shut down at the end."""
    if settings.otlp_endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(
        resource=Resource.create({"service.name": "bailiwick"}),
        sampler=ParentBasedTraceIdRatio(settings.trace_sample_ratio),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    trace.set_tracer_provider(provider)
    return provider
