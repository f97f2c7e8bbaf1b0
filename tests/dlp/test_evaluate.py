"""The labelled set is sound, and the detectors meet their aim on its held-out part."""

from __future__ import annotations

import pytest

from bailiwick.dlp.evaluate import default_dataset, evaluate, read_dataset, run_bench


def test_set_is_large_half_clean_and_its_labels_lie_in_the_text() -> None:
    texts = read_dataset(default_dataset())
    assert len(texts) >= 600
    assert sum(entry.clean for entry in texts) >= len(texts) / 2
    for entry in texts:
        assert entry.clean == (not entry.labels)
        for label in entry.labels:
            assert label.length > 0
            assert label.offset >= 0
            assert label.offset + label.length <= len(entry.text)
    splits = [{entry.text for entry in texts if entry.split == split} for split in ("tune", "held_out")]
    assert not splits[0] & splits[1]
    assert min(map(len, splits)) > 250


def test_held_out_part_meets_the_aim() -> None:
    report = evaluate()
    assert report.phi_texts >= 50
    assert report.phi_recall >= 0.95
    assert report.clean_flagged_share <= 0.10


def test_bench_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    run_bench()
    printed = capsys.readouterr().out
    assert "PERSON_NAME" in printed
    assert "Clean texts flagged" in printed
