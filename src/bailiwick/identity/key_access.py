"""Who may do what with whose virtual keys, and the key that an operation names.

Below ADMIN a member sees their own keys only. What lets somebody act as a key's member (its plaintext, wider limits)
needs a role and scopes that are no lower than the key's. A caller that is itself a limited key (attenuated, expiring,
with a budget, a rate or an allow-list) could shed its limits through another key: it manages its own family only.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, false, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick.identity.callers import Caller, Credential, Role
from bailiwick.identity.errors import KeyIsLimited, KeyTransitionNotAllowed
from bailiwick.identity.key_scopes import cover_all
from bailiwick.identity.tables import Membership, VirtualKey
from bailiwick.identity.virtual_keys import KeyStatus, status_of
from bailiwick.kernel.clock import now
from bailiwick.kernel.errors import Forbidden, NotFound, RoleRequired
from bailiwick.kernel.ids import Prefix, decode

_FAMILY_OF_CALLER = text(
    "with recursive above as ("
    "  select id, parent_key_id from virtual_keys where organization_id = :organization_id and id = :key_id"
    "  union select k.id, k.parent_key_id from virtual_keys k join above on k.id = above.parent_key_id"
    "   where k.organization_id = :organization_id)"
    " select exists (select from above where id = :caller_key_id)"
)


def visible_to(caller: Caller) -> Sequence[ColumnElement[bool]]:
    """Conditions on the keys that a caller may see. Keys of a LiteLLM proxy are not managed here."""
    conditions: list[ColumnElement[bool]] = [
        VirtualKey.organization_id == caller.tenant,
        VirtualKey.deleted_at.is_(None),
        VirtualKey.issuer == "bailiwick",
    ]
    if not caller.is_at_least(Role.ADMIN):
        is_own = VirtualKey.membership_id == caller.membership_id
        conditions.append(false() if caller.membership_id is None else is_own)
    return conditions


async def load_key(session: AsyncSession, caller: Caller, public_id: str, *, for_change: bool = False) -> VirtualKey:
    """A key that the caller may see, locked when it is to change. Raises NotFound."""
    key_id = decode(Prefix.VIRTUAL_KEY, public_id)
    if key_id is None:
        raise NotFound
    query = select(VirtualKey).where(VirtualKey.id == key_id, *visible_to(caller))
    if for_change:
        query = query.with_for_update(key_share=True)
    key = await session.scalar(query.execution_options(populate_existing=True))
    if key is None:
        raise NotFound
    return key


def require_active(key: VirtualKey) -> None:
    """Raises KeyTransitionNotAllowed for a key that has ended."""
    if status_of(key, now()) is not KeyStatus.ACTIVE:
        raise KeyTransitionNotAllowed


async def is_limited(session: AsyncSession, caller: Caller) -> bool:
    """Whether the caller is a key that may do less, or for a shorter time, than the member who made it."""
    if caller.credential not in (Credential.VIRTUAL_KEY, Credential.API_KEY):
        return False
    if caller.expires_at or caller.credential is Credential.API_KEY:
        return bool(caller.expires_at)
    key = await session.scalar(
        select(VirtualKey).where(VirtualKey.organization_id == caller.tenant, VirtualKey.id == caller.key_id)
    )
    return key is None or bool(
        key.parent_key_id
        or key.allowed_models
        or key.budget_micros is not None
        or key.rate_limit_rpm
        or key.rate_limit_tpm
    )


async def require_unlimited(session: AsyncSession, caller: Caller) -> None:
    """Raises KeyIsLimited for a caller that `is_limited`."""
    if await is_limited(session, caller):
        raise KeyIsLimited


async def require_power_over(session: AsyncSession, caller: Caller, key: VirtualKey) -> None:
    """Raises RoleRequired, Forbidden or KeyIsLimited unless the caller may hold what `key` can do."""
    role = await session.scalar(
        select(Membership.role).where(Membership.organization_id == caller.tenant, Membership.id == key.membership_id)
    )
    if role is not None and not caller.is_at_least(Role(role)):
        raise RoleRequired
    if not cover_all(caller.scopes, key.scopes):
        raise Forbidden("The key may do more than this credential.")
    if await is_limited(session, caller) and not await _is_of_family(session, caller, key.id):
        raise KeyIsLimited


async def _is_of_family(session: AsyncSession, caller: Caller, key_id: UUID) -> bool:
    """Whether a key is the caller's own or attenuated from it."""
    parameters = {"organization_id": caller.tenant, "key_id": key_id, "caller_key_id": caller.key_id}
    return caller.key_id is not None and bool(await session.scalar(_FAMILY_OF_CALLER, parameters))
