"""The documents do not lie: generated pages are those of the code, links lead somewhere, examples run."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bailiwick.settings import GROUPS
from tests.api.servers import Server, running_server
from tests.conftest import clone, drop

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")])
BAILIWICK = Path(sys.executable).parent / "bailiwick"
STRIPE_SECRET = "whsec_of_the_documents"
WEBHOOK_SECRET = "a-long-random-text"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _examples(page: str) -> str:
    """The page's shell examples (```sh), one after the other; those in ```console are for people."""
    return "\n".join(code for _, language, code in _FENCE.findall((ROOT / page).read_text()) if language == "sh")


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("settings.md", ["settings", "--markdown"]),
        ("errors.md", ["errors", "--markdown"]),
        ("cli.md", ["commands"]),
    ],
)
def test_generated_page_is_up_to_date(page: str, command: list[str]) -> None:
    made = subprocess.run([BAILIWICK, *command], capture_output=True, text=True, check=True, cwd=ROOT / "docs").stdout
    assert (REFERENCE / page).read_text() == made, "run `make docs`"


def test_every_setting_says_what_it_means() -> None:
    fields = {name: field for group in GROUPS for name, field in group.model_fields.items()}
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_type_of_finding_is_listed() -> None:
    """Types are the first, capital argument of what makes findings and detectors."""
    makers = {"Finding", "_found", "_kind", "_token"}
    types = {
        call.args[0].value
        for module in (ROOT / "src/bailiwick/dlp").glob("*.py")
        for call in ast.walk(ast.parse(module.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in makers and call.args
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
        if call.args[0].value.isupper()
    }
    assert len(types) > 50
    listed = set(re.findall(r"`([A-Z0-9_]+)`", (REFERENCE / "dlp.md").read_text()))
    assert types - listed == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("folder", ["how-to", "explanation", "decisions", "reference"])
def test_every_page_is_in_its_folder_s_list(folder: str) -> None:
    listed = set(_LINK.findall((ROOT / "docs" / folder / "README.md").read_text()))
    pages = {page.name for page in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
    assert pages - listed == set()


# One worker process runs them all, on one server.
_ONE_SERVER = pytest.mark.xdist_group("documents")


@pytest.fixture(scope="module")
def server(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the secrets that the examples speak of."""
    url = clone(server_url, template_database)
    with running_server(
        url,
        tmp_path_factory.mktemp("server"),
        stripe_webhook_secret=STRIPE_SECRET,
        secret_doors_webhook=WEBHOOK_SECRET,
        secret_doors_webhook__organizations="*",
    ) as started:
        yield started
    drop(server_url, url)


def _run(script: str, server: Server, folder: Path) -> str:
    """Runs examples as they stand, in a folder that looks like the checkout; what they print."""
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / ".venv" / "bin").mkdir(parents=True)
    for program in ("python", "bailiwick"):
        (folder / ".venv" / "bin" / program).symlink_to(Path(sys.executable).parent / program)
    bash = shutil.which("bash")
    assert bash is not None
    script = script.replace("http://127.0.0.1:8080", server.base_url)
    # One user for each script: the address is taken after the first.
    script = re.sub(r"(ada|grace)@example\.com(?=\",)", rf"\1.{folder.name.lower()}@example.com", script)
    done = subprocess.run(
        [bash, "-c", f"set -euo pipefail\n{script}"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@_ONE_SERVER
def test_first_call_of_the_readme(server: Server, tmp_path: Path) -> None:
    printed = _run(_examples("README.md"), server, tmp_path)
    assert '"cost_usd_micros":10000' in printed
    assert "verified: 3 entries" in printed


@_ONE_SERVER
def test_tutorial(server: Server, tmp_path: Path) -> None:
    printed = _run(_examples("docs/tutorial/first-governed-agent.md"), server, tmp_path)
    assert '"HIJACK"' in printed
    assert '"DLP_INPUT_BLOCKED"' in printed
    assert '"budgetUsd":49.98' in printed
    assert printed.count("\nholds aud_") == 3
    assert "verified: 5 entries" in printed
    assert "entries 0 to 5 hold" in printed
    assert "exit status 1" in printed


@_ONE_SERVER
def test_pushed_events(server: Server, tmp_path: Path) -> None:
    page = _examples("docs/how-to/log-sources.md")
    pushing = page[page.index("SECRET=") :]
    printed = _run(_examples("README.md") + pushing, server, tmp_path)
    assert '{"received":1,"stored":1}' in printed
    assert "ana: door opened on lab 3" in printed


@_ONE_SERVER
def test_audit_and_stripe_how_tos(server: Server, tmp_path: Path) -> None:
    stripe = _examples("docs/how-to/bill-with-stripe.md")
    trying = f"export STRIPE_WEBHOOK_SECRET={STRIPE_SECRET}\n" + stripe[stripe.index("BODY=") :]
    auditing = _examples("docs/how-to/verify-the-audit-log.md")
    printed = _run(_examples("README.md") + auditing + trying, server, tmp_path)
    assert printed.count("verified: 3 entries") == 2
    assert "entries 0 to 3 hold" in printed
    assert '"plan":"starter"' in printed
