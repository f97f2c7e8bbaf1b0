"""Tokenizers that are public: which model has which, and how many tokens a text has.

OpenAI's alone are. A model is known by its name, as OpenAI's own `tiktoken` tells them apart; of any other model, and
of models with open weights, which a server may name as it likes, nothing is known.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import mmap
import re
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cache, lru_cache
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

Counter = Callable[[str], int]
"""How many tokens a text has."""


class Encoding(StrEnum):
    """A tokenizer, by OpenAI's name for it."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"


_PROVIDERS = frozenset({"openai", "azure"})
# https://github.com/openai/tiktoken/blob/main/tiktoken/model.py. The first that fits counts: gpt-4o is no gpt-4.
_MODELS: tuple[tuple[re.Pattern[str], Encoding], ...] = (
    (re.compile(r"(ft:)?(gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|chatgpt-4o|o1|o3|o4-mini)([-.:].*)?"), Encoding.O200K),
    (re.compile(r"(ft:)?(gpt-4|gpt-3\.5|gpt-3\.5-turbo|gpt-35-turbo)([-:].*)?"), Encoding.CL100K),
    (re.compile(r"text-embedding-(ada-002|3-small|3-large)"), Encoding.CL100K),
)


@lru_cache(maxsize=2048)  # callers choose the names that a wildcard stands for
def encoding_of(provider: str, model: str) -> Encoding | None:
    """The tokenizer of a provider's model; None when it is not known. `openai/gpt-4o` at another address than OpenAI's
    is taken for what it is called, as its price is."""
    if provider not in _PROVIDERS:
        return None
    return next((encoding for names, encoding in _MODELS if names.fullmatch(model)), None)


_LONG = 1024
"""Characters whose count is worth remembering: conversations and tools are sent again with every turn."""
_MOST_REMEMBERED = 16_384


class _Tokenizer:
    """One tokenizer, loaded. Of long texts it remembers the counts, by hashes that tell nothing of the texts."""

    def __init__(self, encoding: Encoding) -> None:
        self._count = _loaded(encoding)
        self._remembered: dict[bytes, int] = {}

    def count(self, text: str) -> int:
        """The tokens of a text."""
        try:
            if len(text) < _LONG:
                return self._count(text)
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        except UnicodeEncodeError:  # half a surrogate pair, which no provider gets either
            return self.count(text.encode(errors="replace").decode())
        known = self._remembered.get(key)
        if known is None:
            known = self._count(text)
            if len(self._remembered) >= _MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[key] = known
        return known


@cache
def counter(encoding: Encoding) -> Counter:
    """What counts the tokens of texts, exactly and in time that grows with their length alone: 0.2 µs and some 15 ns a
    byte, or 1 ns for a long text that came before. It holds the interpreter meanwhile: `pieces` cuts what is long. The
    first call for an encoding loads it: 0.05 s and 33 MB for the larger."""
    return _Tokenizer(encoding).count


@cache
def _library() -> tuple[ModuleType, Path]:
    """The compiled part of `bpe_openai`, by itself, and its file: the Python around it reads all tables once more when
    imported, which takes half a second and 70 MB that nothing here needs."""
    package = importlib.util.find_spec("bpe_openai")
    folders = package.submodule_search_locations if package is not None else None
    for folder in folders or ():
        for file in Path(folder).resolve().glob("_bindings.*"):
            if file.suffix in (".so", ".pyd"):
                loader = ExtensionFileLoader("bpe_openai._bindings", str(file))
                spec = importlib.util.spec_from_file_location(loader.name, file, loader=loader)
                if spec is not None:
                    module = importlib.util.module_from_spec(spec)
                    loader.exec_module(module)
                    return module, file
    raise ImportError("bpe_openai has no compiled part")


def _loaded(encoding: Encoding) -> Counter:
    library, file = _library()
    count: Counter = library.tokenizer_for_encoding(encoding.value).count
    _let_go(file)
    return count


def _let_go(file: Path) -> None:
    """Takes a library's constants out of this process's resident memory: they hold the tables as they are read once, 30
    MB. Whatever of them is read again comes from the file again. Only the part that begins the file is meant: it is
    mapped for reading alone and never written, while what follows it was, before it became read-only."""
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, mode, offset, *_ = line.split(None, 3)
        if mode == "r--p" and int(offset, 16) == 0 and line.endswith(f" {file}"):
            start, end = (int(address, 16) for address in addresses.split("-"))
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


_BORDER = re.compile(r"(?<=\S) |(?<=\n)(?=[^\W_])")
"""Where both tokenizers always begin anew: at a space behind anything but white space, and between a line's end and a
letter or digit. None of their patterns goes across, or looks back or ahead over it."""


def pieces(text: str, size: int) -> Iterator[tuple[str, bool]]:
    """The text in pieces of `size` to twice as many characters, the last may be shorter, and whether each may be
    counted: then the counts of the pieces add up to that of the text. A rest that is longer and has no border soon may
    not: it is for its bytes."""
    start = 0
    while len(text) - start > 2 * size:
        border = _BORDER.search(text, start + size, start + 2 * size)
        if border is None:
            yield text[start:], False
            return
        yield text[start : border.start()], True
        start = border.start()
    yield text[start:], True
