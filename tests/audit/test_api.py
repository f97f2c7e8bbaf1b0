"""`/api/v1/audit/...` over HTTP, with real credentials; an auditor's work with nothing but the answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import rfc8785
from litestar import Litestar
from sqlalchemy import update

from bailiwick import audit, identity
from bailiwick.api.control.audit import ROUTES
from bailiwick.api.errors import GOVERNANCE
from bailiwick.api.families import family_router
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction
from tests.audit import logs
from tests.audit.conftest import append_many

# `provide_caller` declares its `scope` in a way that Litestar 3 will no longer take.
pytestmark = pytest.mark.filterwarnings("ignore:.*Reserved kwarg 'scope'")


class Visitor:
    """Somebody with an organization and a token."""

    def __init__(self, member: identity.Member, access_token: str, client: httpx.AsyncClient) -> None:
        self.organization_id = member.organization_id
        self.user_id = member.user_id
        self._headers = {"authorization": f"Bearer {access_token}"}
        self._client = client

    async def get(self, path: str, **parameters: object) -> httpx.Response:
        query = {name: str(value) for name, value in parameters.items()}
        return await self._client.get(f"/api/v1/audit/{path}", params=query, headers=self._headers)

    async def read(self, path: str, **parameters: object) -> Any:
        answer = await self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def client(db: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar([family_router(GOVERNANCE, ROUTES)], openapi_config=None)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://bailiwick.test") as opened:
        yield opened


async def visitor(client: httpx.AsyncClient, name: str) -> Visitor:
    founder = identity.Founder(email=f"{name}@example.com", password="correct horse battery", name=name)
    signed_in = await identity.register(founder)
    return Visitor(signed_in.member, signed_in.tokens.access_token, client)


@pytest.fixture
async def owner(client: httpx.AsyncClient) -> Visitor:
    return await visitor(client, "owner")


def leaf_hash_of(leaf: dict[str, Any]) -> bytes:
    return hashlib.sha256(b"\x00" + rfc8785.dumps(leaf)).digest()


async def test_an_entry_is_proved_from_the_answers_alone(owner: Visitor) -> None:
    before = (await owner.read("checkpoint"))["size"]
    assert before >= 1  # the organization's creation
    appended = await append_many(owner.organization_id, 9)
    checkpoint = await owner.read("checkpoint")
    assert checkpoint["size"] == before + 9
    key = audit.VerifierKey.parse(checkpoint["verifier_key"])
    signed = audit.open_checkpoint(checkpoint["note"], key)
    assert (signed.size, signed.root.hex(), signed.origin) == (before + 9, checkpoint["root"], checkpoint["origin"])

    proof = await owner.read("proof", id=ids.encode(ids.Prefix.AUDIT_ENTRY, appended[4].id))
    assert proof["kind"] == "inclusion"
    assert proof["checkpoint"] == checkpoint
    leaf = leaf_hash_of(proof["leaf"])
    assert leaf.hex() == proof["leaf_hash"]
    hashes = [bytes.fromhex(node) for node in proof["hashes"]]
    assert audit.verify_inclusion(leaf, proof["leaf"]["sequence"], signed.size, hashes, signed.root)
    assert proof == await owner.read("proof", sequence=before + 4)


async def test_growth_is_proved_from_the_answers_alone(owner: Visitor) -> None:
    older = await owner.read("checkpoint")
    await append_many(owner.organization_id, 6)
    proof = await owner.read("proof", first=older["size"])
    newer = await owner.read("checkpoint")
    assert proof["kind"] == "consistency"
    assert (proof["first_checkpoint"], proof["second_checkpoint"]) == (older, newer)
    hashes = [bytes.fromhex(node) for node in proof["hashes"]]
    roots = bytes.fromhex(older["root"]), bytes.fromhex(newer["root"])
    assert audit.verify_consistency(older["size"], newer["size"], hashes, *roots)
    assert (await owner.read("proof", first=2, second=5))["second_checkpoint"] is None


async def test_the_export_verifies_offline(owner: Visitor) -> None:
    kept = await owner.read("checkpoint")
    await append_many(owner.organization_id, 30)
    answer = await owner.get("export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    public_id = ids.encode(ids.Prefix.ORGANIZATION, owner.organization_id)
    assert answer.headers["content-disposition"] == f'attachment; filename="{public_id}-audit.jsonl"'
    key = audit.VerifierKey.parse(kept["verifier_key"])
    earlier = [audit.open_checkpoint(kept["note"], key)]
    lines = answer.text.splitlines(keepends=True)
    assert len(lines) == kept["size"] + 32
    assert logs.verdicts(lines, key=key, earlier=earlier) == (None, None)
    partial = (await owner.get("export", first=kept["size"])).text.splitlines(keepends=True)
    assert logs.verdicts(partial, key=key, partial=True) == (None, None)


async def test_entries_are_listed_and_their_hashes_recomputed(owner: Visitor) -> None:
    await append_many(owner.organization_id, 4)
    size = (await owner.read("checkpoint"))["size"]
    listed = await owner.read("entries")
    assert [entry["sequence"] for entry in listed["entries"]] == list(reversed(range(size)))
    for entry in listed["entries"]:
        assert entry["row_hash"] == audit.row_hash(entry["prev_hash"], audit.canonical_json(entry["body"]))
        assert entry["id"] == entry["body"]["id"]
    page = await owner.read("entries", limit=2)
    rest = await owner.read("entries", limit=100, cursor=page["next_cursor"])
    assert page["entries"] + rest["entries"] == listed["entries"]
    (created,) = (await owner.read("entries", action="organization.created"))["entries"]
    actor = created["body"]["actor"]
    assert actor == ids.encode(ids.Prefix.USER, owner.user_id)
    assert created in (await owner.read("entries", actor=actor))["entries"]
    assert (await owner.read("entries", until="2020-01-01T00:00:00Z"))["entries"] == []
    assert (await owner.read("entries", since="0001-01-01T00:00:00", chain="runs"))["entries"][0]["chain"] == "runs"


async def test_another_organization_gets_nothing_of_it(client: httpx.AsyncClient, owner: Visitor) -> None:
    stranger = await visitor(client, "stranger")
    *_, theirs = await append_many(owner.organization_id, 9)
    public_id = ids.encode(ids.Prefix.AUDIT_ENTRY, theirs.id)
    assert (await owner.get("proof", id=public_id)).status_code == 200
    refused = await stranger.get("proof", id=public_id)
    assert (refused.status_code, refused.json()) == (404, {"error": "Audit entry not found", "code": "E_NOT_FOUND"})
    sequence = (await owner.read("checkpoint"))["size"] - 1
    assert (await owner.get("proof", sequence=sequence)).status_code == 200
    assert (await stranger.get("proof", sequence=sequence)).status_code == 404
    listed = (await stranger.read("entries"))["entries"]
    assert listed
    assert public_id not in {entry["id"] for entry in listed}
    exported = [json.loads(line) for line in (await stranger.get("export")).text.splitlines()[1:-1]]
    assert {entry["organization_id"] for entry in exported} == {str(stranger.organization_id)}
    assert (await owner.read("checkpoint"))["origin"] != (await stranger.read("checkpoint"))["origin"]


async def test_a_viewer_proves_but_does_not_read_the_log(client: httpx.AsyncClient) -> None:
    founder = identity.Founder(email="viewer@example.com", password="correct horse battery", name="viewer")
    signed_in = await identity.register(founder)
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        await session.execute(
            update(identity.Membership)
            .where(identity.Membership.id == signed_in.member.membership_id)
            .values(role=identity.Role.VIEWER.value)
        )
    tokens = await identity.refresh(signed_in.tokens.refresh_token)
    viewer = Visitor(signed_in.member, tokens.access_token, client)
    assert (await viewer.read("proof", sequence=0))["checkpoint"] == await viewer.read("checkpoint")
    for path in ("export", "entries"):
        assert (await viewer.get(path)).status_code == 403


WRONG: list[tuple[str, dict[str, object]]] = [
    ("proof", {}),
    ("proof", {"id": "aud_0", "sequence": 0}),
    ("proof", {"sequence": 0, "first": 0}),
    ("proof", {"second": 1}),
    ("proof", {"sequence": -1}),
    ("proof", {"sequence": "x"}),
    ("proof", {"sequence": 2**64}),
    ("proof", {"sequence": 0, "size": 0}),
    ("proof", {"sequence": 0, "size": 99}),
    ("proof", {"first": 99}),
    ("proof", {"first": 0, "second": 99}),
    ("proof", {"id": "\x00"}),
    ("export", {"first": 99}),
    ("export", {"first": -1}),
    ("entries", {"limit": 0}),
    ("entries", {"limit": 101}),
    ("entries", {"cursor": "!"}),
    ("entries", {"cursor": "ä"}),
    ("entries", {"since": "yesterday"}),
    ("entries", {"chain": "other"}),
    ("entries", {"action": "a" * 101}),
    ("entries", {"action": "\x00"}),
]


async def test_what_is_wrong_is_refused_and_what_is_unknown_not_found(owner: Visitor) -> None:
    """One log for all of them: none of these may change it."""
    before = await owner.read("checkpoint")
    answered = {}
    for path, parameters in WRONG:
        refused = await owner.get(path, **parameters)
        answered[path, str(parameters)] = refused.status_code, refused.json()["code"]
    assert set(answered.values()) == {(400, "E_VALIDATION_FAILED")}, answered
    for identifier in ("", "aud_0", "usr_" + "0" * 26, "aud_" + "Z" * 26, "aud_" + "0" * 26):
        assert (await owner.get("proof", id=identifier)).status_code == 404, identifier
    for odd in ("", "' or 1=1 --", "😀"):
        assert (await owner.read("entries", actor=odd))["entries"] == []
    assert await owner.read("checkpoint") == before


async def test_nobody_reads_without_a_token(client: httpx.AsyncClient) -> None:
    for path in ("checkpoint", "proof", "export", "entries"):
        assert (await client.get(f"/api/v1/audit/{path}")).status_code == 401
