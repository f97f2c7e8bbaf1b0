"""Admission: the hold on what an invocation may cost, batched."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bailiwick.invocations.errors import (
    AllowanceExhausted,
    BudgetExhausted,
    CallRateLimited,
    CredentialRevoked,
    HardCapReached,
    KilledBySwitch,
)
from bailiwick.invocations.requests import Admission, Admitted
from bailiwick.invocations.statements import Statement
from bailiwick.kernel.errors import BailiwickError


class TermsChanged(BailiwickError):
    """The organisation changed while the call was on its way: read its terms again."""

    status, code = 409, "TERMS_CHANGED"


_PLAIN: dict[str, type[BailiwickError]] = {
    "stale": TermsChanged,
    "insufficient_funds": AllowanceExhausted,
    "allowance_exhausted": AllowanceExhausted,
    "killed": KilledBySwitch,
}


_ADMITTED = Admitted(None, None)


def answer(outcome: str) -> Admitted | Exception:
    """What the money of an admitted call has left, or else TermsChanged, CredentialRevoked, KilledBySwitch,
    AllowanceExhausted (BudgetExhausted, HardCapReached) or CallRateLimited.
    """
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


def _of_caller(item: Admission) -> tuple[object, ...]:
    """Who calls and what pays: the first arguments of `invocations_admit_same`, and a row of `invocation_caller`."""
    caller, charge = item.caller, item.charge
    return (
        item.organization_id,
        charge.organization_version,
        caller.session_id,
        caller.membership_id,
        caller.key_id,
        charge.virtual_key_id,
        charge.account_id,
        charge.sink_account_id,
        caller.subject,
        list(dict.fromkeys(charge.budget_ids)),
    )


def _of_call(item: Admission) -> tuple[object, ...]:
    """What is called: a row of `invocation_call`, but for the place of its caller, which comes first."""
    return (
        item.amount_micros,
        item.tokens,
        item.id,
        item.kind,
        item.target_kind,
        item.target_name,
        item.session_name,
        item.context,
    )


def call(statement: Statement, items: Sequence[Admission], lease_seconds: int) -> str:
    """The call that admits a batch; `answer` reads each element of the array that it answers."""
    # By identity: a process keeps one Caller of a credential and one Charge, so that nearly all are found the same.
    places: dict[tuple[int, int], int] = {}
    callers: list[tuple[object, ...]] = []
    calls: list[tuple[object, ...]] = []
    for item in items:
        place = places.setdefault((id(item.caller), id(item.charge)), len(callers) + 1)
        if place > len(callers):
            callers.append(_of_caller(item))
        calls.append((place, *_of_call(item)))
    if len(callers) == 1:
        amount, tokens = sum([item.amount_micros for item in items]), sum([item.tokens for item in items])
        return statement.call("invocations_admit_same", *callers[0], amount, tokens, calls, lease_seconds)
    return statement.call("invocations_admit", callers, calls, lease_seconds)
