"""Refusals before admission: the trace of a call that was never admitted, batched."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from bailiwick.identity import Caller
from bailiwick.invocations.statements import Statement


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a batch of refusals."""

    id: UUID
    caller: Caller
    kind: str
    target_kind: str
    target_name: str
    virtual_key_id: UUID | None
    session_name: str | None
    error_code: str
    context: str | None
    """What the caller tells of the call, as a JSON object."""


def call(statement: Statement, items: Sequence[Refusal]) -> str:
    """The call that writes a batch. Writing an item again changes nothing."""
    return statement.call(
        "invocations_refuse",
        [item.caller.tenant for item in items],
        [item.id for item in items],
        [item.kind for item in items],
        [item.target_kind for item in items],
        [item.target_name for item in items],
        [item.caller.subject for item in items],
        [item.caller.membership_id for item in items],
        [item.virtual_key_id for item in items],
        [item.session_name for item in items],
        [item.error_code for item in items],
        [item.context for item in items],
    )
