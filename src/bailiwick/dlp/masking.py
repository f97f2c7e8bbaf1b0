"""Replaces findings in a text, whole or as it streams in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from bailiwick.dlp.engine import scan
from bailiwick.dlp.findings import Category, Finding
from bailiwick.dlp.secrets import PRIVATE_KEY_END, PRIVATE_KEY_MAX

_HELD = 256
"""Code points kept back while streaming: longer than any value that has an end of its own."""
_STEP = 32
"""Code points let go at a time. Steps are the same however the text is cut into chunks, and so is the outcome."""
_CONTEXT = 128
"""Code points before the held text that are scanned again, as words before a value tell what it is."""
_RUN_MAX = 16_384
"""Code points of one unbroken secret that are swallowed before reading goes on."""
_MEMBER_SPACE = 24
"""Code points between the key of a JSON object's member and its value."""
_MEMBER_KEY = re.compile(r'(\\*")\s*:\s*\Z')
_MEMBER_END = re.compile(r"\s*[,}]")


def mask(text: str, findings: Iterable[Finding]) -> str:
    """The text with each finding replaced by `[REDACTED_<CATEGORY>]`, in quotes where it was a number of a JSON object.
    Findings may not overlap."""
    pieces: list[str] = []
    position = 0
    for finding in sorted(findings, key=_offset):
        pieces += (text[position : finding.offset], _mark(finding, text))
        position = finding.end
    pieces.append(text[position:])
    return "".join(pieces)


def _offset(finding: Finding) -> int:
    return finding.offset


def _mark(finding: Finding, text: str) -> str:
    mark = f"[REDACTED_{finding.category.value}]"
    if not text[finding.offset : finding.end].isdecimal() or not _MEMBER_END.match(text, finding.end):
        return mark
    # JSON within a string of JSON has its quotes escaped, however often.
    key = _MEMBER_KEY.search(text, max(0, finding.offset - _MEMBER_SPACE), finding.offset)
    return f"{key[1]}{mark}{key[1]}" if key else mark


class StreamMasker:
    """Masks a text that arrives in chunks, across their borders.

    `feed` gives out what can no longer be part of a finding, up to about 300 code points behind; `flush` the rest. The
    cost of a chunk depends on its length alone. A secret of unbounded length (a private key, a long token) is masked
    when its beginning is seen, and swallowed to its end. Raises `DlpUnavailable` as `scan` does; then nothing more may
    go out.

    `findings` are those so far, offsets counted from the beginning of the stream; one is there before any of its text
    is given out. Only those of `categories` and of `types` are masked.
    """

    def __init__(
        self, categories: Collection[Category] = frozenset(Category), types: Collection[str] = frozenset()
    ) -> None:
        self.findings: list[Finding] = []
        self._categories = frozenset(categories)
        self._types = frozenset(types)
        self._context = ""
        self._held = ""
        self._given_out = 0
        self._swallowing: Finding | None = None
        self._swallowed = ""

    def feed(self, chunk: str) -> str:
        """Takes the next part of the text; answers the masked text that may go out now, often empty."""
        if not chunk:
            return ""
        pieces: list[str] = []
        text, position = self._held + chunk, 0
        window_size = _HELD + _STEP
        while len(text) - position >= window_size:
            if self._swallowing is not None:
                position += self._swallow(text[position : position + window_size])
                continue
            masked, taken = self._let_go(text[position : position + window_size], at_least=_STEP, is_last=False)
            pieces.append(masked)
            position += taken
        self._held = text[position:]
        return "".join(pieces)

    def flush(self) -> str:
        """The rest, masked; the stream is over."""
        text, self._held = self._held, ""
        if self._swallowing is not None:
            text = text[self._swallow(text) :]
            if self._swallowing is not None:
                return ""
        masked, _ = self._let_go(text, at_least=len(text), is_last=True)
        return masked

    def _let_go(self, window: str, *, at_least: int, is_last: bool) -> tuple[str, int]:
        """Masks the beginning of the window; answers it and how many code points of the window it stands for."""
        before = len(self._context)
        whole = self._context + window
        pieces: list[str] = []
        position, cut = 0, at_least
        for finding in scan(whole):
            start, end = max(0, finding.offset - before), finding.end - before
            if end <= 0:
                continue
            if start >= cut:
                break
            if end >= len(window) and not is_last:
                if start > 0:  # perhaps longer than we see: look again from its beginning
                    cut = min(cut, start)
                    break
                if self._masks(finding):
                    self._swallowing, self._swallowed = finding, ""
            if not self._masks(finding):
                self._note(finding, self._given_out + finding.offset - before)
                continue
            pieces += (window[position:start], _mark(finding, whole))
            position = end
            cut = max(cut, end)
            self.findings.append(
                Finding(finding.type, finding.category, self._given_out + start, end - start, finding.confidence)
            )
        pieces.append(window[position:cut])
        self._move_on(window[:cut])
        return "".join(pieces), cut

    def _masks(self, finding: Finding) -> bool:
        return finding.category in self._categories or finding.type in self._types

    def _note(self, finding: Finding, offset: int) -> None:
        """Notes a finding that is not masked: once, though it is seen again until the window has moved past it."""
        length = finding.length
        if self.findings and (last := self.findings[-1]).end > offset:
            finding, offset, length = last, last.offset, max(last.end, offset + length) - last.offset
            self.findings.pop()
        self.findings.append(Finding(finding.type, finding.category, offset, length, finding.confidence))

    def _swallow(self, window: str) -> int:
        """Drops what still belongs to the secret that began before; answers how many code points that is."""
        finding = self._swallowing
        if finding is None:
            return 0
        if finding.type == "PRIVATE_KEY":
            seen = self._swallowed + window
            closing = PRIVATE_KEY_END.search(seen)
            length = closing.end() - len(self._swallowed) if closing else len(window)
            limit = PRIVATE_KEY_MAX
            self._swallowed = seen[-96:]
        else:
            length = next((i for i, character in enumerate(window) if character in " \t\r\n\"'`<>"), len(window))
            limit = _RUN_MAX
        length = min(length, len(window))
        grown = self.findings[-1]
        if length < len(window) or grown.length + length >= limit:
            self._swallowing = None
        self.findings[-1] = Finding(grown.type, grown.category, grown.offset, grown.length + length, grown.confidence)
        self._move_on(window[:length])
        return length

    def _move_on(self, text: str) -> None:
        self._given_out += len(text)
        context = (self._context + text)[-_CONTEXT:]
        # A value cut in half at the context's edge would look like another value: begin at a word.
        space = context.find(" ")
        self._context = context[space:] if len(context) == _CONTEXT and space >= 0 else context
