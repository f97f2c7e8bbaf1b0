"""Masking a whole text and a streamed one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bailiwick.dlp import Category, Finding, StreamMasker, mask, scan
from bailiwick.dlp.evaluate import default_dataset, read_dataset

_VALUES = [
    "SSN 123-45-6789", "MRN 00482913", "DOB 03/04/1979", "j.smith@example.com", "4111 1111 1111 1111", "John Smith",
    "+44 7700 900123", "type 2 diabetes", "203.0.113.9", "AKIA" + "IOSFODNN7EXAMPLE",
]  # fmt: skip
_pieces = st.lists(st.one_of(st.sampled_from(_VALUES), st.text(max_size=30)), max_size=12)
_KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "abcdEFGH0123+/xy" * 120 + "\n-----END RSA PRIVATE KEY-----"
_LONG = "Some ordinary words stand here. " * 12 + "{}" + " filler words follow" * 40 + _KEY + " end " * 80


_SECRETS = frozenset({Category.SECRET})


def _streamed(
    text: str, sizes: list[int], categories: frozenset[Category] = frozenset(Category)
) -> tuple[str, list[Finding]]:
    masker, position = StreamMasker(categories), 0
    pieces: list[str] = []
    while position < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(masker.feed(text[position : position + size]))
        position += size
    return "".join(pieces) + masker.flush(), masker.findings


@given(_pieces)
def test_findings_lie_inside_the_text_in_order(pieces: list[str]) -> None:
    text = " ".join(pieces)
    findings = scan(text)
    end = 0
    for finding in findings:
        assert finding.length >= 1
        assert end <= finding.offset
        end = finding.end
    assert end <= len(text)


@given(_pieces)
def test_masking_keeps_every_character_that_is_not_found(pieces: list[str]) -> None:
    text = " ".join(pieces)
    findings = scan(text)
    kept, position = [], 0
    for finding in findings:
        kept += [text[position : finding.offset], f"[REDACTED_{finding.category.value}]"]
        position = finding.end
    assert mask(text, findings) == "".join([*kept, text[position:]])


def test_mask_names_the_category_and_takes_findings_in_any_order() -> None:
    findings = [Finding("SSN", Category.PII, 6, 2, 1.0), Finding("API_KEY", Category.SECRET, 0, 3, 1.0)]
    assert mask("abc - 12.", findings) == "[REDACTED_SECRET] - [REDACTED_PII]."
    assert mask("plain", []) == "plain"


@pytest.mark.parametrize(
    "value",
    [
        {"ssn": 536228726, "name": "x"},
        {"name": "x", "ssn": 536228726},
        {"people": [{"ssn": 536228726}, {"ssn": 536228727}], "ok": True},
        {"arguments": json.dumps({"ssn": 536228726, "inner": json.dumps({"ssn": 536228727})})},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_number_of_json_is_masked_as_a_string_so_that_it_stays_json(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    masked = mask(text, scan(text))
    assert "53622872" not in masked

    def unwrapped(part: object) -> object:
        match part:
            case dict():
                return {key: unwrapped(inner) for key, inner in part.items()}
            case list():
                return [unwrapped(inner) for inner in part]
            case str() if part.startswith("{"):
                return unwrapped(json.loads(part))
            case 536228726 | 536228727:
                return "[REDACTED_PII]"
            case _:
                return part

    assert unwrapped(json.loads(masked)) == unwrapped(value)
    for size in (1, 7, 400):
        assert _streamed(text + " " * 300, [size])[0] == masked + " " * 300


def test_a_number_that_is_no_json_gets_no_quotes() -> None:
    for text in ("My SSN: 536228726, you know", '"ssn" 536228726}', '"ssn": 536228726 or so', "{ssn: 536228726}"):
        assert '"[' not in mask(text, scan(text))


def test_known_value_in_any_surroundings_is_found() -> None:
    @given(st.text(alphabet=st.characters(exclude_categories=["L", "N", "Pd", "Mn", "Me", "Cf"]), max_size=40))
    def check(noise: str) -> None:
        text = noise + " ssn: 123-45-6789 "
        assert "123-45-6789" in [text[finding.offset : finding.end] for finding in scan(text)]

    check()


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
@settings(max_examples=40)
def test_chunks_do_not_change_the_outcome(sizes: list[int]) -> None:
    text = (
        "Some ordinary words stand here. " * 12 + ". ".join(_VALUES) + " filler words follow" * 40 + _KEY + " end " * 80
    )
    assert _streamed(text, sizes) == _streamed(text, [len(text)])


def test_stream_masks_as_the_whole_text_is_masked() -> None:
    text = (
        "Some ordinary words stand here. " * 12 + ", ".join(_VALUES) + " filler words follow" * 40 + _KEY + " end " * 80
    )
    masked, findings = _streamed(text, [7])
    assert masked == mask(text, scan(text))
    assert findings == scan(text)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
@settings(max_examples=40)
def test_of_some_categories_only_theirs_is_masked_and_everything_found(sizes: list[int]) -> None:
    text = (
        "Some ordinary words stand here. " * 12 + ", ".join(_VALUES) + " filler words follow" * 40 + _KEY + " end " * 80
    )
    masked, findings = _streamed(text, sizes, _SECRETS)
    assert masked == mask(text, [finding for finding in scan(text) if finding.category is Category.SECRET])
    assert findings == scan(text)


@given(st.integers(0, 400), st.integers(1, 400))
@settings(max_examples=60)
def test_a_finding_is_told_before_its_text_goes_out(before: int, size: int) -> None:
    text = ("Some words. " * 40)[:before] + " SSN 123-45-6789 and so on" + " and more words" * 40
    value = text.index("123-45-6789")
    masker = StreamMasker(_SECRETS)
    given_out = ""
    for position in range(0, len(text), size):
        given_out += masker.feed(text[position : position + size])
        assert masker.findings or len(given_out) <= value
    assert given_out + masker.flush() == text
    assert [(finding.type, finding.offset, finding.length) for finding in masker.findings] == [("SSN", value, 11)]


def test_a_secret_behind_a_long_unmasked_finding_is_masked() -> None:
    address = "j" * 40 + "." + "x" * 400 + "@" + "example." * 30 + "com"
    secret = "AKIA" + "IOSFODNN7EXAMPLE"
    for gap in (" ", ",", "/", " and its key is "):
        masked, findings = _streamed(f"Mail {address}{gap}{secret} now. " + "words " * 100, [11], _SECRETS)
        assert secret not in masked
        assert address in masked
        assert sum(finding.category is Category.SECRET for finding in findings) == 1


def test_no_labelled_secret_leaks_through_a_stream() -> None:
    for entry in read_dataset(default_dataset())[:120]:
        found = [entry.text[finding.offset : finding.end] for finding in scan(entry.text)]
        masked, _ = _streamed("Filler words before the text. " * 15 + entry.text + " and after it." * 30, [5])
        for value in found:
            if len(value) > 8:
                assert value not in masked


def test_endless_private_key_is_swallowed() -> None:
    masked, findings = _streamed("before " + _KEY.replace("-----END", "-----") + "\n", [64])
    assert masked == "before [REDACTED_SECRET]"
    assert [finding.type for finding in findings] == ["PRIVATE_KEY"]


def test_stream_holds_back_a_bounded_text() -> None:
    masker = StreamMasker()
    given_out = 0
    for sent in range(0, 20_000, 10):
        given_out += len(masker.feed("some word "))
        assert sent + 10 - given_out < 320
        assert len(masker._held) + len(masker._context) < 512


def test_empty_stream() -> None:
    masker = StreamMasker()
    assert masker.feed("") == ""
    assert masker.flush() == ""
