"""Passwords: Argon2id (RFC 9106) in threads, with bounded concurrency."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bailiwick.kernel.errors import Unavailable

Answer = TypeVar("Answer")

# OWASP's minimum for Argon2id: 19 MiB, two passes, one lane. It takes about 20 ms, and a hash names its parameters, so
# that raising them later rehashes at the next log-in.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="argon2")
_MOST_WAITING = 256
_waiting = 0
# Stands in for the hash of an unknown user, so that the answer takes as long as for a known one.
_nobody = _hasher.hash("nobody has this password")


def _matches(stored: str | None, password: str) -> bool:
    try:
        _hasher.verify(stored or _nobody, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


async def _in_thread(work: Callable[..., Answer], *arguments: object) -> Answer:
    global _waiting
    if _waiting >= _MOST_WAITING:
        raise Unavailable("Too many sign-ins at once; try again in a moment.")
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work, *arguments)
    finally:
        _waiting -= 1


async def hash_password(password: str) -> str:
    """A salted hash in PHC form. Raises Unavailable when too many wait."""
    return await _in_thread(_hasher.hash, password)


async def password_matches(stored: str | None, password: str) -> bool:
    """Whether `password` has this hash; False, and as slow, without one. Raises Unavailable when too many wait."""
    return await _in_thread(_matches, stored, password)


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)
