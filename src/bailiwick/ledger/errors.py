"""What can go wrong with money.

    InsufficientFunds 402   the account would fall below its floor
    BudgetExceeded    429   a budget would pass its limit
    AccountNotFound, HoldNotFound, TransferNotFound, BudgetNotFound   404
    AccountClosed, AccountInUse, LedgerMismatch, TransferConflict, HoldConflict, HoldClosed, NotCorrectable   409

When several apply: a conflict with what stands under the same id, then "not found", then "closed", then the ledgers,
then funds, then budgets (in the order of their ids).
"""

from __future__ import annotations

from uuid import UUID

from bailiwick.kernel.errors import BailiwickError, Conflict, NotFound


class InsufficientFunds(BailiwickError):
    """The account has not enough left."""

    status, code = 402, "INSUFFICIENT_FUNDS"

    def __init__(self, *, account_id: UUID, needed: int, available: int) -> None:
        super().__init__(f"The account has {available} left; {needed} is needed.")
        self.account_id, self.needed, self.available = account_id, needed, available


class BudgetExceeded(BailiwickError):
    """A budget has not enough left."""

    status, code = 429, "BUDGET_EXCEEDED"

    def __init__(self, *, budget_id: UUID, unit: str, needed: int, remaining: int) -> None:
        super().__init__(f"The budget has {remaining} {unit} left; {needed} is needed.")
        self.budget_id, self.unit, self.needed, self.remaining = budget_id, unit, needed, remaining


class AccountNotFound(NotFound):
    """There is no such account."""


class HoldNotFound(NotFound):
    """There is no such hold."""


class TransferNotFound(NotFound):
    """There is no such transfer."""


class BudgetNotFound(NotFound):
    """There is no such budget."""


class AccountClosed(Conflict):
    """The account is closed: it takes no transfers and no holds."""

    code = "ACCOUNT_CLOSED"


class AccountInUse(Conflict):
    """The account still has a balance or open holds, so it cannot be closed."""

    code = "ACCOUNT_IN_USE"


class LedgerMismatch(Conflict):
    """The accounts are of different ledgers; exchange is two linked transfers, one in each."""

    code = "LEDGER_MISMATCH"


class TransferConflict(Conflict):
    """A transfer with this id exists and has other contents."""

    code = "TRANSFER_CONFLICT"


class HoldConflict(Conflict):
    """A hold with this id exists and has other contents."""

    code = "HOLD_CONFLICT"


class HoldClosed(Conflict):
    """The hold was already closed in another way."""

    code = "HOLD_CLOSED"

    def __init__(self, *, hold_id: UUID, state: str) -> None:
        super().__init__(f"The hold is already {state}.")
        self.hold_id, self.state = hold_id, state


class NotCorrectable(Conflict):
    """A correction is not corrected itself; make the right transfer anew."""

    code = "NOT_CORRECTABLE"
