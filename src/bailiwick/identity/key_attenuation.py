"""Attenuation: a short-lived child key for a sub-agent, which can do no more than the key it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text

from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.errors import AttenuationWidens
from bailiwick.identity.key_access import load_key, require_active, require_power_over
from bailiwick.identity.key_scopes import check_scopes, cover_all
from bailiwick.identity.member_keys import record, told
from bailiwick.identity.tables import VirtualKey
from bailiwick.identity.virtual_keys import KeySettings, create_virtual_key
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.ids import Prefix, encode

_MOST_LEVELS = 8  # every level adds its limits to each call
_LABEL_LENGTH = 128
_ABOVE = text(
    "with recursive above as ("
    "  select id, parent_key_id from virtual_keys where organization_id = :organization_id and id = :key_id"
    "  union select k.id, k.parent_key_id from virtual_keys k join above on k.id = above.parent_key_id"
    "   where k.organization_id = :organization_id)"
    " select id from above order by id"
)


class Attenuated(msgspec.Struct, frozen=True):
    """A child key, its plaintext, and the first key of its chain."""

    key: VirtualKey
    plaintext: str
    chain_id: UUID


async def attenuate_key(
    caller: Caller, public_id: str, *, requested: Sequence[str], lifetime_seconds: int = 3600
) -> Attenuated:
    """A key with a subset of the parent's scopes, its models, and a life that ends no later than the parent's.

    What it spends counts on every key above it. Raises RoleRequired, NotFound, InvalidInput, KeyTransitionNotAllowed
    unless the parent is active, AttenuationWidens, Forbidden, KeyIsLimited.
    """
    caller.require(Role.DEVELOPER)
    async with tenant_transaction(caller.tenant) as session:
        # Locked: a parent that is being revoked or narrowed takes this child along, or there is no child.
        parent = await load_key(session, caller, public_id, for_change=True)
        require_active(parent)
        if not cover_all(parent.scopes, requested):
            raise AttenuationWidens
        granted = check_scopes(requested, field="requestedCaps")
        await require_power_over(session, caller, parent)
        chain = list(await session.scalars(_ABOVE, {"organization_id": caller.tenant, "key_id": parent.id}))
        if len(chain) >= _MOST_LEVELS:
            raise AttenuationWidens(f"Keys are attenuated at most {_MOST_LEVELS - 1} times one after the other.")
        ends = now() + timedelta(seconds=lifetime_seconds)
        key, plaintext = await create_virtual_key(
            session,
            caller.tenant,
            membership_id=parent.membership_id,
            label=parent.label[:_LABEL_LENGTH],
            scopes=granted,
            expires_at=ends if parent.expires_at is None else min(ends, parent.expires_at),
            parent_key_id=parent.id,
            settings=KeySettings(
                allowed_models=parent.allowed_models,
                cache_seconds=parent.cache_seconds,
                department_id=parent.department_id,
                details=parent.details,
            ),
        )
        await record(
            session,
            caller,
            key,
            "virtual_key.attenuated",
            parent=encode(Prefix.VIRTUAL_KEY, parent.id),
            **told(key),
        )
        return Attenuated(key, plaintext, chain[0])
