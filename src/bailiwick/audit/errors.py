"""What the audit log refuses."""

from __future__ import annotations

from bailiwick.kernel.errors import NotFound


class EntryNotFound(NotFound):
    """Audit entry not found"""
