"""What is refused changes nothing: every operation that changes something, with every kind of refusal.

Bodies are broken member by member as the contract's schema allows; the answer has the documented status and code (the
client holds it against the contract) and names the member; no row of any table is another one than before.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import PASSWORD, Account, bearer, new_email, sign_up
from tests.api.conftest import Rows
from tests.api.contract import documents
from tests.api.served import served_operations

# A body that each operation takes; what is made of it below is wrong in one way at a time.
_BODIES: dict[str, dict[str, Any]] = {
    "governance_auth_register": {"email": "a@example.com", "password": PASSWORD, "name": "Ann"},
    "governance_auth_signup": {"email": "a@example.com", "password": PASSWORD, "name": "Ann"},
    "governance_auth_login": {"email": "a@example.com", "password": PASSWORD},
    "governance_auth_refresh": {"refreshToken": "rt"},
    "governance_auth_verify_email": {"token": "t" * 64},
    "governance_auth_resend_verification": {"email": "a@example.com"},
    "governance_auth_change_password": {"currentPassword": PASSWORD, "newPassword": PASSWORD + "!"},
    "governance_update_workspace": {"name": "New name"},
    "hosted_agent_run": {"agentId": "helpdesk-tier1-triage", "message": "Router offline"},
    "hosted_provision_tenant": {"orgId": "org", "plan": "pro"},
    "hosted_create_log_source": {"sourceType": "custom_webhook", "displayName": "x", "config": {}},
    "hosted_update_log_source": {"displayName": "y"},
}
# Members that governance does not know go on untouched, so only a few of theirs can be wrong (`test_model_calls`).
_MODEL_CALLS: dict[str, dict[str, Any]] = {
    "governance_proxy_chat_completions": {"model": "none", "messages": []},
    "governance_proxy_messages": {"model": "none", "max_tokens": 1, "messages": []},
    "governance_proxy_responses": {"model": "none", "input": "x"},
    "gateway_embeddings": {"model": "none", "input": "x"},
    "gateway_count_message_tokens": {"model": "none", "messages": []},
    "gateway_count_response_tokens": {"model": "none", "input": "x"},
}
_ALL_BODIES = _BODIES | _MODEL_CALLS
_BODILESS = {"governance_auth_logout", "hosted_deprovision_tenant", "hosted_delete_log_source"}
_SIGNED = {"hosted_stripe_webhook", "log_source_receive_events"}
_PUBLIC = {operation_id for operation_id in _BODIES if operation_id.startswith("governance_auth")} - {
    "governance_auth_change_password"
}
_WRONG_VALUES: dict[str, list[Any]] = {
    "string": [1, True, None, ["x"], {"x": "y"}, 1e308, 10**400],
    "boolean": ["true", 1, None, {}],
    "object": ["x", 1, None, []],
}
_DEEP = b'{"x":' * 300 + b"1" + b"}" * 300
_NO_OBJECTS = {
    "empty": b"",
    "spaces": b"  ",
    "cut": b'{"x":',
    "text": b"hello",
    "form": b"email=a%40example.com&password=x",
    "null": b"null",
    "array": b"[]",
    "number": b"1e999999",
    "deep": _DEEP,
    "deep array": b"[" * 100_000,
    "trailing": b"{} {}",
    "single quotes": b"{'x': 1}",
    "invalid UTF-8": b'{"name":"\xff\xfe"}',
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
    "NaN": b'{"name":NaN}',
}
# Inside of a member that is a text.
_NO_TEXTS = {
    "NUL": b"a\\u0000b",
    "raw NUL": b"a\0b",
    "lone surrogate": b"\\ud800",
    "bad escape": b"\\x41",
    "LF": b"a\nb",
}


def _schema(operation_id: str) -> dict[str, Any]:
    contract, method, path = served_operations()[operation_id]
    document = documents()[contract]
    schema: dict[str, Any] = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _resolved(operation_id: str, member: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in member:
        return member
    found: dict[str, Any] = documents()[served_operations()[operation_id][0]]["components"]["schemas"][
        member["$ref"].rsplit("/", 1)[1]
    ]
    return found


def _wrong_members(operation_id: str) -> Iterator[tuple[str, Any]]:
    """A member and a value that its schema forbids."""
    for name, unresolved in _schema(operation_id)["properties"].items():
        member = _resolved(operation_id, unresolved)
        yield from ((name, value) for value in _WRONG_VALUES[member["type"]])
        if "maxLength" in member:
            yield name, "a" * (member["maxLength"] + 1)
        if member.get("minLength", 0) > 0 or "pattern" in member or "enum" in member:
            yield name, ""
        if "enum" in member or "pattern" in member:
            yield name, "No such!"
    if operation_id == "governance_update_workspace":
        yield from (("vertical", "farming"), ("baaSigned", "yes"), ("baaSigned", False), ("slug", "ends\n"))
    if operation_id.endswith("log_source"):
        yield from (("config", {"x": [1]}), ("config", {"apiKey": "x"}))


def _status(operation_id: str) -> int:
    contract, method, path = served_operations()[operation_id]
    if not contract:  # ours, beyond the contracts
        return 400
    codes = documents()[contract]["paths"][path][method]["x-error-codes"]
    return 422 if "E_VALIDATION_FAILED" in codes.get("422", ()) else 400


class Refusals:
    """Sends what is refused and sees that nothing changed."""

    def __init__(self, client: httpx.Client, rows: Rows) -> None:
        self.client, self.rows = client, rows
        self.owner, self.other = sign_up(client), sign_up(client)
        created = client.post(
            "/api/v1/log-sources",
            headers=self.owner.headers,
            json={"sourceType": "custom_webhook", "displayName": "x", "config": {}, "secretRef": "own__hook"},
        )
        self.source_id: str = created.json()["source"]["id"]
        tables = rows.all(
            "select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'public'::regnamespace"
            " and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'rate_windows' order by 1"
        )
        one = "select '{0}' as name, count(*) as rows, md5(string_agg(t::text, '|' order by t::text)) as md5 from {0} t"
        self._digest = " union all ".join(one.format(table["name"]) for table in tables) + " order by 1"
        self._before = self.digest()

    def digest(self) -> list[Any]:
        """Count and digest of every table's rows, except of the windows in which tries are counted."""
        return self.rows.all(self._digest)

    def address(self, operation_id: str) -> tuple[str, str]:
        """Method and path, with the id of the owner's source."""
        _, method, path = served_operations()[operation_id]
        return method, path.replace("{id}", self.source_id)

    def send(
        self,
        operation_id: str,
        content: bytes | None,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> httpx.Response:
        """Sends by the owner, unless other headers are given; fails when a row changed."""
        method, path = self.address(operation_id)
        sent = self.owner.headers if headers is None else headers
        answer = self.client.request(method, path, content=content, headers={**sent, "content-type": content_type})
        assert answer.status_code >= 400, (content, answer.text)
        return answer

    def check_unchanged(self) -> None:
        """Fails when any row is not as it was before."""
        changed = [table for table in self.digest() if table not in self._before]
        assert not changed, f"refusals changed {changed}"


@pytest.fixture(scope="module")
def module_rows(server: Any) -> Iterator[Rows]:
    """The running server's database."""
    opened = Rows(server.database_url)
    yield opened
    opened.close()


@pytest.fixture
def refusals(client: httpx.Client, module_rows: Rows) -> Iterator[Refusals]:
    """Fresh accounts; after each test everything must be as it was."""
    started = Refusals(client, module_rows)
    yield started
    started.check_unchanged()


def test_the_table_has_every_operation_that_changes_something() -> None:
    """Of these resources; others have tables of their own."""
    resources = ("agent", "auth", "billing", "log-sources", "provision", "runs", "stats")
    changing = {
        name
        for name, (_, method, path) in served_operations().items()
        if method != "get" and (path.split("/")[3:4] or [""])[0] in resources
    }
    proxied = {
        name for name, (_, method, path) in served_operations().items() if method != "get" and path[:4] == "/v1/"
    }
    assert changing | {"governance_update_workspace"} == set(_BODIES) | _BODILESS | _SIGNED
    assert proxied == set(_MODEL_CALLS)


@pytest.mark.parametrize("operation_id", _BODIES)
def test_a_wrong_member_is_named(refusals: Refusals, operation_id: str) -> None:
    for name in _schema(operation_id).get("required", ()):
        body = {member: value for member, value in _BODIES[operation_id].items() if member != name}
        answer = refusals.send(operation_id, json.dumps(body).encode())
        assert (answer.status_code, name in answer.json()["error"]) == (_status(operation_id), True), answer.text
    for name, value in _wrong_members(operation_id):
        body = {**copy.deepcopy(_BODIES[operation_id]), name: value}
        answer = refusals.send(operation_id, json.dumps(body).encode())
        assert answer.status_code == _status(operation_id), (name, value, answer.text)
        assert name in answer.json()["error"], (name, value, answer.text)
        if operation_id.startswith("governance"):
            assert answer.json()["details"][0]["path"].startswith(name), (name, value, answer.text)


@pytest.mark.parametrize("operation_id", _ALL_BODIES)
def test_what_is_no_object_of_texts_is_refused(refusals: Refusals, operation_id: str) -> None:
    kinds = [("application/json", content) for content in _NO_OBJECTS.values()]
    kinds += [(kind, _NO_OBJECTS["form"]) for kind in ("application/x-www-form-urlencoded", "text/plain", "x")]
    for content_type, content in kinds:
        answer = refusals.send(operation_id, content, content_type=content_type)
        assert answer.status_code == _status(operation_id), (content[:50], content_type, answer.text)
    body = _ALL_BODIES[operation_id]
    name = next(member for member, value in body.items() if isinstance(value, str))
    whole = json.dumps(body).encode()
    for kind, text in _NO_TEXTS.items():
        if operation_id == "hosted_agent_run" and kind == "NUL":
            continue  # nothing of it is stored, so it is a text like any other
        broken = json.dumps({**body, name: "@@"}).encode().replace(b'"@@"', b'"' + text + b'"')
        answer = refusals.send(operation_id, broken)
        assert answer.status_code == _status(operation_id), (broken, answer.text)
        # The last of two members of one name counts.
        twice = whole[:-1] + b', "' + name.encode() + b'":"' + text + b'"}'
        assert refusals.send(operation_id, twice).status_code == _status(operation_id)
    too_long = json.dumps({**body, "unknown": "a" * ((33 if operation_id in _MODEL_CALLS else 5) << 20)}).encode()
    assert refusals.send(operation_id, too_long).status_code == 413


@pytest.mark.parametrize("operation_id", sorted((set(_ALL_BODIES) | _BODILESS) - _PUBLIC))
def test_bad_credentials_are_refused(refusals: Refusals, operation_id: str) -> None:
    head, payload, signature = refusals.owner.access_token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "role": "OWNER", "x": 1}).encode()).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    body = json.dumps(_ALL_BODIES.get(operation_id)).encode() if operation_id in _ALL_BODIES else None
    for headers in (
        {},
        bearer("x"),
        {"authorization": "Bearer"},
        bearer(f"{head}.{forged}.{signature}"),
        bearer(f"{unsigned}.{payload}."),
        bearer(refusals.owner.virtual_key[:-1]),
        bearer(refusals.owner.refresh_token),
        {"authorization": "Basic YTpi"},
        {"x-api-key": "vk_" + "0" * 60_000},
    ):
        assert refusals.send(operation_id, body, headers).status_code == 401


