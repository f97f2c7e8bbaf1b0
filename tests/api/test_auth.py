"""Tag Auth of the governance contract, through HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import PASSWORD, Account, bearer, log_in, new_email, sign_up, sign_up_async
from tests.api.conftest import Rows, contract_client
from tests.api.servers import running_server


def _verification_token(rows: Rows, email: str) -> str:
    """The token of the latest mail to an address."""
    body: str = rows.all("select body from mails where recipient = %s order by id desc limit 1", email)[0]["body"]
    return body.split("token=")[1].split(maxsplit=1)[0]


def _me(client: httpx.Client, token: str) -> httpx.Response:
    return client.get("/api/v1/auth/me", headers=bearer(token))


# Sign-up


def test_sign_up_makes_everything_at_once(client: httpx.Client, rows: Rows) -> None:
    account = sign_up(client, name="Zoë Quell", workspaceName="Quell & Sons", signupSource="web")
    workspace, key = account.body["workspace"], account.body["apiKey"]
    assert workspace["name"] == "Quell & Sons"
    assert workspace["planTier"] == "free_trial"
    assert account.body["user"] | {"id": ""} == {
        "id": "",
        "email": account.email,
        "name": "Zoë Quell",
        "emailVerified": False,
    }
    assert key["label"] == "default"
    assert key["scopes"] == ["*"]
    assert key["key"].endswith(f"_{workspace['id']}")
    assert key["keyPrefix"] == key["key"][:12]
    organization_id = decode(Prefix.ORGANIZATION, workspace["id"])
    trial = rows.one(
        "select trial_expires_at - created_at between interval '13 days 23 hours' and interval '14 days 1 hour' as ok"
        " from organizations where id = %s",
        organization_id,
    )
    assert trial["ok"]
    accounts = rows.all("select ledger, kind, balance, floor from accounts where organization_id = %s", organization_id)
    assert sorted((one["ledger"], one["kind"], one["balance"], one["floor"]) for one in accounts) == [
        ("credits", "wallet", 0, 0),
        ("usd_micros", "virtual_key", 0, 0),
    ]
    assert rows.one("select role from memberships where organization_id = %s", organization_id)["role"] == "OWNER"
    assert rows.one("select count(*) from audit_entries where organization_id = %s", organization_id)["count"] == 1
    assert len(_verification_token(rows, account.email)) == 64
    for token in (account.access_token, account.virtual_key):
        me = _me(client, token).json()
        assert me["email"] == account.email
        assert me["role"] == "OWNER"
        assert me["workspaceId"] == workspace["id"]


def test_nothing_secret_is_stored_in_the_clear(client: httpx.Client, rows: Rows) -> None:
    account = sign_up(client)
    user = rows.one("select password_hash from users where email = %s", account.email)
    assert user["password_hash"].startswith("$argon2id$")
    for stored in (
        rows.all("select * from virtual_keys"),
        rows.all("select * from refresh_tokens"),
        rows.all("select * from sessions"),
        rows.all("select body from audit_entries"),
    ):
        assert stored
        assert account.virtual_key.split("_")[1] not in str(stored)
        assert account.refresh_token not in str(stored)


def test_one_address_signs_up_once_however_it_is_spelled(client: httpx.Client) -> None:
    email = new_email()
    sign_up(client, email=email)
    for path in ("signup", "register"):
        again = client.post(f"/api/v1/auth/{path}", json={"email": email.upper(), "password": PASSWORD, "name": "Bob"})
        assert again.status_code == 409


async def test_racing_sign_ups_of_one_address_leave_one_account(async_client: httpx.AsyncClient, rows: Rows) -> None:
    sent = {"email": new_email(), "password": PASSWORD, "name": "Racer", "workspaceName": new_email()}
    answers = await asyncio.gather(*(async_client.post("/api/v1/auth/signup", json=sent) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert rows.one("select count(*) from organizations where name = %s", sent["workspaceName"])["count"] == 1
    assert rows.one("select count(*) from mails where recipient = %s", sent["email"])["count"] == 1


WRONG_SIGN_UPS: dict[str, dict[str, Any]] = {
    "no address": {"email": "nobody"},
    "two at signs": {"email": "a@b@example.com"},
    "short password": {"password": "1234567"},
    "long password": {"password": "x" * 129},
    "no name": {"name": ""},
    "name is no text": {"name": 7},
    "null": {"name": None},
    "NUL in the name": {"name": "a\0b"},
    "NUL in a nested text": {"marketingAttribution": {"a": ["\0"]}},
}


@pytest.mark.parametrize("wrong", WRONG_SIGN_UPS.values(), ids=WRONG_SIGN_UPS.keys())
@pytest.mark.parametrize(("path", "status"), [("signup", 422), ("register", 400)])
def test_wrong_sign_ups_are_refused_and_leave_nothing(
    client: httpx.Client, rows: Rows, path: str, status: int, wrong: dict[str, Any]
) -> None:
    before = rows.one("select count(*) from users")["count"]
    sent = {"email": new_email(), "password": PASSWORD, "name": "Ann", **wrong}
    answer = client.post(f"/api/v1/auth/{path}", json=sent)
    assert answer.status_code == status
    assert rows.one("select count(*) from users")["count"] == before


def test_attribution_is_kept_unless_it_is_large(client: httpx.Client, rows: Rows) -> None:
    account = sign_up(client, marketingAttribution={"campaign": "spring", "ratio": 0.5, "list": [None, True]})
    kept = rows.one("select marketing_attribution as kept from users where email = %s", account.email)["kept"]
    assert kept == {"campaign": "spring", "ratio": 0.5, "list": [None, True]}
    sent = {"email": new_email(), "password": PASSWORD, "name": "Ann", "marketingAttribution": {"a": "x" * 9000}}
    assert client.post("/api/v1/auth/signup", json=sent).status_code == 422


RAW_BODIES = {
    "no JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "lone surrogate": b'{"email":"\\ud800@example.com","password":"12345678","name":"a"}',
    "invalid UTF-8": b'{"email":"a@example.com","password":"12345678","name":"\xff"}',
    "raw control character": b'{"email":"a@example.com","password":"12345678","name":"a\x00"}',
    "deep": b'{"marketingAttribution":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "huge number": b'{"email":"a@example.com","password":"12345678","name":"a","marketingAttribution":{"a":1e999}}',
}


@pytest.mark.parametrize("body", RAW_BODIES.values(), ids=RAW_BODIES.keys())
def test_bodies_that_cannot_be_read_are_the_clients_mistake(client: httpx.Client, body: bytes) -> None:
    for path, status in (("signup", 422), ("login", 400)):
        answer = client.post(f"/api/v1/auth/{path}", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status


def test_a_wrong_field_is_named(client: httpx.Client) -> None:
    answer = client.post("/api/v1/auth/register", json={"email": new_email(), "password": "short", "name": "Ann"})
    assert answer.json()["code"] == "E_VALIDATION_FAILED"
    assert [problem["path"] for problem in answer.json()["details"]] == ["password"]


def test_registering_gives_a_free_workspace_without_a_key(client: httpx.Client, rows: Rows) -> None:
    email = new_email()
    sent = {"email": email, "password": PASSWORD, "name": "Ann", "workspaceSlug": f"ann-{email[4:12]}"}
    answer = client.post("/api/v1/auth/register", json=sent)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["email"], body["memberId"]) == (email, body["member"]["memberId"])
    workspace = client.get("/api/v1/workspace", headers=bearer(body["accessToken"])).json()
    assert workspace["planTier"] == "free"
    assert workspace["name"] == "Ann's workspace"
    assert workspace["slug"] == sent["workspaceSlug"]
    assert workspace["trialExpiresAt"] is None
    organization_id = decode(Prefix.ORGANIZATION, body["workspaceId"])
    assert rows.one("select count(*) from virtual_keys where organization_id = %s", organization_id)["count"] == 0
    # A slug that is taken stops the whole registration.
    sent["email"] = new_email()
    refused = client.post("/api/v1/auth/register", json=sent)
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "workspaceSlug")
    assert rows.one("select count(*) from users where email = %s", sent["email"])["count"] == 0


def test_sign_up_can_be_switched_off(own_database: str, tmp_path: Path) -> None:
    with (
        running_server(own_database, tmp_path, signup_enabled="false") as server,
        contract_client(server) as client,
    ):
        sent = {"email": new_email(), "password": PASSWORD, "name": "Ann"}
        for path in ("signup", "register"):
            answer = client.post(f"/api/v1/auth/{path}", json=sent)
            assert (answer.status_code, answer.json()["code"]) == (503, "SIGNUP_DISABLED")
        looking = Rows(own_database)
        assert looking.one("select count(*) from users")["count"] == 0
        looking.close()


# Sign-in


def test_log_in_opens_a_session_of_its_own(client: httpx.Client, account: Account) -> None:
    body = log_in(client, account.email.upper())
    assert body["workspaceId"] == account.workspace_id
    assert body["member"]["lastLoginAt"] is not None
    assert body["expiresIn"] == 900
    assert _me(client, body["accessToken"]).status_code == 200
    assert _me(client, account.access_token).status_code == 200


def test_every_refused_log_in_looks_alike(client: httpx.Client, account: Account, rows: Rows) -> None:
    deactivated, disabled = sign_up(client), sign_up(client)
    rows.run(
        "update memberships set deactivated_at = now() where user_id = (select id from users where email = %s)",
        deactivated.email,
    )
    rows.run("update users set disabled_at = now() where email = %s", disabled.email)
    answers = [
        client.post("/api/v1/auth/login", json={"email": email, "password": password})
        for email, password in (
            (account.email, "wrong password"),
            (new_email(), PASSWORD),
            (deactivated.email, PASSWORD),
            (disabled.email, PASSWORD),
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


def until_limited(answers: Sequence[httpx.Response]) -> tuple[int, httpx.Response]:
    """How many came before the first that says that there were too many, and that one. The count begins anew with each
    minute of the clock, so it need not be the last."""
    return next((place, answer) for place, answer in enumerate(answers) if answer.status_code == 429)


def test_log_ins_are_counted_by_address(client: httpx.Client) -> None:
    email = new_email()
    answers = [
        client.post("/api/v1/auth/login", json={"email": spelled, "password": "wrong password"})
        for spelled in [email, email.upper()] * 12
    ]
    refused_as_usual, limited = until_limited(answers)
    assert refused_as_usual >= 10
    assert answers[0].status_code == 401
    assert limited.json()["code"] == "RATE_LIMITED"
    assert 1 <= int(limited.headers["retry-after"]) <= 60


# Tokens


def test_tokens_carry_what_every_family_reads(client: httpx.Client, account: Account) -> None:
    from joserfc import jws
    from joserfc.jwk import KeySet

    published = client.get("/.well-known/jwks.json")
    assert published.headers["content-type"].startswith("application/jwk-set+json")
    assert all("d" not in key for key in published.json()["keys"])
    with pytest.warns(Warning, match="EdDSA is deprecated"):
        verified = jws.deserialize_compact(
            account.access_token, KeySet.import_key_set(published.json()), algorithms=["EdDSA"]
        )
    import json

    claims = json.loads(verified.payload)
    expected = {
        "sub": account.user_id,
        "wid": account.workspace_id,
        "org_id": account.workspace_id,
        "workspaces": [account.workspace_id],
        "role": "OWNER",
        "org_role": "org:admin",
        "roles": ["msp_admin"],
        "scope": "*",
        "iss": claims["iss"],
    }
    assert {name: claims[name] for name in expected} == expected
    assert claims["exp"] - claims["iat"] == 900
    assert claims["sid"].startswith("ses_")


WRONG_CREDENTIALS = {
    "none": {},
    "empty": {"authorization": "Bearer"},
    "basic": {"authorization": "Basic YTpi"},
    "no token": bearer("nonsense"),
    "three parts": bearer("a.b.c"),
    "unsigned": bearer("eyJhbGciOiJub25lIn0.e30."),
    "unknown virtual key": bearer("vk_" + "0" * 32 + "_ws_01JQ0000000000000000000000"),
    "unknown API key": {"x-api-key": "ak_" + "0" * 43},
    "not ASCII": {"authorization": "Bearer \xff\xfe"},
}


@pytest.mark.parametrize("headers", WRONG_CREDENTIALS.values(), ids=WRONG_CREDENTIALS.keys())
def test_what_is_no_credential_is_401(client: httpx.Client, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for path in ("/api/v1/auth/me", "/api/v1/workspace"):
        answer = client.get(path, headers=encoded)
        assert (answer.status_code, answer.json()["code"]) == (401, "E_UNAUTHORIZED")


def test_a_changed_token_is_401(client: httpx.Client, account: Account) -> None:
    head, body, signature = account.access_token.split(".")
    other_head, other_body, _ = sign_up(client).access_token.split(".")
    assert head == other_head
    for forged in (f"{head}.{other_body}.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}."):
        assert _me(client, forged).status_code == 401


def test_refresh_tokens_rotate(client: httpx.Client, account: Account) -> None:
    tokens = client.post("/api/v1/auth/refresh", json={"refreshToken": account.refresh_token}).json()
    assert tokens["refreshToken"] != account.refresh_token
    assert _me(client, tokens["accessToken"]).status_code == 200
    again = client.post("/api/v1/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert again.status_code == 200


def test_a_refresh_token_used_twice_ends_its_session_and_no_other(
    client: httpx.Client, account: Account, rows: Rows
) -> None:
    other = log_in(client, account.email)
    tokens = client.post("/api/v1/auth/refresh", json={"refreshToken": account.refresh_token}).json()
    reused = client.post("/api/v1/auth/refresh", json={"refreshToken": account.refresh_token})
    assert (reused.status_code, reused.json()["code"]) == (401, "TOKEN_INVALID")
    for token in (account.access_token, tokens["accessToken"]):
        assert _me(client, token).status_code == 401
    assert client.post("/api/v1/auth/refresh", json={"refreshToken": tokens["refreshToken"]}).status_code == 401
    assert _me(client, other["accessToken"]).status_code == 200
    assert _me(client, account.virtual_key).status_code == 200
    told = rows.all(
        "select body from audit_entries where organization_id = %s and body like '%%session.revoked%%'",
        decode(Prefix.ORGANIZATION, account.workspace_id),
    )
    assert len(told) == 1


async def test_of_racing_refreshes_exactly_one_wins(async_client: httpx.AsyncClient) -> None:
    for _ in range(5):
        account = await sign_up_async(async_client)
        answers = await asyncio.gather(
            *(async_client.post("/api/v1/auth/refresh", json={"refreshToken": account.refresh_token}) for _ in range(5))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
        won = next(answer for answer in answers if answer.status_code == 200).json()
        # The losers' use is reuse, and nobody can tell who the thief is: the session is over.
        after = await async_client.post("/api/v1/auth/refresh", json={"refreshToken": won["refreshToken"]})
        assert (after.status_code, after.json()["code"]) == (401, "TOKEN_INVALID")


def test_old_and_unknown_refresh_tokens(client: httpx.Client, account: Account, rows: Rows) -> None:
    for nonsense in ("rt_nonsense", "x" * 100_000):
        unknown = client.post("/api/v1/auth/refresh", json={"refreshToken": nonsense})
        assert (unknown.status_code, unknown.json()["code"]) == (401, "TOKEN_INVALID")
    rows.run(
        "update refresh_tokens r set expires_at = now() from sessions s, users u"
        " where r.session_id = s.id and s.user_id = u.id and u.email = %s",
        account.email,
    )
    old = client.post("/api/v1/auth/refresh", json={"refreshToken": account.refresh_token})
    assert (old.status_code, old.json()["code"]) == (401, "TOKEN_EXPIRED")


def test_logging_out_ends_this_session_only(client: httpx.Client, account: Account) -> None:
    other = log_in(client, account.email)
    assert _me(client, account.access_token).status_code == 200
    assert client.post("/api/v1/auth/logout", headers=account.headers).json() == {"loggedOut": True}
    assert _me(client, account.access_token).status_code == 401
    assert client.post("/api/v1/auth/logout", headers=account.headers).status_code == 401
    assert client.post("/api/v1/auth/refresh", json={"refreshToken": account.refresh_token}).status_code == 401
    assert _me(client, other["accessToken"]).status_code == 200
    assert _me(client, account.virtual_key).status_code == 200


def test_operations_on_sessions_need_an_access_token(client: httpx.Client, account: Account) -> None:
    key = bearer(account.virtual_key)
    assert client.post("/api/v1/auth/logout", headers=key).status_code == 401
    sent = {"currentPassword": PASSWORD, "newPassword": "another password"}
    assert client.post("/api/v1/auth/change-password", headers=key, json=sent).status_code == 401


def test_a_changed_password_ends_every_other_session(client: httpx.Client, account: Account) -> None:
    other = log_in(client, account.email)
    assert _me(client, other["accessToken"]).status_code == 200

    def change(current: str, new: str) -> httpx.Response:
        return client.post(
            "/api/v1/auth/change-password",
            headers=account.headers,
            json={"currentPassword": current, "newPassword": new},
        )

    for guess in ("not the password", PASSWORD * 100):
        wrong = change(guess, "another password")
        assert (wrong.status_code, wrong.json()["code"]) == (401, "E_UNAUTHORIZED")
    assert change(PASSWORD, "short").status_code == 400
    assert _me(client, other["accessToken"]).status_code == 200
    assert change(PASSWORD, "another password").json() == {"changed": True}
    assert _me(client, account.access_token).status_code == 200
    assert _me(client, other["accessToken"]).status_code == 401
    assert client.post("/api/v1/auth/refresh", json={"refreshToken": other["refreshToken"]}).status_code == 401
    assert client.post("/api/v1/auth/login", json={"email": account.email, "password": PASSWORD}).status_code == 401
    log_in(client, account.email, "another password")


def test_a_removed_member_is_gone_for_me_and_stranger_elsewhere(
    client: httpx.Client, account: Account, rows: Rows
) -> None:
    rows.run(
        "update memberships set removed_at = now() where user_id = (select id from users where email = %s)",
        account.email,
    )
    rows.run(
        "select pg_notify('bailiwick', %s)", "organization:" + str(decode(Prefix.ORGANIZATION, account.workspace_id))
    )
    for token in (account.access_token, account.virtual_key):
        assert _me(client, token).status_code == 404
        assert client.get("/api/v1/workspace", headers=bearer(token)).status_code == 401


# E-mail


def test_an_address_is_verified_once(client: httpx.Client, account: Account, rows: Rows) -> None:
    token = _verification_token(rows, account.email)

    def verify(given: str) -> httpx.Response:
        return client.post("/api/v1/auth/verify-email", json={"token": given})

    for wrong in ("", "0" * 64, token[:-1], token.upper()):
        assert (verify(wrong).status_code, verify(wrong).json()["code"]) == (400, "TOKEN_INVALID")
    assert verify(token).json() == {"verified": True, "email": account.email}
    assert _me(client, account.access_token).json()["emailVerified"] is True
    assert verify(token).json()["code"] == "TOKEN_INVALID"
    again = client.post("/api/v1/auth/resend-verification", json={"email": account.email})
    assert (again.status_code, again.json()["code"]) == (409, "ALREADY_VERIFIED")


def test_a_new_verification_mail_cancels_the_one_before(client: httpx.Client, account: Account, rows: Rows) -> None:
    first = _verification_token(rows, account.email)
    assert client.post("/api/v1/auth/resend-verification", json={"email": account.email}).json() == {"sent": True}
    second = _verification_token(rows, account.email)
    assert client.post("/api/v1/auth/verify-email", json={"token": first}).status_code == 400
    rows.run("update email_verifications set expires_at = now() where used_at is null and cancelled_at is null")
    late = client.post("/api/v1/auth/verify-email", json={"token": second})
    assert (late.status_code, late.json()["code"]) == (410, "TOKEN_EXPIRED")


def test_verification_mails_are_counted_before_anything_else(client: httpx.Client) -> None:
    email = new_email()
    answers = [
        client.post("/api/v1/auth/resend-verification", json={"email": spelled})
        for spelled in [email, email.upper()] * 4
    ]
    assert answers[0].status_code == 404
    assert answers[0].json()["code"] == "USER_NOT_FOUND"
    answered_as_usual, limited = until_limited(answers)
    assert answered_as_usual >= 2
    assert limited.json()["code"] == "RATE_LIMITED"
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert client.post("/api/v1/auth/resend-verification", json={"email": "nobody"}).status_code == 400


def test_the_link_in_the_mail_asks_before_it_verifies(client: httpx.Client, account: Account, rows: Rows) -> None:
    body: str = rows.one("select body from mails where recipient = %s", account.email)["body"]
    link = next(line for line in body.splitlines() if "token=" in line)
    asked = client.get(link)
    assert asked.status_code == 200
    assert _me(client, account.access_token).json()["emailVerified"] is False
    token = link.split("token=")[1]
    assert f'value="{token}"' in asked.text
    confirmed = client.post("/verify-email", data={"token": token})
    assert confirmed.status_code == 200
    assert account.email in confirmed.text
    assert _me(client, account.access_token).json()["emailVerified"] is True
    assert client.post("/verify-email", data={"token": token}).status_code == 400
    hostile = client.get("/verify-email", params={"token": '"><script>'})
    assert "<script>" not in hostile.text


async def test_a_verification_token_is_used_once_however_many_try(async_client: httpx.AsyncClient, rows: Rows) -> None:
    account = await sign_up_async(async_client)
    token = _verification_token(rows, account.email)
    answers = await asyncio.gather(
        *(async_client.post("/api/v1/auth/verify-email", json={"token": token}) for _ in range(5)),
        async_client.post("/api/v1/auth/resend-verification", json={"email": account.email}),
    )
    assert sum(answer.status_code == 200 for answer in answers[:5]) <= 1
    assert answers[5].status_code in (200, 409)
    assert (answers[5].status_code == 409) == any(answer.status_code == 200 for answer in answers[:5])
