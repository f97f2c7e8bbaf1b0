"""Signed-up accounts for tests, with sound defaults."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import msgspec

PASSWORD = "correct horse battery"


class Account(msgspec.Struct, frozen=True):
    """A founder with their workspace on trial and its first virtual key."""

    email: str
    password: str
    access_token: str
    refresh_token: str
    workspace_id: str
    user_id: str
    virtual_key: str
    body: dict[str, Any]
    """The whole answer of sign-up."""

    @property
    def headers(self) -> dict[str, str]:
        """The access token as a header."""
        return bearer(self.access_token)


def bearer(token: str) -> dict[str, str]:
    """A credential as a header."""
    return {"authorization": f"Bearer {token}"}


def new_email() -> str:
    """An address that nobody has."""
    return f"ann.{uuid.uuid4().hex[:12]}@example.com"


def _account(response: httpx.Response, sent: dict[str, Any]) -> Account:
    assert response.status_code == 201, response.text
    body = response.json()
    return Account(
        email=sent["email"],
        password=sent["password"],
        access_token=body["accessToken"],
        refresh_token=body["refreshToken"],
        workspace_id=body["workspace"]["id"],
        user_id=body["user"]["id"],
        virtual_key=body["apiKey"]["key"],
        body=body,
    )


def sign_up(client: httpx.Client, **given: Any) -> Account:
    """A new account through the API; `given` replaces members of the request."""
    sent = {"email": new_email(), "password": PASSWORD, "name": "Ann Example", **given}
    return _account(client.post("/api/v1/auth/signup", json=sent), sent)


async def sign_up_async(client: httpx.AsyncClient, **given: Any) -> Account:
    """The same through an asynchronous client."""
    sent = {"email": new_email(), "password": PASSWORD, "name": "Ann Example", **given}
    return _account(await client.post("/api/v1/auth/signup", json=sent), sent)


def log_in(client: httpx.Client, email: str, password: str = PASSWORD) -> dict[str, Any]:
    """A further session of a user: the whole answer."""
    response = client.post("/api/v1/auth/login", json={"email": email, "password": password})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body
