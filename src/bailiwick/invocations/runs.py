"""The audited runs of an organisation: list and look-up, straight from the audit log's chain of runs."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, select

from bailiwick import audit
from bailiwick.invocations.errors import RunNotFound
from bailiwick.invocations.tables import RunCount
from bailiwick.kernel import ids
from bailiwick.kernel.database import tenant_transaction


class RunPage(msgspec.Struct, frozen=True):
    """One page of runs, newest first, and how many there are in all."""

    runs: list[dict[str, Any]]
    total: int


_LISTED = (
    "id", "agent_id", "user_id", "action", "model_used", "tokens_used", "latency_ms", "policy_flags", "created_at",
    "decision", "cost_usd_micros",
)  # fmt: skip


async def list_runs(organization_id: UUID, *, page: int, per_page: int, agent_id: str | None) -> RunPage:
    """One page (from 1) of the audited runs; `agent_id` None: of every agent."""
    async with tenant_transaction(organization_id) as session:
        counting = select(func.coalesce(func.sum(RunCount.runs), 0)).where(RunCount.organization_id == organization_id)
        if agent_id is not None:
            counting = counting.where(RunCount.agent_id == agent_id)
        total = int(await session.scalar(counting) or 0)
        offset = (page - 1) * per_page
        entries = (
            await audit.page_of_runs(session, organization_id, agent_id=agent_id, offset=offset, limit=per_page)
            if offset < total
            else []
        )
    runs = []
    for entry in entries:
        body = json.loads(entry.body)
        runs.append({name: body[name] for name in _LISTED})
    return RunPage(runs, total)


async def get_run(organization_id: UUID, run_id: str) -> dict[str, Any]:
    """One run as it was hashed, with its place in the chain. Raises RunNotFound, also for another organisation's."""
    identifier = ids.decode(ids.Prefix.AUDIT_ENTRY, run_id)
    if identifier is None:
        raise RunNotFound
    async with tenant_transaction(organization_id) as session:
        try:
            entry = await audit.find_entry(session, organization_id, entry_id=identifier)
        except audit.EntryNotFound:
            raise RunNotFound from None
    if entry.chain != "runs":
        raise RunNotFound
    run: dict[str, Any] = json.loads(entry.body)
    run["chain"] = {"prev_hash": entry.prev_hash, "row_hash": entry.row_hash}
    return run
