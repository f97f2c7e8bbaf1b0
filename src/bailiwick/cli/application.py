"""The tree of commands. Each command's module is loaded only when it runs."""

from __future__ import annotations

from cyclopts import App

from bailiwick import __version__
from bailiwick.cli.problems import told_in_a_line

app = App(
    name="bailiwick",
    version=__version__,
    help="A self-hosted control plane for fleets of AI agents: governed, charged and proved.",
)
app.command("bailiwick.cli.serve:serve")
app.command("bailiwick.cli.serve:worker")
app.command("bailiwick.cli.migrate:migrate")
app.command("bailiwick.cli.demo:demo")
app.command("bailiwick.cli.documents:openapi")
app.command("bailiwick.cli.documents:settings_reference", name="settings")
app.command("bailiwick.cli.documents:errors_reference", name="errors")
app.command("bailiwick.cli.documents:commands_reference", name="commands")
app.command("bailiwick.cli.mail:mail")
app.command("bailiwick.cli.audit:app", name="audit")
app.command("bailiwick.cli.ledger:app", name="ledger")
app.command("bailiwick.cli.secrets:app", name="secret")
app.command("bailiwick.cli.kill_switch:app", name="kill-switch")
app.command("bailiwick.cli.bench:app", name="bench")


def main() -> None:
    """Runs the command of `sys.argv`."""
    with told_in_a_line():
        app()
