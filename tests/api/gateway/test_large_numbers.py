"""Numbers that no model and no database can hold: a client may send them, and is answered all the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.accounts import Account, bearer
from tests.api.conftest import Rows
from tests.api.gateway.calls import CHAT, RESPONSES, books_are_right, chat
from tests.api.gateways import Gateway
from tests.invocations.conftest import ModelServer

HUGE = [2**31, 2**63, 10**30]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, lambda number: chat(max_tokens=number)),
        (CHAT, lambda number: chat(max_completion_tokens=number, n=2)),
        (RESPONSES, lambda number: {"model": "fast", "input": "Hi", "max_output_tokens": number}),
    ],
)
def test_as_much_output_as_nobody_can_pay_is_cut_to_what_is_there(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, *, path: str, body: Any, number: int
) -> None:
    # A new key: nothing is known yet of what its budgets have left.
    got = gateway.client.post(path, headers=bearer(gateway.key(account)), json=body(number))
    assert got.status_code == 200, got.text
    (sent,) = model.requests
    bound = sent["max_tokens"] if "max_tokens" in sent else sent["max_completion_tokens"]
    assert 0 < bound <= 2_500_000  # 5 USD, the ceiling of a session, at 2 USD for a million
    books_are_right(rows, account)


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("limits", [{}, {"rateLimitTpm": 2**31 - 1}])
def test_as_many_answers_as_nobody_can_pay_are_refused(
    gateway: Gateway, model: ModelServer, account: Account, rows: Rows, *, number: int, limits: dict[str, Any]
) -> None:
    got = gateway.client.post(CHAT, headers=bearer(gateway.key(account, **limits)), json=chat(n=number))
    assert got.status_code == 429, got.text
    assert model.requests == []
    books_are_right(rows, account)
