"""The audit log: `/api/v1/audit/...`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from bailiwick import audit
from bailiwick.identity import Caller, Role
from bailiwick.kernel import ids
from bailiwick.kernel.clock import rfc3339
from bailiwick.kernel.errors import InvalidInput

_LARGEST = 2**53 - 1


class CheckpointView(msgspec.Struct, frozen=True):
    """A signed checkpoint. `note` is what is signed (C2SP tlog-checkpoint); hashes are hex."""

    origin: str
    size: int
    root: str
    note: str
    verifier_key: str
    created_at: str

    @classmethod
    def of(cls, checkpoint: audit.SignedCheckpoint) -> CheckpointView:
        return cls(
            origin=checkpoint.verifier_key.name,
            size=checkpoint.size,
            root=checkpoint.root.hex(),
            note=checkpoint.note,
            verifier_key=str(checkpoint.verifier_key),
            created_at=rfc3339(checkpoint.created_at),
        )

    @classmethod
    def of_optional(cls, checkpoint: audit.SignedCheckpoint | None) -> CheckpointView | None:
        return None if checkpoint is None else cls.of(checkpoint)


class EntryView(msgspec.Struct, frozen=True):
    """An audit entry. `body` is the hashed object; its canonical text (RFC 8785) is what `row_hash` covers."""

    id: str
    sequence: int
    chain: audit.Chain
    prev_hash: str
    row_hash: str
    body: dict[str, Any]

    @classmethod
    def of(cls, entry: audit.Entry) -> EntryView:
        return cls(
            id=ids.encode(ids.Prefix.AUDIT_ENTRY, entry.id),
            sequence=entry.sequence,
            chain=entry.chain,
            prev_hash=entry.prev_hash,
            row_hash=entry.row_hash,
            body=msgspec.json.decode(entry.body, type=dict[str, Any]),
        )


class EntryList(msgspec.Struct, frozen=True):
    """Entries, newest first. `next_cursor` is null at the end."""

    entries: list[EntryView]
    next_cursor: str | None


class LeafView(msgspec.Struct, frozen=True):
    """The fields of the tree's leaf: SHA-256 of 0x00 and their RFC 8785 JSON is `leaf_hash`."""

    chain: audit.Chain
    id: str
    organization_id: str
    prev_hash: str
    row_hash: str
    sequence: int


class InclusionView(msgspec.Struct, frozen=True, tag="inclusion", tag_field="kind"):
    """An inclusion proof (RFC 9162 §2.1.3): `hashes` from the leaf upwards, hex."""

    leaf: LeafView
    leaf_hash: str
    size: int
    root: str
    hashes: list[str]
    checkpoint: CheckpointView | None


class ConsistencyView(msgspec.Struct, frozen=True, tag="consistency", tag_field="kind"):
    """A consistency proof (RFC 9162 §2.1.4), hex."""

    first: int
    second: int
    first_root: str
    second_root: str
    hashes: list[str]
    first_checkpoint: CheckpointView | None
    second_checkpoint: CheckpointView | None


@get("/api/v1/audit/checkpoint", operation_id="audit_get_checkpoint", tags=["audit"])
async def get_checkpoint(caller: NamedDependency[Caller]) -> CheckpointView:
    """A signed checkpoint over the organization's whole log, made now when the log has grown since the last."""
    return CheckpointView.of(await audit.make_checkpoint(caller.tenant))


