"""Keyset paging: opaque cursors over (id) in falling or rising order."""

from __future__ import annotations

import base64
import binascii
from uuid import UUID

from bailiwick.kernel.errors import InvalidInput


def encode_cursor(identifier: UUID) -> str:
    """An opaque cursor that stands after the row `identifier`."""
    return base64.urlsafe_b64encode(identifier.bytes).decode().rstrip("=")


def decode_cursor(cursor: str, *, field: str = "cursor") -> UUID:
    """The row that a cursor stands after. Raises InvalidInput."""
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        raise InvalidInput.of(field, "is no cursor of this list") from None
