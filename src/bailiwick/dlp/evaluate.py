"""Measures the detectors on the labelled set: recall, precision, over-redaction and speed.

Figures are of the held-out split, whose sentence forms were not looked at while tuning.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from importlib import resources
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bailiwick.dlp.engine import scan, warm_up
from bailiwick.dlp.findings import Category, Finding, is_blocking_phi


class Label(msgspec.Struct, frozen=True):
    """A value that a text holds; offset and length in code points."""

    type: str
    offset: int
    length: int


class LabelledText(msgspec.Struct, frozen=True):
    """One line of the set. `split` is `tune` or `held_out`; `clean` says that there is nothing to find."""

    text: str
    labels: list[Label]
    split: str
    clean: bool


class TypeScore(msgspec.Struct):
    """Counts of one type. A finding is right when it overlaps a label of its type."""

    labelled: int = 0
    found: int = 0
    reported: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Found labels of all labels; 1 when there is none."""
        return self.found / self.labelled if self.labelled else 1.0

    @property
    def precision(self) -> float:
        """Right findings of all findings; 1 when there is none."""
        return self.right / self.reported if self.reported else 1.0


class Report(msgspec.Struct):
    """What `evaluate` measured. Shares lie in 0..1, times are µs for 1,000 characters.

    The first two times are of the clean texts joined (full of near misses), the `dense` ones of
    the others, some twenty findings in 1,000 characters.
    """

    texts: int
    clean_texts: int
    by_type: dict[str, TypeScore]
    phi_texts: int
    phi_texts_blocked: int
    other_texts_blocked: int
    clean_texts_flagged: int
    clean_texts_blocked: int
    clean_characters_masked_share: float
    microseconds_per_kb_p50: float
    microseconds_per_kb_p95: float
    dense_microseconds_per_kb_p50: float
    dense_microseconds_per_kb_p95: float

    @property
    def phi_recall(self) -> float:
        """Share of the texts that must be blocked that are."""
        return self.phi_texts_blocked / self.phi_texts if self.phi_texts else 1.0

    @property
    def clean_flagged_share(self) -> float:
        """Share of the clean texts with any finding."""
        return self.clean_texts_flagged / self.clean_texts if self.clean_texts else 0.0


def default_dataset() -> Path:
    """The set that is shipped with the package."""
    return Path(str(resources.files("bailiwick.dlp").joinpath("data", "labelled.jsonl")))


def read_dataset(path: Path) -> list[LabelledText]:
    """All texts of a JSONL file; raises `msgspec.DecodeError` on a line of another shape."""
    decoder = msgspec.json.Decoder(LabelledText)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line.strip()]


def evaluate(dataset_path: Path | None = None, *, split: str = "held_out") -> Report:
    """Scans every text of a split and compares with its labels. Secrets of one form may bear another secret's name."""
    texts = [entry for entry in read_dataset(dataset_path or default_dataset()) if entry.split == split]
    scores: dict[str, TypeScore] = defaultdict(TypeScore)
    phi = phi_blocked = other_blocked = flagged = clean_blocked = masked = clean_characters = 0
    for entry in texts:
        findings = scan(entry.text)
        _count(entry.labels, findings, scores)
        blocked = is_blocking_phi(findings)
        if _must_block(entry.labels):
            phi += 1
            phi_blocked += blocked
        elif blocked:
            other_blocked += 1
        if entry.clean:
            clean_characters += len(entry.text)
            masked += sum(finding.length for finding in findings)
            flagged += bool(findings)
            clean_blocked += blocked
    p50, p95 = _speed([entry.text for entry in texts if entry.clean])
    dense_p50, dense_p95 = _speed([entry.text for entry in texts if not entry.clean])
    return Report(
        texts=len(texts),
        clean_texts=sum(entry.clean for entry in texts),
        by_type=dict(sorted(scores.items())),
        phi_texts=phi,
        phi_texts_blocked=phi_blocked,
        other_texts_blocked=other_blocked,
        clean_texts_flagged=flagged,
        clean_texts_blocked=clean_blocked,
        clean_characters_masked_share=masked / clean_characters if clean_characters else 0.0,
        microseconds_per_kb_p50=p50,
        microseconds_per_kb_p95=p95,
        dense_microseconds_per_kb_p50=dense_p50,
        dense_microseconds_per_kb_p95=dense_p95,
    )


