"""`bailiwick audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from bailiwick.cli.processes import with_runtime
from bailiwick.cli.serve import DataDir

app = App(name="audit", help="The tamper-evident audit log.")


@app.command
def export(organization: str, *, output: Path | None = None, first: int = 0, data_dir: DataDir = None) -> None:
    """Writes an organisation's log with its signed checkpoint, as JSON lines.

    Parameters
    ----------
    organization
        Public id of the organisation (ws_...).
    output
        File to write; default: standard output.
    first
        Sequence of the first entry.
    """
    from bailiwick import audit
    from bailiwick.kernel import ids

    identifier = ids.decode(ids.Prefix.ORGANIZATION, organization)
    if identifier is None:
        sys.exit(f"{organization} is no id of an organisation")

    async def run() -> None:
        # Every organisation's log begins with its creation; without this look, an export would begin one for a typo.
        if not (await audit.list_entries(identifier, limit=1)).entries:
            sys.exit(f"there is no log of an organisation {organization}")
        pieces = await audit.export_log(identifier, first=first)
        stream = output.open("w", encoding="utf-8", newline="\n") if output else sys.stdout
        try:
            async for piece in pieces:
                stream.write(piece)
        finally:
            if output:
                stream.close()

    with_runtime(data_dir, run)


@app.command
def verify(
    file: Path | None = None,
    *,
    key: str | None = None,
    checkpoint: Annotated[list[Path] | None, Parameter(help="An earlier signed checkpoint of the same log.")] = None,
    partial: bool = False,
    data_dir: DataDir = None,
) -> None:
    """Verifies an exported log offline, or, without a file, every log of this installation. Exit status 1 if broken.

    Parameters
    ----------
    file
        An export (JSON lines).
    key
        The verifier key of the log, as you noted it from /api/v1/audit/checkpoint, or a file that holds it.
    partial
        Accept an export that does not begin at the first entry.
    """
    if file is None:
        _verify_installation(data_dir)
        return
    if key is None:
        sys.exit("an export is verified against a key that you hold: --key")
    from bailiwick import audit

    try:
        held = audit.VerifierKey.parse(Path(key).read_text(encoding="utf-8").strip() if Path(key).is_file() else key)
    except (audit.NoteInvalid, ValueError) as problem:
        sys.exit(f"--key is neither a verifier key nor a file that holds one: {problem}")
    try:
        earlier = [audit.open_checkpoint(path.read_text(encoding="utf-8"), held) for path in checkpoint or ()]
        with file.open("rb") as lines:
            log = audit.verify_export(lines, held, earlier=earlier, partial=partial)
    except (audit.LogBroken, audit.NoteInvalid, ValueError) as problem:
        sys.exit(f"BROKEN: {problem}")
    print(f"verified: {log.size - log.first} entries of {log.organization}, root {log.root.hex()}")


def _verify_installation(data_dir: Path | None) -> None:
    from bailiwick import audit
    from bailiwick.kernel import ids

    async def run() -> int:
        broken = 0
        async for verdict in audit.verify_installation():
            name = ids.encode(ids.Prefix.ORGANIZATION, verdict.organization_id)
            if verdict.broken is not None:
                broken += 1
                print(f"BROKEN    {name}: {verdict.broken}")
            elif verdict.verified is not None:
                print(f"verified  {name}: {verdict.verified.size} entries")
        return broken

    if with_runtime(data_dir, run):
        sys.exit(1)
