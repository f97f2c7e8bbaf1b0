"""`GET /v1/budget/check`: the estimate, the narrowest budget, and how strangers are told off."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.accounts import Account, bearer
from tests.api.conftest import Rows
from tests.api.test_keys import create

CHECK = "/v1/budget/check"


def ask(client: httpx.Client, key: str, **query: Any) -> dict[str, Any]:
    """A check that is answered."""
    answer = client.get(CHECK, headers={"x-api-key": key}, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_call_is_compared_with_the_narrowest_budget(client: httpx.Client, account: Account, rows: Rows) -> None:
    key = create(client, account.headers, budgetUsd=2, scopes=["proxy"])["key"]
    # An unknown model: 15 and 60 USD for a million tokens in and out, half as many out as in, 20 percent more.
    fits = ask(client, key, estimated_tokens=10_000)
    assert fits == {
        "allowed": True,
        "remaining_usd": 2.0,
        "estimated_cost_usd": pytest.approx(0.54),
        "limiting_scope": "key",
    }
    refused = ask(client, key, estimated_tokens=100_000)
    assert (refused["allowed"], refused["remaining_usd"], refused["limiting_scope"]) == (False, 2.0, "key")
    assert "USD left" in refused["reason"]
    in_session = client.get(CHECK, headers={"x-api-key": account.virtual_key, "x-session-id": "s1"}).json()
    assert (in_session["limiting_scope"], in_session["remaining_usd"]) == ("session", 5.0)
    assert rows.all("select 1 from budgets where scope = 'session'") == []


@pytest.mark.parametrize("session", [b"\xff", b"a\tb", b"s" * 257])
def test_a_session_that_a_call_may_not_name_is_refused(client: httpx.Client, account: Account, session: bytes) -> None:
    answer = client.get(CHECK, headers={b"x-api-key": account.virtual_key.encode(), b"x-session-id": session})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-session-id")


def test_a_known_model_is_priced_as_such(client: httpx.Client, account: Account) -> None:
    small = ask(client, account.virtual_key, model="gpt-4o-mini", estimated_tokens=100_000)["estimated_cost_usd"]
    unknown = ask(client, account.virtual_key, model="default", estimated_tokens=100_000)["estimated_cost_usd"]
    assert 0 < small < unknown / 10
    assert unknown == pytest.approx(5.4)


def test_strangers_are_told_in_the_providers_way(client: httpx.Client, account: Account) -> None:
    missing = client.get(CHECK)
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "missing_key")
    wrong = client.get(CHECK, headers=bearer("vk_wrong"))
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "unauthorized")
    assert client.get(CHECK, headers=account.headers).status_code == 200