def _viewer(refusals: Refusals) -> Account:
    viewer = sign_up(refusals.client)
    refusals.rows.run(
        "update memberships set role = 'VIEWER' where organization_id = %s",
        decode(Prefix.ORGANIZATION, viewer.workspace_id),
    )
    refusals._before = refusals.digest()
    return viewer


@pytest.mark.parametrize(
    ("operation_id", "code"),
    [
        ("governance_update_workspace", "E_FORBIDDEN"),
        ("hosted_provision_tenant", "INSUFFICIENT_PERMISSIONS"),
        ("hosted_deprovision_tenant", "INSUFFICIENT_PERMISSIONS"),
    ],
)
def test_lower_roles_are_refused(refusals: Refusals, operation_id: str, code: str) -> None:
    viewer = _viewer(refusals)
    body = (
        json.dumps({**_BODIES[operation_id], "orgId": viewer.workspace_id}).encode()
        if operation_id in _BODIES
        else None
    )
    answer = refusals.send(operation_id, body, viewer.headers)
    assert (answer.status_code, answer.json()["code"]) == (403, code)


def test_other_organizations_are_refused(refusals: Refusals) -> None:
    other = refusals.other.headers
    body = json.dumps(_BODIES["hosted_update_log_source"]).encode()
    changed = refusals.send("hosted_update_log_source", body, other)
    assert (changed.status_code, changed.json()["code"]) == (404, "NOT_FOUND")
    removed = refusals.send("hosted_delete_log_source", None, other)
    assert (removed.status_code, removed.json()["code"]) == (403, "FORBIDDEN")
    provisioning = json.dumps({"orgId": refusals.owner.workspace_id, "plan": "pro"}).encode()
    provisioned = refusals.send("hosted_provision_tenant", provisioning, other)
    assert (provisioned.status_code, provisioned.json()["code"]) == (403, "ORG_MISMATCH")


