"""Rotation: a new plaintext for the same rights and limits; the old one ends at once or after a grace period."""

from __future__ import annotations

from datetime import timedelta

from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.errors import KeyTransitionNotAllowed
from bailiwick.identity.key_access import load_key, require_active, require_power_over
from bailiwick.identity.member_keys import ShownKey, record, shown
from bailiwick.identity.virtual_keys import (
    KeySettings,
    create_virtual_key,
    expire_virtual_key,
    lock_family,
    revoke_virtual_key,
)
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.ids import Prefix, encode

MOST_GRACE_SECONDS = 7 * 24 * 3600


async def rotate_key(caller: Caller, public_id: str, *, grace_seconds: int = 0) -> ShownKey:
    """Issues a replacement with the same label, scopes, limits and expiry, and ends the old key with all that was
    attenuated from it: now, or after `grace_seconds` (at most a week).

    Both use the same budgets, so that rotating gives nobody anew what was spent. A key is rotated once; a key that a
    plan was provisioned with is not. Raises RoleRequired, NotFound, Forbidden, KeyIsLimited, KeyTransitionNotAllowed.
    """
    caller.require(Role.DEVELOPER)
    async with tenant_transaction(caller.tenant) as session:
        old = await load_key(session, caller, public_id)
        await lock_family(session, caller.tenant, old.id)
        old = await load_key(session, caller, public_id, for_change=True)
        require_active(old)
        if old.replaced_by is not None or old.account_id is not None:
            raise KeyTransitionNotAllowed
        await require_power_over(session, caller, old)
        new, plaintext = await create_virtual_key(
            session,
            caller.tenant,
            membership_id=old.membership_id,
            label=old.label,
            scopes=old.scopes,
            expires_at=old.expires_at,
            parent_key_id=old.parent_key_id,
            limits_of=old.limits_id,
            settings=KeySettings.of(old),
        )
        old.replaced_by = new.id
        await session.flush()
        if grace_seconds:
            await expire_virtual_key(session, caller.tenant, old.id, now() + timedelta(seconds=grace_seconds))
        else:
            await revoke_virtual_key(session, caller.tenant, old.id)
        replacement = encode(Prefix.VIRTUAL_KEY, new.id)
        await record(session, caller, old, "virtual_key.rotated", replacement=replacement, grace_seconds=grace_seconds)
        return await shown(session, new, plaintext)
