"""What a template may know of its organisation: the latest audit entries, policies, settings and log events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from bailiwick import audit, identity, logsources
from bailiwick.kernel import ids
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.registry.templates import AuditFact, LogEvent, Need, PolicyFact, TemplateContext
from bailiwick.settings import settings

_MOST_ENTRIES = 500
_LOG = "audit"  # both chains share the numbers of the organisation's log
_MOST_EVENTS = 500
_LOOK_BACK = timedelta(days=120)


async def load_context(organization_id: UUID, needs: frozenset[Need]) -> TemplateContext:
    """Loads what `needs` names and nothing else; the newest entries and events, bounded."""
    moment = now()
    async with tenant_transaction(organization_id) as session:
        organization = await identity.get_organization(session, organization_id)
    return TemplateContext(
        organization_name=organization.name,
        now=moment,
        audit_entries=await _audit_facts(organization_id, moment) if Need.AUDIT in needs else (),
        policies=_built_in_policies(organization.created_at) if Need.POLICIES in needs else (),
        settings=_settings_facts(organization) if Need.SETTINGS in needs else {},
        log_events=await _log_events(organization_id, moment) if Need.LOG_EVENTS in needs else (),
    )


async def _audit_facts(organization_id: UUID, moment: datetime) -> Sequence[AuditFact]:
    facts: list[AuditFact] = []
    cursor: str | None = None
    while len(facts) < _MOST_ENTRIES:
        page = await audit.list_entries(organization_id, since=moment - _LOOK_BACK, cursor=cursor, limit=200)
        for entry in page.entries:
            body: dict[str, Any] = json.loads(entry.body)
            facts.append(_fact(entry, body))
        cursor = page.next_cursor
        if cursor is None:
            break
    return facts


async def _log_events(organization_id: UUID, moment: datetime) -> Sequence[LogEvent]:
    events = await logsources.recent_events(
        organization_id, since=moment - _LOOK_BACK, until=moment, limit=_MOST_EVENTS
    )
    return [LogEvent(**msgspec.structs.asdict(event)) for event in events]


def _fact(entry: audit.Entry, body: Mapping[str, Any]) -> AuditFact:
    if entry.chain == "runs":
        return AuditFact(
            audit_id=body["id"],
            sequence=entry.sequence,
            chain=_LOG,
            action=body["action"],
            actor=body["user_id"],
            subject=body["agent_id"],
            at=ids.time_of(entry.id),
            attributes={
                name: body[name]
                for name in ("model_used", "tokens_used", "decision", "latency_ms", "cost_usd_micros")
                if body.get(name) is not None
            },
        )
    return AuditFact(
        audit_id=body["id"],
        sequence=entry.sequence,
        chain=_LOG,
        action=body["action"],
        actor=body["actor"],
        subject=body["subject"],
        at=ids.time_of(entry.id),
        attributes=body["attributes"],
    )


def _built_in_policies(since: datetime) -> Sequence[PolicyFact]:
    """The policies that every installation enforces on every invocation."""
    titles = (
        ("dlp-block", "Protected health information is blocked before any model sees it", "CRITICAL"),
        ("dlp-mask", "Secrets and credentials are masked in both directions", "HIGH"),
        ("budget-exceeded", "Every call reserves its worst-case cost before it is made", "HIGH"),
        ("audit-append-only", "Every change of state is appended to a hash-chained, signed log", "HIGH"),
    )
    return [
        PolicyFact(id=name, title=title, risk_tier=tier, state="active", updated_at=since)
        for name, title, tier in titles
    ]


def _settings_facts(organization: identity.Organization) -> Mapping[str, bool | int | str | datetime | None]:
    current = settings()
    return {
        "row_level_security": True,
        "secrets_encrypted": True,
        "password_hashing": "Argon2id",
        "dlp_enabled": True,
        "budgets_configured": True,
        "content_stored": organization.stores_content,
        "baa_signed": organization.baa_signed_at is not None,
        "baa_signed_at": organization.baa_signed_at,
        "vertical": organization.vertical,
        "access_token_seconds": current.access_token_seconds,
        "audit_checkpoint_seconds": current.audit_checkpoint_seconds,
        "external_identity_providers": len(current.oidc_issuers),
        "trace_export_configured": current.otlp_endpoint is not None,
    }
