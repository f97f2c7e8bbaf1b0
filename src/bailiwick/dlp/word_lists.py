"""Reads the word lists under `data/`: sections in brackets, comments after `#`."""

from __future__ import annotations

from importlib import resources


def lines_of(name: str) -> dict[str, frozenset[str]]:
    """Section name to its lines. A term of both sections belongs to the later one."""
    return _sections(name, by_line=True)


def words_of(name: str) -> dict[str, frozenset[str]]:
    """Section name to its words. A word of both sections belongs to the later one."""
    return _sections(name, by_line=False)


def _sections(name: str, *, by_line: bool) -> dict[str, frozenset[str]]:
    sections: dict[str, set[str]] = {}
    terms = sections.setdefault("", set())
    text = resources.files("bailiwick.dlp").joinpath("data", name).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith("["):
            terms = sections.setdefault(line.strip("[]"), set())
        elif by_line:
            terms.add(line.strip())
        else:
            terms.update(line.split())
    names = list(sections)
    for index, section in enumerate(names):
        for later in names[index + 1 :]:
            sections[section] -= sections[later]
    return {section: frozenset(found) for section, found in sections.items()}
