"""What a key used, day by day: from the invocations themselves, found by key and time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text

from bailiwick.identity.callers import Caller
from bailiwick.identity.key_access import load_key
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.ids import uuid_at

_DEFAULT_DAYS = 30
_LAST_MILLISECOND = 2**48 - 1

# An id begins with its moment (48 bits of milliseconds), so the index on (organization, key, id) is one in time too.
_USAGE = text(
    "with recursive family as ("
    "  select id from virtual_keys where organization_id = :organization_id and id = :key_id"
    "  union select child.id from virtual_keys child join family on child.parent_key_id = family.id"
    "   where child.organization_id = :organization_id)"
    " select floor((('x' || left(replace(i.id::text, '-', ''), 12))::bit(48)::bigint) / 86400000)::int as day,"
    "  sum(i.cost_micros)::bigint as cost_micros, sum(i.input_tokens)::bigint as input_tokens,"
    "  sum(i.output_tokens)::bigint as output_tokens, count(*) as traces"
    " from family join invocations i on i.organization_id = :organization_id and i.virtual_key_id = family.id"
    " where i.id >= :first and i.id < :after group by 1 order by 1"
)


def _after(moment: datetime) -> UUID:
    """The smallest id that is made after `moment`'s millisecond."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return UUID(int=min(max(0, math.floor(zoned.timestamp() * 1000) + 1), _LAST_MILLISECOND) << 80)


class DayOfUsage(msgspec.Struct, frozen=True):
    """One UTC day with at least one call."""

    day: date
    cost_micros: int
    input_tokens: int
    output_tokens: int
    traces: int


async def key_usage(
    caller: Caller, public_id: str, *, since: datetime | None, until: datetime | None
) -> Sequence[DayOfUsage]:
    """The days with calls of a key and of the keys attenuated from it, oldest first, refused calls included.

    Calls later than `since` (default: the beginning of the 30 UTC days that end today) and not later than `until`, to
    the millisecond; a moment without a zone is UTC. Raises NotFound.
    """
    moment = now()
    today = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    first = uuid_at(today - timedelta(days=_DEFAULT_DAYS - 1)) if since is None else _after(since)
    after = _after(moment if until is None else until)
    async with tenant_transaction(caller.tenant) as session:
        key = await load_key(session, caller, public_id)
        rows = await session.execute(
            _USAGE,
            {
                "organization_id": caller.tenant,
                "key_id": key.id,
                "first": first,
                "after": after,
            },
        )
        return [
            DayOfUsage(
                date(1970, 1, 1) + timedelta(days=row.day),
                row.cost_micros,
                row.input_tokens,
                row.output_tokens,
                row.traces,
            )
            for row in rows
        ]
