"""The commands as a reference: made from their signatures and docstrings."""

from __future__ import annotations

import re


def reference_markdown() -> str:
    """The page `docs/reference/cli.md`."""
    from bailiwick.cli.application import app

    page = app.generate_docs(output_format="markdown", recursive=True)
    page = re.sub(r"\A# .*\n", "# Commands\n\nMade by `bailiwick commands`.\n", page)
    # The list that follows says the same, with a sentence for each.
    page = re.sub(r"(?ms)^## Table of Contents\n.*?(?=^\*\*Commands\*\*)", "", page, count=1)
    page = re.sub(r"(?m)^(\* `.*`):[ ]*$", r"\1", page)  # a parameter that its name explains
    return re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"
