"""The command line: `bailiwick serve | demo | worker | migrate | audit | ledger | mail | settings | openapi | bench`."""

from __future__ import annotations

from bailiwick.cli.application import main

__all__ = ["main"]