@pytest.mark.parametrize("signature", ["", "t=1,v1=00", "t=99999999999999999999,v1=" + "0" * 64, "v1=,t=", "t=\u00e9"])
@pytest.mark.parametrize("operation_id", sorted(_SIGNED))
def test_what_is_not_signed_is_refused(refusals: Refusals, operation_id: str, signature: str) -> None:
    headers = {"stripe-signature": signature, "bailiwick-signature": signature}
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    for content in (b"{}", b"\xff\0", _DEEP):
        method, path = refusals.address(operation_id)
        answer = refusals.client.request(method, path, content=content, headers=sent)
        assert answer.status_code == 400


def test_wrong_passwords_tokens_and_taken_names_change_nothing(refusals: Refusals) -> None:
    owner = refusals.owner
    for operation_id, body, status in (
        ("governance_auth_register", {"email": owner.email, "password": PASSWORD, "name": "x"}, 409),
        ("governance_auth_signup", {"email": owner.email.upper(), "password": PASSWORD, "name": "x"}, 409),
        ("governance_auth_login", {"email": owner.email, "password": PASSWORD + "x"}, 401),
        ("governance_auth_login", {"email": new_email(), "password": PASSWORD}, 401),
        ("governance_auth_refresh", {"refreshToken": owner.refresh_token + "x"}, 401),
        ("governance_auth_refresh", {"refreshToken": "\u00e9" * 512}, 401),
        ("governance_auth_verify_email", {"token": "f" * 64}, 400),
        ("governance_auth_resend_verification", {"email": new_email()}, 404),
        ("governance_auth_change_password", {"currentPassword": "wrong", "newPassword": PASSWORD + "!"}, 401),
        ("hosted_agent_run", {"agentId": "no-such-agent", "message": "x"}, 404),
    ):
        answer = refusals.send(operation_id, json.dumps(body).encode())
        assert answer.status_code == status, answer.text
