"""`GET /v1/budget/check` looks at the session that a call with the same header counts on."""

from __future__ import annotations

import pytest

from tests.api.accounts import Account
from tests.api.gateways import Gateway
from tests.invocations.conftest import ModelServer


@pytest.mark.parametrize("session", [None, "", "s1", "Straße ☃"])
def test_the_session_is_that_of_a_call_with_the_same_header(
    gateway: Gateway, model: ModelServer, account: Account, session: str | None
) -> None:
    headers = {b"authorization": f"Bearer {account.virtual_key}".encode()}
    if session is not None:
        headers[b"x-session-id"] = session.encode()
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}
    called = gateway.client.post("/v1/chat/completions", headers=headers, json=body)
    assert called.status_code == 200, called.text
    checked = gateway.client.get("/v1/budget/check", headers=headers).json()
    assert checked["limiting_scope"] == "session"
    assert 0 < checked["remaining_usd"] < 5
    assert checked["remaining_usd"] == pytest.approx(float(called.headers["x-intutic-budget-remaining"]))
