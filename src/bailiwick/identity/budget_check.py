"""Would a call fit? What it may cost against the narrowest budget of key, session, member and organization."""

from __future__ import annotations

import msgspec

from bailiwick.identity.callers import Caller, Credential
from bailiwick.identity.key_limits import LimitScope, MoneyLimit, money_limits
from bailiwick.kernel.database import tenant_transaction


class BudgetAnswer(msgspec.Struct, frozen=True):
    """Whether a call fits, and the budget with the least left."""

    allowed: bool
    narrowest: MoneyLimit

    @property
    def scope(self) -> LimitScope:
        """Whose budget it is."""
        return self.narrowest.scope


async def check_budget(caller: Caller, *, estimated_micros: int, session_name: str | None = None) -> BudgetAnswer:
    """Compares an estimate in micro-dollars with every ceiling in money that a call of `caller` would be held to.

    Changes nothing and reserves nothing: an answer is out of date as it is given.
    """
    async with tenant_transaction(caller.tenant) as session:
        limits = await money_limits(
            session,
            caller.tenant,
            caller.key_id if caller.credential is Credential.VIRTUAL_KEY else None,
            membership_id=caller.membership_id,
            session_name=session_name,
        )
    # There always is one: the organization's.
    return BudgetAnswer(estimated_micros <= limits[0].left, limits[0])
