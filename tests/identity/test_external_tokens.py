"""Tokens of external issuers: verified by their published keys, mapped to organizations and users of ours."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from bailiwick import identity
from bailiwick.identity import Credential, Role
from bailiwick.identity.process import process_state
from bailiwick.identity.signatures import sign
from bailiwick.kernel.database import Database
from bailiwick.kernel.errors import NoOrganization, Unauthenticated, Unavailable
from bailiwick.settings import OidcIssuer, Settings


class StubIssuer:
    """An issuer on loopback: a discovery document and the JWK set of its keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {"rsa": RSAKey.generate_key(2048, {"kid": "rsa"})}
        self.fetches = 0
        self.is_down = False
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if stub.is_down:
                    self.send_error(500)
                    return
                if self.path == "/.well-known/openid-configuration":
                    body: dict[str, Any] = {"issuer": stub.url, "jwks_uri": f"{stub.url}/keys"}
                else:
                    stub.fetches += 1
                    body = {"keys": [key.as_dict(private=False) for key in stub.keys.values()]}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def token(self, *, kid: str = "rsa", alg: str = "RS256", key: Key | None = None, **claims: Any) -> str:
        """A token of `sub` user_1 in org_1, an administrator, unless `claims` say otherwise; None leaves one out."""
        moment = int(time.time())
        everything = {
            "iss": self.url,
            "sub": "user_1",
            "org_id": "org_1",
            "org_role": "org:admin",
            "iat": moment,
            "exp": moment + 60,
            **claims,
        }
        present = {name: value for name, value in everything.items() if value is not None}
        return sign({"alg": alg, "kid": kid, "typ": "JWT", "cat": "cl_B7d4"}, present, key or self.keys[kid])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def issuer() -> Iterator[StubIssuer]:
    stub = StubIssuer()
    yield stub
    stub.close()


@pytest.fixture
def settings_for_test(tmp_path: Path, issuer: StubIssuer) -> Settings:
    issuers = [OidcIssuer(issuer=issuer.url), OidcIssuer(issuer=f"{issuer.url}/audience", audience="ours")]
    return Settings.model_validate(
        {"data_dir": tmp_path, "oidc_issuers": issuers, "outbound_allowed_hosts": [issuer.host]}
    )


def _count(db: Database, table: str) -> int:
    with psycopg.connect(db.url) as connection:
        row = connection.execute(f"select count(*) from {table}".encode()).fetchone()  # noqa: S608
        assert row is not None
        count: int = row[0]
        return count


async def test_an_organization_and_its_people_are_made_at_first_use(db: Database, issuer: StubIssuer) -> None:
    admin = await identity.authenticate(issuer.token(name="Ann", email="ann@example.com", org_slug="Acme"))
    assert (admin.credential, admin.role) == (Credential.EXTERNAL_TOKEN, Role.ADMIN)
    assert (admin.organization_name, admin.subject) == ("org_1", "user_1")
    member = await identity.authenticate(issuer.token(sub="user_2", org_role="org:member"))
    assert member.role is Role.DEVELOPER
    assert member.organization_id == admin.organization_id
    assert member.user_id != admin.user_id
    stranger = await identity.authenticate(issuer.token(org_id="org_2"))
    assert stranger.organization_id != admin.organization_id
    assert stranger.user_id == admin.user_id
    assert (await identity.read_own_member(admin)).email == "ann@example.com"
    assert (await identity.read_own_member(member)).email.endswith("@external.invalid")
    assert (await identity.read_workspace(admin)).organization.name == "Acme"
    assert _count(db, "organizations") == 2
    assert _count(db, "memberships") == 3
    assert _count(db, "accounts") == 2


async def test_racing_first_uses_make_one_of_each(db: Database, issuer: StubIssuer) -> None:
    callers = await asyncio.gather(
        *(identity.authenticate(issuer.token(sub=f"user_{index % 2}", jti=str(index))) for index in range(12))
    )
    assert len({caller.organization_id for caller in callers}) == 1
    assert len({caller.membership_id for caller in callers}) == 2
    assert (_count(db, "organizations"), _count(db, "users"), _count(db, "memberships")) == (1, 2, 2)


async def test_the_short_form_of_clerks_second_version(db: Database, issuer: StubIssuer) -> None:
    short: dict[str, Any] = {"org_id": None, "org_role": None, "v": 2, "sts": "active"}
    admin = await identity.authenticate(issuer.token(**short, o={"id": "org_1", "rol": "admin", "slg": "acme"}))
    assert (admin.organization_name, admin.role) == ("org_1", Role.ADMIN)
    member = await identity.authenticate(issuer.token(**short, o={"id": "org_1", "rol": "member"}))
    assert (member.organization_id, member.role) == (admin.organization_id, Role.DEVELOPER)


