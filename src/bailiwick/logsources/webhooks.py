"""Events that a custom webhook's sender pushes (`connectors/webhook.py` tells the form)."""

from __future__ import annotations

from uuid import UUID

import msgspec
from sqlalchemy import func, select, update

from bailiwick import audit
from bailiwick.kernel import clock, ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction, tenant_transaction
from bailiwick.kernel.ids import Prefix
from bailiwick.logsources.connectors.webhook import check_signature, read_events, read_signature
from bailiwick.logsources.errors import LogSourceDisabled, LogSourceNotFound, WebhookSignatureInvalid
from bailiwick.logsources.stored import store_events
from bailiwick.logsources.tables import LogSource
from bailiwick.secrets import SecretNotFound, secret_of


class Received(msgspec.Struct, frozen=True):
    """How many events a request held, and how many of them were new."""

    received: int
    stored: int


async def receive_events(public_id: str, signature_header: str, body: bytes) -> Received:
    """Verify, then store the events that are new. The signature is the caller's only credential, so nothing is told
    before it holds: an unknown source, one of another type and one without a secret are all WebhookSignatureInvalid.
    SecretUnavailable; after the signature LogSourceDisabled and InvalidInput, with nothing stored."""
    signature = read_signature(signature_header, now=clock.now())
    organization_id, source_id, secret_ref = await _find(public_id)
    try:
        secret = await secret_of(organization_id, secret_ref)
    except SecretNotFound:
        raise WebhookSignatureInvalid from None
    check_signature(secret, signature, body)
    events = read_events(body)
    mine = (LogSource.organization_id == organization_id, LogSource.id == source_id)
    async with tenant_transaction(organization_id) as session:
        enabled = await session.scalar(select(LogSource.enabled).where(*mine).with_for_update(key_share=True))
        if enabled is None:
            raise LogSourceNotFound
        if not enabled:
            raise LogSourceDisabled
        stored = await store_events(session, organization_id, source_id, events)
        await session.execute(
            update(LogSource).where(*mine).values(last_fetched_at=func.clock_timestamp(), fetch_error=None)
        )
        if stored:
            await audit.append(
                session,
                organization_id,
                action="log_source.events_received",
                actor="webhook",
                subject=ids.encode(Prefix.LOG_SOURCE, source_id),
                attributes={"events": stored},
            )
    return Received(received=len(events), stored=stored)


async def _find(public_id: str) -> tuple[UUID, UUID, str]:
    source_id = ids.decode(Prefix.LOG_SOURCE, public_id)
    if source_id is None:
        raise WebhookSignatureInvalid
    query = select(LogSource.organization_id, LogSource.secret_ref).where(
        LogSource.id == source_id, LogSource.source_type == "custom_webhook"
    )
    async with system_transaction(CrossTenantUse.INBOUND_WEBHOOK) as session:
        row = (await session.execute(query)).first()
    if row is None or row.secret_ref is None:
        raise WebhookSignatureInvalid
    return row.organization_id, source_id, row.secret_ref
