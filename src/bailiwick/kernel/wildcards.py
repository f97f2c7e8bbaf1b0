"""Names that hold `*`, each of which stands for some text, at least one character."""

from __future__ import annotations


def stood_for(pattern: str, name: str) -> list[str] | None:
    """What each `*` of `pattern` stands for in `name`, the first for as much as it can; None: it does not fit.

    In time proportional to the lengths, whatever the pattern: callers choose patterns too.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return [] if pattern == name else None
    *parts, last = parts
    start, end = len(first), len(name) - len(last)
    if not name.startswith(first) or not name.endswith(last):
        return None
    texts = []
    for part in reversed(parts):
        place = name.rfind(part, start + 1, end - 1) if end > start else -1
        if place < 0:
            return None
        texts.append(name[place + len(part) : end])
        end = place
    return None if end <= start else [name[start:end], *reversed(texts)]
