"""What goes through the pipeline: the request, its terms, the inspected answer, the record that is settled."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

import msgspec

from bailiwick.dlp import Finding
from bailiwick.identity import Caller


class Decision(StrEnum):
    """What governance made of an invocation; the strictest wins."""

    BYPASS = "BYPASS"
    ENHANCE = "ENHANCE"
    HIJACK = "HIJACK"
    KILL = "KILL"


class Status(StrEnum):
    """The end of an invocation."""

    COMPLETED = "completed"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Charge(msgspec.Struct, frozen=True):
    """Where the money comes from and what limits it: read once, re-checked by `organization_version` at admission."""

    organization_version: int
    virtual_key_id: UUID | None
    account_id: UUID
    sink_account_id: UUID
    budget_ids: Sequence[UUID]


class Usage(msgspec.Struct):
    """What a target used so far; a stream's dispatcher keeps it current, so that a cut is charged for what was used."""

    provider: str = "bailiwick"
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    is_estimate: bool = False
    """Whether the counts are our upper bound, not what the target tells."""
    first_token_ms: int | None = None
    cached_tokens: int | None = None
    """Of the input tokens, those that the provider had cached."""
    reasoning_tokens: int | None = None
    """Of the output tokens, those that the model spent on thinking."""
    cache_hit: bool = False
    """Whether the answer came from our cache."""
    cache_savings_micros: int = 0
    """What our cache saved."""
    raw_cost_micros: int | None = None
    """What the call would have cost without savings of any kind; None: `cost_micros` and what the cache saved."""


class InspectedText(msgspec.Struct, frozen=True):
    """A text that the caller sent or gets, and the field it stands in (None: the main one)."""

    text: str
    field: str | None = None
    label: str = ""
    """Words that stand before the text and tell what it is, such as the key of a JSON object."""
    is_read_only: bool = False
    """Its author has signed it: it goes on as it is or not at all."""


class FieldFinding(msgspec.Struct, frozen=True):
    """A finding and the field it was made in."""

    finding: Finding
    field: str | None

    def as_flag(self) -> dict[str, object]:
        """The finding on the wire: type, offset and length in code points, the field unless it is the main one."""
        flag: dict[str, object] = {
            "type": self.finding.type,
            "offset": self.finding.offset,
            "length": self.finding.length,
        }
        if self.field is not None:
            flag["field"] = self.field
        return flag


class Inspection(msgspec.Struct, frozen=True):
    """What inspection made of one direction: the decision, the findings, the texts that may go on."""

    decision: Decision
    findings: Sequence[FieldFinding]
    texts: Sequence[str]


class Admission(msgspec.Struct, frozen=True):
    """One item of an admission batch."""

    id: UUID
    """Of the invocation, and of its hold."""
    caller: Caller
    organization_id: UUID
    charge: Charge
    amount_micros: int
    kind: str
    target_kind: str
    target_name: str
    tokens: int = 0
    """Reserved on budgets that count tokens."""
    session_name: str | None = None
    started: float = 0.0
    """When the invocation began, by `time.perf_counter`."""
    started_ns: int = 0
    """The same in nanoseconds since the epoch."""
    requested_model: str | None = None
    """The model that the caller asked for, where that is not `target_name`."""
    context: str | None = None
    """What the caller tells of the call, as a JSON object."""


class Admitted(msgspec.Struct, frozen=True):
    """What admission tells of the narrowest budget of money, after the reservation: micro-dollars; None: no ceiling."""

    left_micros: int | None
    limit_micros: int | None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a settlement batch."""

    admission: Admission
    status: Status
    decision: Decision
    usage: Usage
    latency_ms: int
    error_code: str | None = None
    findings: str = "[]"
    input_hash: str | None = None
    output_hash: str | None = None
    audit_id: UUID
    audit_chain: str
    audit_body: str
    audit_action: str | None
    """As the body says, of an entry of the activity chain; so is `audit_actor`."""
    audit_actor: str | None
    event_payload: str
    run_agent: str | None = None
    decision_id: UUID | None = None
    """The policy decision that explains `decision`."""