async def test_the_issuers_word_on_a_role_counts_at_once(db: Database, issuer: StubIssuer) -> None:
    assert (await identity.authenticate(issuer.token())).role is Role.ADMIN
    demoted = await identity.authenticate(issuer.token(org_role="org:member"))
    assert demoted.role is Role.DEVELOPER
    assert (await identity.read_own_member(demoted)).role is Role.DEVELOPER
    assert _count(db, "memberships") == 1


@pytest.mark.parametrize("absent", [None, ""])
async def test_a_token_without_an_organization_is_known_and_has_no_tenant(
    db: Database, issuer: StubIssuer, absent: str | None
) -> None:
    caller = await identity.authenticate(issuer.token(org_id=absent, org_role=absent))
    with pytest.raises(NoOrganization):
        _ = caller.tenant
    assert _count(db, "organizations") == 0


async def test_an_address_signs_nobody_into_an_account_of_ours(db: Database, issuer: StubIssuer) -> None:
    ours = await identity.register(identity.Founder(email="ann@example.com", password="passw0rd", name="Ann"))
    theirs = await identity.authenticate(issuer.token(email="ann@example.com", email_verified=True))
    assert theirs.user_id != ours.member.user_id
    assert theirs.organization_id != ours.member.organization_id


async def test_tokens_that_do_not_hold(db: Database, issuer: StubIssuer) -> None:
    moment = int(time.time())
    stranger = RSAKey.generate_key(2048, {"kid": "rsa"})
    secret = OctKey.import_key(str(issuer.keys["rsa"].as_dict(private=False)["n"]))
    from joserfc import jws

    confused = jws.serialize_compact(
        {"alg": "HS256", "kid": "rsa"}, json.dumps({"iss": issuer.url, "sub": "a", "exp": moment + 60}), secret
    )
    audience = f"{issuer.url}/audience"
    wrong = {
        "expired": issuer.token(exp=moment - 60),
        "not yet": issuer.token(nbf=moment + 120),
        "no expiry": issuer.token(exp=None),
        "expiry is no number": issuer.token(exp="soon"),
        "no subject": issuer.token(sub=None),
        "subject is no text": issuer.token(sub=7),
        "organization is no text": issuer.token(org_id=["org_1"]),
        "NUL in a claim": issuer.token(org_id="org_1\0"),
        "unknown issuer": issuer.token(iss="https://elsewhere.example"),
        "another key under the same id": issuer.token(key=stranger),
        "unknown key id": issuer.token(kid="other", key=stranger),
        "algorithm confusion": confused,
        "audience of nobody": issuer.token(iss=audience, aud="theirs"),
    }
    for what, token in wrong.items():
        with pytest.raises((Unauthenticated, Unavailable)):
            await identity.authenticate(token)
            pytest.fail(what)
    assert _count(db, "organizations") == 0


async def test_each_allowed_algorithm(db: Database, issuer: StubIssuer) -> None:
    issuer.keys = {
        "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
        "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
        "okp": OKPKey.generate_key("Ed25519", {"kid": "okp"}),
    }
    for kid, alg in (("rsa", "RS256"), ("ec", "ES256"), ("okp", "EdDSA")):
        assert (await identity.authenticate(issuer.token(kid=kid, alg=alg))).subject == "user_1"
    assert issuer.fetches == 1


async def test_unknown_key_ids_do_not_make_us_ask_again_and_again(db: Database, issuer: StubIssuer) -> None:
    await identity.authenticate(issuer.token())
    stranger = RSAKey.generate_key(2048, {"kid": "other"})
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await identity.authenticate(issuer.token(kid="other", key=stranger))
    assert issuer.fetches == 1
    # Once the wait is over a rotated key is found.
    process_state().issuers[issuer.url]._asked_at = float("-inf")
    issuer.keys["other"] = stranger
    assert (await identity.authenticate(issuer.token(kid="other"))).subject == "user_1"
    assert issuer.fetches == 2


async def test_an_issuer_that_is_down(db: Database, issuer: StubIssuer) -> None:
    issuer.is_down = True
    with pytest.raises(Unavailable):
        await identity.authenticate(issuer.token())
    issuer.is_down = False
    process_state().issuers[issuer.url]._asked_at = float("-inf")
    await identity.authenticate(issuer.token())
    # What is known stays known.
    issuer.is_down = True
    assert (await identity.authenticate(issuer.token(sub="user_9"))).subject == "user_9"
