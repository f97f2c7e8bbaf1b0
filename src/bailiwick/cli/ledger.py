"""`bailiwick ledger`."""

from __future__ import annotations

import sys

from cyclopts import App

from bailiwick.cli.processes import with_runtime
from bailiwick.cli.serve import DataDir

app = App(name="ledger", help="The double-entry ledger.")


@app.command
def check(*, data_dir: DataDir = None) -> None:
    """Proves the books of the whole installation; exit status 1 when anything contradicts. Safe beside a server."""
    from rich.console import Console
    from rich.table import Table

    from bailiwick import ledger

    console = Console()
    report = with_runtime(data_dir, ledger.check)
    console.print(
        f"{report.organizations} organisations, {report.accounts} accounts, {report.transfers} transfers,"
        f" {report.holds} holds, {report.budgets} budgets"
    )
    if report.clean:
        console.print("[green]The books balance:[/] every sum is zero, every account at or above its floor.")
        return
    table = Table("Problem", "Organisation", "Subject", "Expected", "Found")
    for problem in report.problems:
        table.add_row(
            ledger.MEANINGS[problem.problem],
            str(problem.organization_id),
            str(problem.subject or ""),
            str(problem.expected),
            str(problem.found),
        )
    console.print(table)
    console.print(f"[red]{sum(report.counts.values())} problems[/]")
    sys.exit(1)
