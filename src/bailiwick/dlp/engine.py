"""Scans a text with all detectors at once.

One Hyperscan database holds every expression; it finds where something may be, in one pass whose cost does not depend
on the number of detectors. The judges behind it look at bounded windows and decide. Nothing here may be skipped on a
fault: any failure is `DlpUnavailable`, and the caller must not let the text pass.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import NamedTuple, cast

import hyperscan

from bailiwick.dlp.detectors import Judge
from bailiwick.dlp.errors import DlpUnavailable
from bailiwick.dlp.findings import Finding, without_overlaps
from bailiwick.dlp.shadow import shadow_of, span_in_text

_Hit = tuple[int, int, int]


class _Engine(NamedTuple):
    database: hyperscan.Database
    judges: list[Judge]
    literal_lengths: list[int]
    """For each detector the length of its literal, 0 if it is an expression that reports its own start."""
    by_end: list[bool]


_building = threading.Lock()
_engine: _Engine | None = None
_of_thread = threading.local()


def _build() -> _Engine:
    from bailiwick.dlp import clinical_terms, identifiers, names, patient_numbers, secrets

    parts = (secrets, identifiers, patient_numbers, clinical_terms, names)
    detectors = [detector for part in parts for detector in part.DETECTORS]
    expressions, flags, lengths = [], [], []
    for detector in detectors:
        flag = hyperscan.HS_FLAG_CASELESS if detector.caseless else 0
        if detector.is_literal:
            expressions.append(re.escape(detector.expression).encode("ascii"))
            lengths.append(len(detector.expression))
        else:
            expressions.append(detector.expression.encode("ascii"))
            flag |= hyperscan.HS_FLAG_SOM_LEFTMOST
            lengths.append(0)
        flags.append(flag)
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=expressions, ids=list(range(len(expressions))), elements=len(expressions), flags=flags)
    return _Engine(
        database, [detector.judge for detector in detectors], lengths, [detector.by_end for detector in detectors]
    )


def _ready_engine() -> tuple[_Engine, hyperscan.Scratch]:
    global _engine
    engine = _engine
    if engine is None:
        with _building:
            if _engine is None:
                _engine = _build()
            engine = _engine
    scratch = getattr(_of_thread, "scratch", None)
    if scratch is None:
        scratch = _of_thread.scratch = hyperscan.Scratch(engine.database)
    return engine, scratch


def _record(detector: int, start: int, end: int, _flags: int, hits: list[_Hit]) -> None:
    hits.append((detector, start, end))


def warm_up() -> None:
    """Builds the database now (about a tenth of a second) instead of on the first scan."""
    scan("")


def scan(text: str) -> list[Finding]:
    """Every finding in a text, sorted by offset, none overlapping another; offsets in code points of `text`.

    Raises `DlpUnavailable` when the text could not be inspected.
    """
    try:
        return _scan(text)
    except Exception as error:
        raise DlpUnavailable from error


def matches_in(shadow: str) -> list[_Hit]:
    """What the engine reports on a shadow text: number of the detector, start (0 for literals) and end."""
    engine, scratch = _ready_engine()
    hits: list[_Hit] = []
    engine.database.scan(
        shadow.encode("ascii"), match_event_handler=cast("Callable[..., None]", _record), context=hits, scratch=scratch
    )
    return hits


def _scan(text: str) -> list[Finding]:
    engine, _ = _ready_engine()
    if not text:
        return []
    shadow, positions = shadow_of(text)
    hits = matches_in(shadow)
    candidates: list[Finding] = []
    lengths, judges, by_end = engine.literal_lengths, engine.judges, engine.by_end
    settled: set[tuple[int, int]] = set()
    for detector, reported_start, end in hits:
        length = lengths[detector]
        start = end - length if length else reported_start
        if (detector, start) in settled:  # a further end of what was found
            continue
        candidate = judges[detector](shadow, start, end)
        if candidate is not None:
            candidates.append(candidate)
            if not by_end[detector]:
                settled.add((detector, start))
    if not candidates:
        return candidates
    found = without_overlaps(candidates) if len(candidates) > 1 else candidates
    if positions is None:
        return found
    return [_in_text(text, positions, finding) for finding in found]


def _in_text(text: str, positions: list[int], finding: Finding) -> Finding:
    start, end = span_in_text(text, positions, finding.offset, finding.end)
    return Finding(finding.type, finding.category, start, end - start, finding.confidence)