def _must_block(labels: list[Label]) -> bool:
    return is_blocking_phi(Finding(label.type, Category.PHI, label.offset, label.length, 1.0) for label in labels)


def _count(labels: list[Label], findings: list[Finding], scores: dict[str, TypeScore]) -> None:
    for label in labels:
        score = scores[label.type]
        score.labelled += 1
        score.found += any(_same(label, finding) for finding in findings)
    for finding in findings:
        matching = [label for label in labels if _same(label, finding)]
        score = scores[matching[0].type if matching else finding.type]
        score.reported += 1
        score.right += bool(matching)


_PLAIN_TYPES = frozenset(
    {
        "PERSON_NAME", "DATE_OF_BIRTH", "SSN", "MEDICAL_RECORD_NUMBER", "HEALTH_PLAN_ID", "DIAGNOSIS", "MEDICATION",
        "PHONE_NUMBER", "EMAIL_ADDRESS", "STREET_ADDRESS", "CREDIT_CARD", "IBAN", "IP_ADDRESS", "PASSPORT_NUMBER",
    }
)  # fmt: skip


def _same(label: Label, finding: Finding) -> bool:
    if not (finding.offset < label.offset + label.length and label.offset < finding.end):
        return False
    return finding.type == label.type or (finding.category is Category.SECRET and label.type not in _PLAIN_TYPES)


def _speed(texts: list[str]) -> tuple[float, float]:
    """Texts joined to pieces of 1,000 characters, each scanned twenty times; p50 and p95 of their medians, in µs."""
    joined = "\n".join(texts)
    pieces = [joined[start : start + 1000] for start in range(0, len(joined) - 999, 1000)]
    warm_up()
    medians = []
    for piece in pieces:
        times = []
        for _ in range(20):
            began = time.perf_counter_ns()
            scan(piece)
            times.append((time.perf_counter_ns() - began) / 1000)
        medians.append(statistics.median(times))
    if len(medians) < 2:
        return medians[0] if medians else 0.0, medians[0] if medians else 0.0
    cuts = statistics.quantiles(medians, n=20, method="inclusive")
    return cuts[9], cuts[18]


def run_bench() -> None:
    """Prints the report of the shipped set's held-out split."""
    report = evaluate()
    console = Console()
    table = Table(title=f"DLP on {report.texts} held-out texts ({report.clean_texts} of them clean)")
    table.add_column("type")
    for heading in ("labels", "recall", "findings", "precision"):
        table.add_column(heading, justify="right")
    for name, score in report.by_type.items():
        table.add_row(name, str(score.labelled), f"{score.recall:.3f}", str(score.reported), f"{score.precision:.3f}")
    console.print(table)
    summary = Table(show_header=False)
    summary.add_column("figure")
    summary.add_column("value", justify="right")
    for name, value in (
        ("PHI texts blocked (recall)", f"{report.phi_texts_blocked} of {report.phi_texts} ({report.phi_recall:.3f})"),
        ("Texts without PHI blocked", f"{report.other_texts_blocked} of {report.texts - report.phi_texts}"),
        (
            "Clean texts flagged",
            f"{report.clean_texts_flagged} of {report.clean_texts} ({report.clean_flagged_share:.3f})",
        ),
        ("Clean characters masked", f"{report.clean_characters_masked_share:.4f}"),
        ("µs per kB of clean text, p50", f"{report.microseconds_per_kb_p50:.1f}"),
        ("µs per kB of clean text, p95", f"{report.microseconds_per_kb_p95:.1f}"),
        ("µs per kB of dense text, p50", f"{report.dense_microseconds_per_kb_p50:.1f}"),
        ("µs per kB of dense text, p95", f"{report.dense_microseconds_per_kb_p95:.1f}"),
    ):
        summary.add_row(name, value)
    console.print(summary)
