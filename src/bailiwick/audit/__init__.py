"""The audit log: hash chains, Merkle tree, signed checkpoints, proofs, export, verification.

A use case that changes state calls `append` last in its transaction. Settling invocations calls the SQL function
`audit_append` with the text of `run_body` and chain `runs`.
"""

from bailiwick.audit.checkpoint import Checkpoint, NoteInvalid, VerifierKey, open_checkpoint, origin_of
from bailiwick.audit.download import export_log
from bailiwick.audit.entries import CHAINS, Chain, Entry, activity_body, canonical_json, row_hash, run_body
from bailiwick.audit.errors import EntryNotFound
from bailiwick.audit.heads import SignedCheckpoint, make_checkpoint, make_due_checkpoints
from bailiwick.audit.installation import Verdict, verify_installation, verify_stored_log
from bailiwick.audit.log import EntryPage, Pending, append, append_all, find_entry, list_entries
from bailiwick.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from bailiwick.audit.proofs import ConsistencyProof, InclusionProof, prove_consistency, prove_inclusion
from bailiwick.audit.runs import page_of_runs
from bailiwick.audit.verify import LogBroken, VerifiedLog, verify_export

__all__ = [
    "CHAINS",
    "Chain",
    "Checkpoint",
    "ConsistencyProof",
    "Entry",
    "EntryNotFound",
    "EntryPage",
    "InclusionProof",
    "LogBroken",
    "NoteInvalid",
    "Pending",
    "SignedCheckpoint",
    "Verdict",
    "VerifiedLog",
    "VerifierKey",
    "activity_body",
    "append",
    "append_all",
    "canonical_json",
    "export_log",
    "find_entry",
    "leaf_hash",
    "list_entries",
    "make_checkpoint",
    "make_due_checkpoints",
    "open_checkpoint",
    "origin_of",
    "page_of_runs",
    "prove_consistency",
    "prove_inclusion",
    "row_hash",
    "run_body",
    "verify_consistency",
    "verify_export",
    "verify_inclusion",
    "verify_installation",
    "verify_stored_log",
]
