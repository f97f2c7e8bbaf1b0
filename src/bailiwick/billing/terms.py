"""The terms of an organisation's agent runs: what the invocation pipeline reads once and keeps until they change."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.billing.plans import Plan

# A key that was revoked by itself, as any virtual key can be, leaves the organisation without one.
LIVE_KEY = (
    "k.organization_id = t.organization_id and k.id = t.key_id and k.revoked_at is null and k.deleted_at is null"
    " and (k.expires_at is null or k.expires_at > now())"
)
_TERMS = text(
    "select t.plan, k.id as key_id, case when k.id is not null then t.account_id end as account_id, t.sink_account_id,"  # noqa: S608  our words
    " t.runs_budget_id, t.period_end, o.version as organization_version, o.vertical,"
    " o.baa_signed_at is not null as baa_signed"
    f" from tenants t join organizations o on o.id = t.organization_id left join virtual_keys k on {LIVE_KEY}"
    " where t.organization_id = :organization_id and o.deleted_at is null"
)


class Terms(msgspec.Struct, frozen=True):
    """The terms at one version of the organisation. `key_id` and `account_id` are None without a live gateway key.

    They hold until `period_end` (then: `renew_period`) and as long as the version does, which admission compares.
    """

    plan: Plan
    key_id: UUID | None
    account_id: UUID | None
    sink_account_id: UUID
    runs_budget_id: UUID
    period_end: datetime
    organization_version: int
    vertical: str
    baa_signed: bool


async def invocation_terms(session: AsyncSession, organization_id: UUID) -> Terms | None:
    """The organisation's terms; None when it was never provisioned."""
    row = (await session.execute(_TERMS, {"organization_id": organization_id})).one_or_none()
    if row is None:
        return None
    return Terms(
        plan=Plan(row.plan),
        key_id=row.key_id,
        account_id=row.account_id,
        sink_account_id=row.sink_account_id,
        runs_budget_id=row.runs_budget_id,
        period_end=row.period_end,
        organization_version=row.organization_version,
        vertical=row.vertical,
        baa_signed=row.baa_signed,
    )
