"""The canonical form and the hashes of entries."""

from __future__ import annotations

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.audit.entries import canonical_json, leaf_data, row_hash
from tests.audit import logs

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)  # fmt: skip


@given(JSON)
def test_the_canonical_form_is_that_of_rfc_8785_for_every_value(value: object) -> None:
    text = canonical_json(value)
    assert text == rfc8785.dumps(value).decode()  # type: ignore[arg-type]
    assert logs.AUDITORS.canonical(json.loads(text)) == text


@pytest.mark.parametrize("value", [float("nan"), 2**53, {"a": "\ud800"}, {"\x00": 1}, ["\\u0000", "\x00"], object()])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_json(value)


def test_an_escaped_nul_in_plain_text_is_text() -> None:
    assert canonical_json(["\\u0000"]) == '["\\\\u0000"]'


def test_runs_chain_as_the_contract_says() -> None:
    """Recomputed by hand from x-audit-chain, from the run objects alone."""
    previous = "0" * 64
    for entry in logs.make_entries(9):
        if entry.chain == "runs":
            run = json.loads(entry.body)
            text = json.dumps(run, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            previous = hashlib.sha256(previous.encode() + text.encode()).hexdigest()
            assert entry.row_hash == previous
            assert "chain" not in run


def test_the_leaf_is_canonical_json_of_the_fields() -> None:
    entry = logs.make_entries(3)[2]
    value = json.loads(leaf_data(entry))
    assert rfc8785.dumps(value) == leaf_data(entry)
    assert value == {
        "chain": entry.chain,
        "id": str(entry.id),
        "organization_id": str(entry.organization_id),
        "prev_hash": entry.prev_hash,
        "row_hash": row_hash(entry.prev_hash, entry.body),
        "sequence": 2,
    }
