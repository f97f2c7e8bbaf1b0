"""Cuts a note into headings and sentences without losing or changing a character.

Every character of the note that is not white space lies in exactly one sentence or heading, verbatim and in order.
"""

import re

import msgspec

_BREAK = re.compile(r"\n+|(?<=[.!?])[ \t\r\f\v]+(?=[^\sa-z])")
_ABBREVIATIONS = frozenset(
    [
        "dr",
        "mr",
        "mrs",
        "ms",
        "st",
        "vs",
        "approx",
        "no",
        "pt",
        "pts",
        "e.g",
        "i.e",
        "p.o",
        "b.i.d",
        "t.i.d",
        "q.i.d",
        "q.d",
        "p.r.n",
        "resp",
        "temp",
        "wt",
        "ht",
        "fig",
        "dept",
        "prof",
        "cf",
    ]
)
_LAST_WORD = re.compile(r"([^\s.]+(?:\.[^\s.]+){0,4})\.$")
_MARKER = re.compile(r"[#(]?\d{1,2}[.)]?$|[-*•#]$")
_HEADING = re.compile(
    r"(?:[#*]{1,4}\s{0,3})?([A-Za-z][A-Za-z /&-]{0,38}?)\s{0,3}(?:\*{1,2})?(?::(?!\d)(?:\*{1,2})?|\s[-–](?=\s))"
)
_ALONE = re.compile(r"(?:[#*]{1,4}\s{0,3})?([A-Za-z][A-Za-z /&-]{0,38}?)(?:\*{1,2})?")


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A heading, or a sentence that stands under `part` ("" when under no heading). `text` is verbatim, trimmed."""

    text: str
    is_heading: bool
    part: str
    line: int


def split_note(note: str, headings: dict[str, str]) -> list[Segment]:
    """Cut `note`. `headings` maps the name of a heading, in lower case, to its part."""
    segments: list[Segment] = []
    part = ""
    for line_number, line in enumerate(note.splitlines()):
        for sentence in _sentences(line):
            heading, key = _heading(sentence, headings, alone=sentence == line.strip())
            if heading:
                part = key
                segments.append(Segment(text=heading, is_heading=True, part=part, line=line_number))
            rest = sentence[len(heading) :].strip()
            if rest:
                segments.append(Segment(text=rest, is_heading=False, part=part, line=line_number))
    return segments


def _sentences(line: str) -> list[str]:
    """The sentences of one line. A list marker, an abbreviation or a bare initial does not end one."""
    sentences: list[str] = []
    start = 0
    for match in _BREAK.finditer(line):
        piece = line[start : match.start()].strip()
        if _MARKER.fullmatch(piece) or _is_abbreviation(piece):
            continue
        if piece:
            sentences.append(piece)
        start = match.end()
    last = line[start:].strip()
    if last:
        sentences.append(last)
    return sentences


def _is_abbreviation(piece: str) -> bool:
    match = _LAST_WORD.search(piece[-24:])
    if match is None:
        return False
    word = match[1].lower()
    return word in _ABBREVIATIONS


def _heading(sentence: str, headings: dict[str, str], *, alone: bool) -> tuple[str, str]:
    match = _HEADING.match(sentence)
    if match is None and alone:
        match = _ALONE.fullmatch(sentence)
    if match is None:
        return "", ""
    key = headings.get(" ".join(match[1].lower().split()))
    return (match[0], key) if key else ("", "")
