"""A simple predictor of the ledger: what a serial caller must be told, and what concurrent callers may be told."""

from __future__ import annotations

from uuid import UUID

import msgspec


class ModelHold(msgspec.Struct):
    """A hold as the predictor keeps it."""

    account: int
    amount: int
    budgets: tuple[int, ...]
    state: str = "open"
    posted: int = 0


class Model(msgspec.Struct):
    """Accounts with floor 0 that pay one sink, budgets of money (even index) and of runs (odd)."""

    balances: list[int]
    limits: list[int]
    held: list[int]
    spent: list[int]
    reserved: list[int]
    sink: int = 0
    holds: dict[UUID, ModelHold] = {}

    @classmethod
    def of(cls, balances: list[int], limits: list[int]) -> Model:
        """Funded accounts and unused budgets."""
        return cls(list(balances), list(limits), [0] * len(balances), [0] * len(limits), [0] * len(limits))

    def available(self, account: int) -> int:
        """What the account may still spend or hold."""
        return self.balances[account] - self.held[account]

    def place(self, hold_id: UUID, account: int, amount: int, budgets: tuple[int, ...]) -> str:
        """Places a hold; ok, InsufficientFunds or BudgetExceeded."""
        if self.available(account) < amount:
            return "InsufficientFunds"
        parts = {budget: amount if budget % 2 == 0 else 1 for budget in budgets}
        if any(self.spent[one] + self.reserved[one] + part > self.limits[one] for one, part in parts.items()):
            return "BudgetExceeded"
        self.held[account] += amount
        for one, part in parts.items():
            self.reserved[one] += part
        self.holds[hold_id] = ModelHold(account, amount, budgets)
        return "ok"

    def close(self, hold_id: UUID, state: str, posted: int = 0) -> str:
        """Posts, voids or expires a hold; ok, InvalidInput or HoldClosed."""
        hold = self.holds[hold_id]
        if hold.state == state and hold.posted == posted:
            return "ok"
        if hold.state != "open":
            return "HoldClosed"
        if posted > hold.amount:
            return "InvalidInput"
        hold.state, hold.posted = state, posted
        self.held[hold.account] -= hold.amount
        self.balances[hold.account] -= posted
        self.sink += posted
        for one in hold.budgets:
            self.reserved[one] -= hold.amount if one % 2 == 0 else 1
            if state == "posted":
                self.spent[one] += posted if one % 2 == 0 else 1
        return "ok"

    def transfer(self, debit: int, credit: int, amount: int) -> str:
        """Moves an amount between two accounts; ok or InsufficientFunds."""
        if self.available(debit) < amount:
            return "InsufficientFunds"
        self.balances[debit] -= amount
        self.balances[credit] += amount
        return "ok"


class Effect(msgspec.Struct, frozen=True):
    """What one call may have done to an account's available amount, and when (any monotonic clock).

    `subject`: the hold or transfer that it made, if it made one. `certain`: its success was acknowledged; otherwise its
    outcome is unknown.
    """

    subject: UUID
    account: int
    change: int
    began: float
    ended: float
    certain: bool


def least_available(initial: int, effects: list[Effect], account: int, began: float, ended: float) -> int:
    """The least that a call between `began` and `ended` can have found on the account.

    Everything that may have taken is counted; of what gave, only what was acknowledged before the call began.
    """
    least = initial
    for effect in effects:
        if effect.account != account:
            continue
        if effect.change < 0 and effect.began <= ended:
            least += effect.change
        if effect.change > 0 and effect.certain and effect.ended <= began:
            least += effect.change
    return least
