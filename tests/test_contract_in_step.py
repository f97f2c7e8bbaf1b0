"""`contract/` and what is served: the same text, the same addresses, nothing missing of what is claimed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.contract import documents
from tests.api.served import own_document, served_operations

_CHECKOUT = Path(__file__).parents[1]
_SHARED = _CHECKOUT.parent / "shared"
_COVERAGE = _SHARED / "tools" / "contract-coverage"
# What is served of these is whole.
_WHOLE = {"hosted-agents": 13, "Auth": 9}


@pytest.mark.skipif(not (_SHARED / "contract").is_dir(), reason="no shared contract beside the checkout")
def test_the_contract_is_the_shared_one() -> None:
    ours, theirs = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (_CHECKOUT / "contract", _SHARED / "contract")
    )
    assert ours.keys() == theirs.keys()
    assert [path for path, content in ours.items() if content != theirs[path]] == []


def test_each_operation_stands_where_its_contract_says() -> None:
    """`document` refuses another address; an operation id that no contract knows is one of ours."""
    places = {
        item[method]["operationId"]: (method, path)
        for contract in documents().values()
        for path, item in contract["paths"].items()
        for method in item
        if isinstance(item[method], dict) and "operationId" in item[method]
    }
    served = {name: (method, path) for name, (contract, method, path) in served_operations().items() if contract}
    assert {name: places[name] for name in served} == served


def test_the_whole_of_hosted_agents_and_of_auth_is_served() -> None:
    served = own_document()["paths"]
    claimed = {
        "hosted-agents": [
            (path, method)
            for path, item in documents()["hosted-agents"]["paths"].items()
            for method in item
            if isinstance(item[method], dict) and "operationId" in item[method]
        ],
        "Auth": [
            (path, method)
            for path, item in documents()["governance"]["paths"].items()
            for method in item
            if isinstance(item[method], dict) and item[method].get("tags") == ["Auth"]
        ],
    }
    for name, operations in claimed.items():
        assert len(operations) == _WHOLE[name]
        assert [place for place in operations if place[1] not in served.get(place[0], {})] == []


@pytest.mark.skipif(not _COVERAGE.is_file(), reason="no coverage tool beside the checkout")
def test_the_coverage_tool_finds_nothing_missing(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "bailiwick.cli", "openapi"], cwd=tmp_path, capture_output=True, check=True, timeout=120
    ).stdout
    assert json.loads(printed) == json.loads(json.dumps(own_document()))
    document = tmp_path / "openapi.json"
    document.write_bytes(printed)
    told = subprocess.run(
        [sys.executable, str(_COVERAGE), str(document), "--contract", str(_CHECKOUT / "contract"), "--all"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    ).stdout
    served = {f"{contract}: {method.upper()} {path}" for contract, method, path in served_operations().values()}
    assert [line for line in told.splitlines() if line.partition("  --  ")[0].strip() in served] == []
    family = next(line.split() for line in told.splitlines() if line.startswith("hosted-agents"))
    assert family[1:] == ["13", "13", "13"], told
