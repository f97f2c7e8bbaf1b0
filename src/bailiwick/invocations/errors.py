"""What can go wrong with an invocation.

    InvocationError
    ├── AllowanceExhausted   429  the plan (runs or money) does not hold what this would cost
    │   └── BudgetExhausted  429  ... a budget of the key, session or member does not
    │       ├── CostLimitExceeded 429  ... the call's own limit does not
    │       └── HardCapReached    429  ... the organisation's day or month does not
    ├── MinuteTooSmall       429  the call alone is more than the key's tokens per minute
    ├── InvocationBlocked    422  inspection found what may not pass
    │   └── DlpPolicyViolation  400  ... to a model
    ├── OutputBlocked        422  ... in the answer
    │   └── DlpWithheld      403  ... of a model
    ├── KilledBySwitch       403  a kill switch is engaged for what it calls, or for who calls
    ├── TargetUnavailable    502  the agent or model did not answer
    │   ├── TargetTimeout    502  ... in time
    │   └── ProviderRefused  ...  the model's provider answered with an error of its own
    ├── HoldExpired          503  the answer came after the hold's lease
    ├── Cancelled            499  the caller went away before the answer was complete
    └── CredentialRevoked    401  the credential stopped working while the call was on its way
    RateLimited ── CallRateLimited  429  requests or tokens per minute are used up

Before the pipeline: TenantNotFound 404, TemplateNotFound 404, RunNotFound 404, BaaRequired 403, WorkspaceMismatch 403,
ModelNotAllowed 403, GatewayNotAllowed 403. Beside it:
TraceNotFound 404, KillSwitchNotFound 404, KillSwitchEngaged 409.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from bailiwick.kernel.errors import BailiwickError, Conflict, Forbidden, NotFound, RateLimited


class InvocationError(BailiwickError):
    """The invocation did not complete."""


class CredentialRevoked(InvocationError):
    """Missing or expired token."""

    status, code = 401, "UNAUTHENTICATED"


class AllowanceExhausted(InvocationError):
    """The plan's allowance is used up: runs or budget. Change the plan or wait for the next period."""

    status, code = 429, "PLAN_LIMIT_REACHED"


class BudgetExhausted(AllowanceExhausted):
    """A budget of the key, session or member does not hold what this call may cost. Raise it or wait for its reset."""

    code = "BUDGET_EXCEEDED"

    def __init__(self, budget_id: UUID | None = None) -> None:
        super().__init__()
        self.budget_id = budget_id


class CostLimitExceeded(BudgetExhausted):
    """The call's own limit (X-Intutic-Cost-Limit, max_cost_usd) does not pay for it. Raise it or ask for less."""

    code = "COST_LIMIT_EXCEEDED"


class HardCapReached(BudgetExhausted):
    """The workspace's limit for the day or month does not hold what this call may cost."""

    code = "OVERAGE_HARD_CAP_EXCEEDED"


class CallRateLimited(RateLimited):
    """The key's requests or tokens per minute are used up. Wait for the time in Retry-After."""

    def __init__(self, budget_id: UUID | None = None, *, retry_after_seconds: int = 60) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)
        self.budget_id = budget_id


class MinuteTooSmall(InvocationError):
    """The call needs more tokens than the key may use in a minute. Send less or raise the key's limit."""

    status, code = 429, "RATE_LIMITED"


class InvocationBlocked(InvocationError):
    """Input blocked: protected health information (PHI) detected. Please remove PHI before submitting."""

    status, code = 422, "DLP_INPUT_BLOCKED"

    def __init__(self, flags: Sequence[Mapping[str, object]]) -> None:
        super().__init__()
        self.extra = {"policy_flags": list(flags)}


class OutputBlocked(InvocationError):
    """The answer was withheld: it contained protected health information (PHI)."""

    status, code = 422, "DLP_OUTPUT_BLOCKED"


class DlpPolicyViolation(InvocationBlocked):
    """Blocked by data-loss prevention: the request holds a private key or personal health information."""

    status, code = 400, "dlp_policy_violation"


class DlpWithheld(OutputBlocked):
    """The answer was withheld: it holds a private key or personal health information."""

    status, code = 403, "policy_denied"


class KilledBySwitch(InvocationError):
    """Stopped by a kill switch. Nothing runs here until an administrator lifts it."""

    status, code = 403, "KILL_SWITCH"


class TargetUnavailable(InvocationError):
    """The model could not be reached. Please try again."""

    status, code = 502, "MODEL_UNAVAILABLE"


class TargetTimeout(TargetUnavailable):
    """The model did not answer in time. Please try again."""

    status, code = 502, "MODEL_UNAVAILABLE"


class ProviderRefused(TargetUnavailable):
    """The model's provider refused the call.

    `status` is the provider's own (400 to 599), `body` its error in the form that the client's dialect has for errors,
    `headers` (lower-case names) what may be passed on of its answer, `retry-after` among it.
    """

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"The model's provider answered with status {status}.")
        self.status = status
        self.body = body
        self.headers: Mapping[str, str] = headers or {}


class HoldExpired(InvocationError):
    """The answer came too late: its reserved amount had already been given back. Nothing was charged."""

    status, code = 503, "HOLD_EXPIRED"


class Cancelled(InvocationError):
    """The caller went away before the answer was complete."""

    status, code = 499, "CANCELLED"


class TenantNotFound(NotFound):
    """Organization not found."""

    code = "TENANT_NOT_FOUND"


class TemplateNotFound(NotFound):
    """Agent template not found"""


class RunNotFound(NotFound):
    """Run not found"""


class TraceNotFound(NotFound):
    """Trace not found"""


class KillSwitchNotFound(NotFound):
    """Kill switch not found"""


class KillSwitchEngaged(Conflict):
    """A kill switch is engaged for this already; lift that one first."""

    code = "KILL_SWITCH_ENGAGED"


class WorkspaceMismatch(Forbidden):
    """The credential belongs to another workspace than the one named in x-workspace-id."""

    code = "workspace_mismatch"


class GatewayNotAllowed(Forbidden):
    """The key's scopes do not cover this operation."""

    code = "gateway_not_allowed"


class ModelNotAllowed(Forbidden):
    """The key may not use this model."""

    code = "model_not_allowed"


class BaaRequired(Forbidden):
    """This line of business needs a signed Business Associate Agreement (BAA) before agents may run."""

    code = "BAA_REQUIRED"


REFUSALS = (
    AllowanceExhausted,
    CallRateLimited,
    MinuteTooSmall,
    InvocationBlocked,
    OutputBlocked,
    KilledBySwitch,
    ModelNotAllowed,
    GatewayNotAllowed,
    WorkspaceMismatch,
)
"""What governance refuses (KILL), as against what is wrong with a request or fails."""