@get("/api/v1/audit/proof", operation_id="audit_get_proof", tags=["audit"])
async def get_proof(
    caller: NamedDependency[Caller],
    *,
    entry_id: Annotated[str | None, QueryParameter(name="id", description="audit id of the entry: aud_...")] = None,
    sequence: Annotated[int | None, QueryParameter(ge=0, le=_LARGEST, description="place of the entry")] = None,
    size: Annotated[
        int | None, QueryParameter(ge=0, le=_LARGEST, description="tree size; default: the latest checkpoint's")
    ] = None,
    first: Annotated[
        int | None, QueryParameter(ge=0, le=_LARGEST, description="older size, for a consistency proof")
    ] = None,
    second: Annotated[
        int | None, QueryParameter(ge=0, le=_LARGEST, description="newer size; default: the whole log")
    ] = None,
) -> InclusionView | ConsistencyView:
    """Proves that an entry stands in the log (`id` or `sequence`, and `size`), or that the log has only grown (`first`
    and `second`)."""
    given = [name for name, value in (("id", entry_id), ("sequence", sequence), ("first", first)) if value is not None]
    if len(given) != 1:
        raise InvalidInput("Give one of id, sequence (an inclusion proof) and first (a consistency proof).")
    if first is not None:
        return _consistency(await audit.prove_consistency(caller.tenant, first, second))
    identifier = None
    if entry_id is not None:
        identifier = ids.decode(ids.Prefix.AUDIT_ENTRY, entry_id)
        if identifier is None:
            raise audit.EntryNotFound
    return _inclusion(await audit.prove_inclusion(caller.tenant, entry_id=identifier, sequence=sequence, size=size))


def _inclusion(proof: audit.InclusionProof) -> InclusionView:
    entry = proof.entry
    return InclusionView(
        leaf=LeafView(
            chain=entry.chain,
            id=str(entry.id),
            organization_id=str(entry.organization_id),
            prev_hash=entry.prev_hash,
            row_hash=entry.row_hash,
            sequence=entry.sequence,
        ),
        leaf_hash=proof.leaf_hash.hex(),
        size=proof.size,
        root=proof.root.hex(),
        hashes=[node.hex() for node in proof.hashes],
        checkpoint=CheckpointView.of_optional(proof.checkpoint),
    )


def _consistency(proof: audit.ConsistencyProof) -> ConsistencyView:
    return ConsistencyView(
        first=proof.first,
        second=proof.second,
        first_root=proof.first_root.hex(),
        second_root=proof.second_root.hex(),
        hashes=[node.hex() for node in proof.hashes],
        first_checkpoint=CheckpointView.of_optional(proof.first_checkpoint),
        second_checkpoint=CheckpointView.of_optional(proof.second_checkpoint),
    )


@get("/api/v1/audit/export", operation_id="audit_export", tags=["audit"], min_role=Role.ADMIN)
async def export(
    caller: NamedDependency[Caller],
    first: Annotated[int, QueryParameter(ge=0, le=_LARGEST, description="sequence of the first entry wanted")] = 0,
) -> Stream:
    """The log as JSON lines, which `bailiwick audit verify` and docs/verify_audit_log.py check offline."""
    lines = await audit.export_log(caller.tenant, first=first)
    name = ids.encode(ids.Prefix.ORGANIZATION, caller.tenant)
    return Stream(
        lines,
        media_type="application/x-ndjson",
        headers={"content-disposition": f'attachment; filename="{name}-audit.jsonl"'},
    )


@get("/api/v1/audit/entries", operation_id="audit_list_entries", tags=["audit"], min_role=Role.ADMIN)
async def list_entries(
    caller: NamedDependency[Caller],
    *,
    chain: Annotated[Literal["runs", "activity"] | None, QueryParameter(description="only this chain")] = None,
    action: Annotated[str | None, QueryParameter(max_length=100, description="among entries of `activity`")] = None,
    actor: Annotated[str | None, QueryParameter(max_length=200, description="among entries of `activity`")] = None,
    since: Annotated[datetime | None, QueryParameter(description="made at or after")] = None,
    until: Annotated[datetime | None, QueryParameter(description="made before")] = None,
    cursor: Annotated[str | None, QueryParameter(max_length=100)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
) -> EntryList:
    """Entries of the caller's organization's log, newest first."""
    page = await audit.list_entries(
        caller.tenant,
        chain=chain,
        action=action,
        actor=actor,
        since=since,
        until=until,
        cursor=cursor,
        limit=limit,
    )
    return EntryList([EntryView.of(entry) for entry in page.entries], page.next_cursor)


ROUTES = [get_checkpoint, get_proof, export, list_entries]
