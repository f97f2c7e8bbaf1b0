"""Calls of models, as tests make them, and what became of them."""

from __future__ import annotations

from typing import Any

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account
from tests.api.conftest import Rows
from tests.waiting import until

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
SECRET = "AKIAIOSFODNN7EXAMPLQ"
KEY = "sk-ant-api03-Zk9wQ2xvT0hKbGFzZGZnaGprbDEyMzQ1Njc4OTA"


def chat(text: str = "Hi", **more: Any) -> dict[str, Any]:
    """A chat of one message."""
    return {"model": "fast", "messages": [{"role": "user", "content": text}], **more}


def last(rows: Rows, account: Account) -> dict[str, Any]:
    """The account's latest call, when it is over."""
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    until(lambda: not rows.all("select 1 from holds where organization_id = %s and state = 'open'", organization_id))
    return rows.all("select * from invocations where organization_id = %s order by id desc limit 1", organization_id)[0]


def books_are_right(rows: Rows, account: Account) -> None:
    """What was spent is what the traces cost, and nothing is held."""
    organization_id = decode(Prefix.ORGANIZATION, account.workspace_id)
    spent = rows.one(
        "select coalesce(-sum(balance), 0)::bigint as spent, coalesce(sum(held), 0)::bigint as held from accounts"
        " where organization_id = %s and kind = 'model_calls'",
        organization_id,
    )
    cost = rows.one(
        "select coalesce(sum(cost_micros), 0)::bigint as cost from invocations where organization_id = %s",
        organization_id,
    )
    assert (spent["spent"], spent["held"]) == (cost["cost"], 0)
