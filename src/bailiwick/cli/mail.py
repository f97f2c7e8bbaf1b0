"""`bailiwick mail`."""

from __future__ import annotations

from bailiwick.cli.processes import with_runtime
from bailiwick.cli.serve import DataDir


def mail(*, limit: int = 20, data_dir: DataDir = None) -> None:
    """Shows the latest e-mails, newest first, sent or stored.

    Parameters
    ----------
    limit
        How many.
    """
    from rich.console import Console

    from bailiwick import identity

    console = Console()
    for item in with_runtime(data_dir, lambda: identity.list_mails(limit=limit)):
        state = f"sent {item.sent_at:%Y-%m-%d %H:%M}" if item.sent_at else "stored"
        console.print(f"{item.recipient}: {item.subject} ({state})", style="bold", markup=False, soft_wrap=True)
        # Unbroken, so that a link can be followed and a line cut out by a program.
        console.print(item.body.rstrip() + "\n", markup=False, highlight=False, soft_wrap=True)
