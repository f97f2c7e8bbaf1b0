"""`/api/v1/traces`: every invocation of the caller's organization, metadata only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from bailiwick import invocations
from bailiwick.identity import Caller
from bailiwick.invocations import Decision, Trace, TraceStatus
from bailiwick.kernel import ids
from bailiwick.kernel.clock import rfc3339

_LAST_OFFSET = 2**63 - 1
_HARNESSES = {
    "cursor", "claude-code", "antigravity", "n8n", "codex", "windsurf", "aider", "openhands", "openclaw", "hermes",
    "pi", "cline", "roo-code", "continue", "claude-desktop", "goose", "open-webui", "github-copilot",
}  # fmt: skip
_TASKS = {"testing", "deployment", "review", "debugging", "coding"}


def _usd(micros: int) -> float:
    return micros / 1_000_000


def _summary(trace: Trace) -> dict[str, Any]:
    """A `TraceSummary`, and of which kind, how far and for what it was."""
    summary: dict[str, Any] = {
        "traceId": ids.encode(ids.Prefix.TRACE, trace.id),
        "timestamp": rfc3339(ids.time_of(trace.id)),
        "requestedModel": invocations.requested_model(trace),
        "enforcementAction": trace.decision or Decision.BYPASS.value,
        "complianceScore": 1,
        "actualCostUsd": _usd(trace.cost_micros),
        "anomalyDetected": None,
        "kind": trace.kind,
        "target": trace.target_name,
        "status": trace.status,
        "errorCode": trace.error_code,
    }
    if trace.session_name:
        summary["sessionId"] = trace.session_name
    if trace.model:
        summary["actualModelRouted"] = trace.model
    return summary


def _dlp_finding(flag: Mapping[str, Any], trace: Trace) -> dict[str, Any]:
    """A `DlpFinding` of what inspection flagged, with the field of the request that it stood in."""
    is_secret = flag.get("category") == "secret"
    action = "redact" if is_secret else "block" if trace.status == TraceStatus.BLOCKED else "log"
    finding = {
        "category": "secret" if is_secret else "pii",
        "pattern_name": flag["type"],
        "action": action,
        "offset": flag["offset"],
        "length": flag["length"],
    }
    return finding | ({"field": flag["field"]} if "field" in flag else {})


def _from_context(context: Mapping[str, Any]) -> dict[str, str]:
    """What a caller said of a call that a `Trace` has a field for. A caller may say anything; what the field cannot
    hold stands in `context` alone."""
    words = {name: value for name, value in context.items() if isinstance(value, str)}
    told = {name: words[name] for name in ("requestId", "appId", "agentChainId") if words.get(name)}
    for name, known in (("harnessType", _HARNESSES), ("taskType", _TASKS)):
        if words.get(name) in known:
            told[name] = words[name]
    return told


def _public(prefix: ids.Prefix, identifier: Any) -> str | None:
    return None if identifier is None else ids.encode(prefix, identifier)


def _whole(trace: Trace) -> dict[str, Any]:
    """A `Trace`. `requestId` is the trace's own id unless the caller gave one."""
    summary = _summary(trace)
    context = trace.context or {}
    raw = invocations.raw_cost_micros(trace)
    usefulness = invocations.utility(trace)
    whole = {
        **summary,
        "requestId": summary["traceId"],
        "workspaceId": ids.encode(ids.Prefix.ORGANIZATION, trace.organization_id),
        "rawInputTokens": trace.input_tokens,
        "compressedInputTokens": trace.input_tokens,
        "cachedInputTokens": trace.cached_tokens,
        "outputTokens": trace.output_tokens,
        "reasoningTokens": trace.reasoning_tokens,
        "rawCostUsd": _usd(raw),
        "savingsUsd": _usd(raw - trace.cost_micros),
        "cacheHit": bool(trace.cache_hit),
        "cacheSavingsUsd": _usd(trace.cache_savings_micros or 0),
        "tokenUtility": usefulness.classification,
        "tokenUtilityScore": usefulness.confidence,
        "wasteCategory": usefulness.waste,
        "anomalyConfidenceScore": None,
        "correctivePromptCard": None,
        "harnessType": None,
        "appId": None,
        "agentChainId": None,
        "memberId": _public(ids.Prefix.MEMBERSHIP, trace.membership_id),
        "virtualKeyId": _public(ids.Prefix.VIRTUAL_KEY, trace.virtual_key_id),
        "decisionId": _public(ids.Prefix.DECISION, trace.decision_id),
        "auditId": _public(ids.Prefix.AUDIT_ENTRY, trace.audit_id),
        "userId": trace.subject,
        "provider": trace.provider,
        "timeToFirstTokenMs": trace.first_token_ms,
        "finishedAt": None if trace.finished_at is None else rfc3339(trace.finished_at),
        "dlpFindings": [_dlp_finding(flag, trace) for flag in trace.findings or []],
        "sopViolations": [],
        "toolCallMetrics": None,
        "context": context,
        "steps": [],
    }
    if trace.latency_ms is not None:
        whole["latencyMs"] = trace.latency_ms
    return whole | _from_context(context)


@get("/api/v1/traces", operation_id="governance_list_traces")
async def list_traces(
    caller: NamedDependency[Caller],
    *,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    offset: Annotated[int, QueryParameter(ge=0, le=_LAST_OFFSET)] = 0,
    since: Annotated[datetime | None, QueryParameter(description="only what is later than this")] = None,
    until: Annotated[datetime | None, QueryParameter(description="only what is not later than this")] = None,
    enforcement: Annotated[Decision | None, QueryParameter()] = None,
    model: Annotated[str | None, QueryParameter(description="the requested or the routed model")] = None,
    status: Annotated[TraceStatus | None, QueryParameter()] = None,
    session_id: Annotated[str | None, QueryParameter(name="sessionId")] = None,
    virtual_key_id: Annotated[str | None, QueryParameter(name="virtualKeyId")] = None,
) -> dict[str, Any]:
    """Newest first; `total` counts every trace that matches all filters."""
    page = await invocations.list_traces(
        caller.tenant,
        limit=limit,
        offset=offset,
        since=since,
        until=until,
        decision=enforcement,
        model=model,
        status=status,
        virtual_key_id=virtual_key_id,
        session_name=session_id,
    )
    return {
        "traces": [_summary(trace) for trace in page.traces],
        "total": page.total,
        "limit": limit,
        "offset": offset,
    }


@get("/api/v1/traces/{id:str}", operation_id="governance_get_trace")
async def get_trace(caller: NamedDependency[Caller], id: FromPath[str]) -> dict[str, Any]:
    """One trace in full."""
    return _whole(await invocations.get_trace(caller.tenant, id))


ROUTES = [list_traces, get_trace]
