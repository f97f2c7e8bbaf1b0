"""Admission: the hold on what an invocation may cost and its row as `started`, in one batched statement."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from bailiwick.invocations.errors import (
    AllowanceExhausted,
    BudgetExhausted,
    CallRateLimited,
    CredentialRevoked,
    HardCapReached,
    KilledBySwitch,
)
from bailiwick.invocations.requests import Admission, Admitted
from bailiwick.kernel.errors import BailiwickError


class TermsChanged(BailiwickError):
    """The organisation changed while the call was on its way: read its terms again."""

    status, code = 409, "TERMS_CHANGED"


_SQL = (
    "select invocations_admit($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[],"
    " $8::uuid[], $9::bigint[], $10::bigint[], $11::integer[], $12::uuid[], $13::uuid[], $14::uuid[], $15::text[],"
    " $16::text[], $17::text[], $18::text[], $19::text[], $20)"
)


_PLAIN: dict[str, type[BailiwickError]] = {
    "stale": TermsChanged,
    "insufficient_funds": AllowanceExhausted,
    "allowance_exhausted": AllowanceExhausted,
    "killed": KilledBySwitch,
}


_ADMITTED = Admitted(None, None)


def _answer(outcome: str) -> Admitted | Exception:
    if outcome == "ok":
        return _ADMITTED
    match outcome.split(":"):
        case ["ok", left, limit]:
            return Admitted(int(left), int(limit))
        case ["budget_exceeded" | "hard_cap_exceeded" as word, budget_id]:
            return (BudgetExhausted if word == "budget_exceeded" else HardCapReached)(UUID(budget_id))
        case ["rate_limited", budget_id, seconds]:
            return CallRateLimited(UUID(budget_id), retry_after_seconds=max(1, int(seconds)))
        case [word]:
            return _PLAIN.get(word, CredentialRevoked)()
        case _:
            raise ValueError(outcome)


async def admit(
    connection: asyncpg.Connection[asyncpg.Record], items: Sequence[Admission], *, lease_seconds: int
) -> list[Admitted | Exception]:
    """Admits a batch: for each item what its money has left, or else TermsChanged, CredentialRevoked, KilledBySwitch,
    AllowanceExhausted (BudgetExhausted, HardCapReached) or CallRateLimited.
    """
    budget_items: list[int] = []
    budget_ids = []
    for position, item in enumerate(items, 1):
        for budget_id in dict.fromkeys(item.charge.budget_ids):
            budget_items.append(position)
            budget_ids.append(budget_id)
    outcomes: list[str] = await connection.fetchval(
        _SQL,
        [item.organization_id for item in items],
        [item.charge.organization_version for item in items],
        [item.caller.session_id for item in items],
        [item.caller.membership_id for item in items],
        [item.caller.key_id for item in items],
        [item.charge.virtual_key_id for item in items],
        [item.charge.account_id for item in items],
        [item.charge.sink_account_id for item in items],
        [item.amount_micros for item in items],
        [item.tokens for item in items],
        budget_items,
        budget_ids,
        [item.id for item in items],
        [item.hold_id for item in items],
        [item.kind for item in items],
        [item.target_kind for item in items],
        [item.target_name for item in items],
        [item.caller.subject for item in items],
        [item.session_name for item in items],
        lease_seconds,
    )
    return [_answer(outcome) for outcome in outcomes]
