"""`GET /v1/budget/check`: would a call fit? For clients that ask before they call."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter

from bailiwick import identity
from bailiwick.api.gateway.call_headers import session_of
from bailiwick.identity import BudgetAnswer, Caller
from bailiwick.invocations import MOST_TOKENS, estimate_micros, own_session

_MICROS = 1_000_000


class BudgetCheckView(msgspec.Struct, omit_defaults=True):
    """components/schemas/BudgetCheck."""

    allowed: bool
    remaining_usd: float
    estimated_cost_usd: float
    limiting_scope: str
    reason: str | None = None

    @classmethod
    def of(cls, answer: BudgetAnswer, estimated_micros: int) -> BudgetCheckView:
        """An answer for a call that may cost so much."""
        left = answer.narrowest.left / _MICROS
        estimate = estimated_micros / _MICROS
        return cls(
            allowed=answer.allowed,
            remaining_usd=left,
            estimated_cost_usd=estimate,
            limiting_scope=answer.scope,
            reason=None
            if answer.allowed
            else f"The call may cost {estimate:.6f} USD; the budget ({answer.scope}) has {left:.6f} USD left.",
        )


@get("/v1/budget/check", operation_id="governance_proxy_budget_check", scope="proxy")
async def check_budget(
    caller: NamedDependency[Caller],
    *,
    model: Annotated[str, QueryParameter(max_length=256)] = "default",
    estimated_tokens: Annotated[int, QueryParameter(ge=0, le=MOST_TOKENS)] = 1,
    session_header: Annotated[str, HeaderParameter(name="x-session-id")] = "",
) -> BudgetCheckView:
    """The price of so many input tokens and the output that the model's family answers with, plus 20 percent, against
    the narrowest budget of key, session, member and workspace, those that a call with the same header would count on.
    Changes nothing."""
    estimated_micros = estimate_micros(model, estimated_tokens)
    session_name = session_of({"x-session-id": session_header}) or own_session(caller)
    answer = await identity.check_budget(caller, estimated_micros=estimated_micros, session_name=session_name)
    return BudgetCheckView.of(answer, estimated_micros)


ROUTES = [check_budget]
