"""What the audit log refuses."""

from __future__ import annotations

from bailiwick.kernel.errors import NotFound


class EntryNotFound(NotFound):
    """Audit entry not found."""


class LogEmpty(NotFound):
    """The audit log has no entries yet."""
