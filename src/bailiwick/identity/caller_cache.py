"""Verified callers, kept in this process: by the SHA-256 of their token, until it expires or somebody revokes it."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from uuid import UUID

from bailiwick.identity.callers import Caller

_MOST_CALLERS = 50_000
# A wall against a revocation that was not heard, and the grain of a key's last use.
_LONGEST_SECONDS = 300.0


class CallerCache:
    """Least recently used goes first. An entry is dropped by its session, key or organization."""

    def __init__(self, limit: int = _MOST_CALLERS) -> None:
        self._limit = limit
        self._entries: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._by_subject: defaultdict[UUID, set[bytes]] = defaultdict(set)
        self.changes = 0
        """Rises with every drop: what was looked up before one may be out of date and is not kept."""

    def find(self, digest: bytes) -> Caller | None:
        """The caller of a token's digest."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if entry[0] <= time.time():
            self._forget(digest)
            return None
        self._entries.move_to_end(digest)
        return entry[1]

    def keep(self, digest: bytes, caller: Caller, changes: int) -> None:
        """Keeps a caller that was looked up when `changes` stood as given."""
        if changes != self.changes:
            return
        until = time.time() + _LONGEST_SECONDS
        self._entries[digest] = (min(until, caller.expires_at) if caller.expires_at else until, caller)
        for subject in self._subjects(caller):
            self._by_subject[subject].add(digest)
        while len(self._entries) > self._limit:
            self._forget(next(iter(self._entries)))

    @staticmethod
    def _subjects(caller: Caller) -> list[UUID]:
        return [one for one in (caller.session_id, caller.key_id, caller.organization_id) if one is not None]

    def _forget(self, digest: bytes) -> None:
        _, caller = self._entries.pop(digest)
        for subject in self._subjects(caller):
            digests = self._by_subject[subject]
            digests.discard(digest)
            if not digests:
                del self._by_subject[subject]

    def drop(self, subject: UUID) -> None:
        """Forgets the callers of a session, key or organization."""
        self.changes += 1
        for digest in list(self._by_subject.get(subject, ())):
            self._forget(digest)

    def clear(self) -> None:
        """Forgets all."""
        self.changes += 1
        self._entries.clear()
        self._by_subject.clear()

    def __len__(self) -> int:
        return len(self._entries)
