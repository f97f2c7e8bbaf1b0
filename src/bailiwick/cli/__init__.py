"""The command line, `bailiwick <command>`."""

from __future__ import annotations

from bailiwick.cli.application import main

__all__ = ["main"]
