"""Identifiers: UUIDv7 inside, typed Crockford base32 outside.

A public id is a prefix that tells its kind, then the UUID's 128 bits in 26 characters of Crockford base32 (without
I, L, O, U):
``aud_01JQ...``. Because UUIDv7 (RFC 9562 §5.7) begins with a millisecond timestamp, ids sort by time, tables are
partitioned by id, and "rows since" is a range of ids.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from asyncpg.pgproto import pgproto
from uuid_utils import uuid7 as _uuid7

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_VALUES |= {character.lower(): value for character, value in _VALUES.items()}
_VALUES |= {"I": 1, "i": 1, "L": 1, "l": 1, "O": 0, "o": 0}


class Prefix(StrEnum):
    """The kinds of public id. A kind that has two spellings in the contracts is decoded from either."""

    ORGANIZATION = "ws"
    USER = "usr"
    MEMBERSHIP = "mem"
    SESSION = "ses"
    TENANT = "ten"
    AUDIT_ENTRY = "aud"
    TRACE = "tr"
    VIRTUAL_KEY = "vk"
    API_KEY = "ak"
    LOG_SOURCE = "ls"
    LOG_EVENT = "le"
    ACCOUNT = "acc"
    TRANSFER = "tx"
    HOLD = "hold"
    AGENT = "ag"
    SOP = "sop"
    MAIL = "mail"
    DECISION = "dec"
    KILL_SWITCH = "ks"


_ALIASES = {Prefix.ORGANIZATION: ("org",)}


def uuid7() -> UUID:
    """A new UUIDv7, monotonic within this process; as the database's driver makes them, which is quicker to send."""
    return pgproto.UUID(_uuid7().bytes)


def uuid_at(moment: datetime) -> UUID:
    """The smallest UUID of the given millisecond: the lower bound of ids made at or after `moment`."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def time_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, in UTC, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)


def encode(prefix: Prefix, identifier: UUID) -> str:
    """``<prefix>_<26 characters>`` of a UUID."""
    pairs, number = _PAIRS, identifier.int
    # Written out: a loop takes half as long again, and every call makes several ids.
    return (
        f"{prefix}_{pairs[number >> 120]}{pairs[number >> 110 & 1023]}{pairs[number >> 100 & 1023]}"
        f"{pairs[number >> 90 & 1023]}{pairs[number >> 80 & 1023]}{pairs[number >> 70 & 1023]}"
        f"{pairs[number >> 60 & 1023]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def decode(prefix: Prefix, text: str) -> UUID | None:
    """The UUID of a public id of this kind; None when `text` is no such id (so that callers answer "not found")."""
    head, separator, body = text.partition("_")
    if not separator or len(body) != 26 or (head != prefix.value and head not in _ALIASES.get(prefix, ())):
        return None
    number = 0
    for character in body:
        value = _VALUES.get(character)
        if value is None:
            return None
        number = number << 5 | value
    return UUID(int=number) if number < 1 << 128 else None
