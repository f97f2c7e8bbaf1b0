"""The audit log: hash chains, Merkle tree, signed checkpoints, proofs, export, verification.

A use case that changes state calls `append` last in its transaction. Settling invocations calls the SQL function
`audit_append` with `run_body`.
"""

from bailiwick.audit.entries import Entry, activity_body, run_body
from bailiwick.audit.errors import EntryNotFound
from bailiwick.audit.log import Pending, append, append_all, list_entries

__all__ = ["Entry", "EntryNotFound", "Pending", "activity_body", "append", "append_all", "list_entries", "run_body"]
