"""What can go wrong in DLP."""

from __future__ import annotations

from bailiwick.kernel.errors import Unavailable


class DlpUnavailable(Unavailable):
    """The text could not be inspected, so it may not pass. Try again; if it stays, read the server's log."""

    code = "DLP_UNAVAILABLE"
