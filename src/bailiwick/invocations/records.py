"""The record of an ended invocation: what is settled, audited and told to the world. Never content, only hashes."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import msgspec

from bailiwick import audit
from bailiwick.dlp import Category
from bailiwick.invocations.requests import Admission, Inspection, Settlement, Status, Usage
from bailiwick.kernel.clock import now, rfc3339
from bailiwick.kernel.ids import Prefix, encode, uuid7

AGENT_RUN = "agent_run"
_json = msgspec.json.Encoder()


class Record(msgspec.Struct, frozen=True):
    """What is settled, and the public ids that name it."""

    settlement: Settlement
    audit_id: str
    flags: list[dict[str, object]]


def sha256_hex(text: str) -> str:
    """SHA-256 (hex) of the UTF-8 text; a lone surrogate, which UTF-8 does not have, counts as in WTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _findings(inspection: Inspection) -> list[dict[str, object]]:
    """The findings as a trace shows them: flags, and whether each is of a secret or of a person."""
    return [
        {**found.as_flag(), "category": "secret" if found.finding.category is Category.SECRET else "pii"}
        for found in inspection.findings
    ]


def record(
    *,
    call_kind: str,
    admission: Admission,
    main_text: str,
    inspection: Inspection,
    usage: Usage,
    output_hash: str | None,
    status: Status,
    error_code: str | None,
    latency_ms: int,
    decision_id: UUID | None = None,
) -> Record:
    """The settlement of an invocation that ended with `status`.

    A completed or blocked agent run is an entry of the runs chain, in the form of hosted-agents.yaml `Run`; every other
    end is an entry of the activity chain.
    """
    moment = now()
    audit_uuid = uuid7()
    audit_id = encode(Prefix.AUDIT_ENTRY, audit_uuid)
    flags = [finding.as_flag() for finding in inspection.findings]
    input_hash = sha256_hex(main_text)
    is_run = call_kind == AGENT_RUN and status in (Status.COMPLETED, Status.BLOCKED)
    facts: dict[str, Any] = {
        "input_hash": input_hash,
        "output_hash": output_hash,
        "model_used": usage.model if status is Status.COMPLETED else None,
        "tokens_used": usage.input_tokens + usage.output_tokens,
        "latency_ms": latency_ms,
        "decision": str(inspection.decision),
        "cost_usd_micros": usage.cost_micros,
        "invocation_id": encode(Prefix.TRACE, admission.id),
    }
    action: str | None = None
    if is_run:
        body = audit.run_body(
            {
                "id": audit_id,
                "agent_id": admission.target_name,
                "user_id": admission.caller.subject,
                "action": AGENT_RUN if status is Status.COMPLETED else f"{AGENT_RUN}_blocked",
                "policy_flags": flags,
                "created_at": rfc3339(moment),
                **facts,
            }
        )
    else:
        action = f"invocation.{status}"
        body = audit.activity_body(
            audit_uuid,
            action=action,
            actor=admission.caller.subject,
            subject=facts["invocation_id"],
            attributes={
                "kind": call_kind,
                "target": admission.target_name,
                "error_code": error_code,
                "policy_flags": flags,
                **facts,
            },
            created_at=rfc3339(moment),
        )
    event = {
        "invocation_id": facts["invocation_id"],
        "audit_id": audit_id,
        "kind": call_kind,
        "target": admission.target_name,
        "status": status,
        "decision": facts["decision"],
        "cost_usd_micros": usage.cost_micros,
    }
    settlement = Settlement(
        admission=admission,
        status=status,
        decision=inspection.decision,
        usage=usage,
        latency_ms=latency_ms,
        error_code=error_code,
        findings=_json.encode(_findings(inspection)).decode() if flags else "[]",
        input_hash=input_hash,
        output_hash=output_hash,
        audit_id=audit_uuid,
        audit_chain="runs" if is_run else "activity",
        audit_body=body,
        audit_action=action,
        audit_actor=None if is_run else admission.caller.subject,
        event_payload=_json.encode(event).decode(),
        run_agent=admission.target_name if is_run else None,
        decision_id=decision_id,
    )
    return Record(settlement, audit_id, flags)
