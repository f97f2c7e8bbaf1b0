"""Sign-in by e-mail and password, and the change of a password."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Row, func, select, text, update

from bailiwick import audit
from bailiwick.identity.callers import Caller, Role
from bailiwick.identity.email_addresses import normal_email
from bailiwick.identity.errors import CredentialsRefused
from bailiwick.identity.members import find_member
from bailiwick.identity.passwords import hash_password, is_outdated, password_matches
from bailiwick.identity.process import process_state
from bailiwick.identity.sessions import end_other_sessions, open_session
from bailiwick.identity.sign_up import SignedIn
from bailiwick.identity.tables import Membership, User
from bailiwick.kernel import rate_limits
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import narrow, system_transaction
from bailiwick.kernel.ids import Prefix, encode
from bailiwick.kernel.runtime import runtime

# The organization that a user signs in to: where they were last, else their first.
_FIND = text(
    "select u.id as user_id, u.password_hash, m.organization_id, m.id as membership_id, m.role"
    " from users u left join lateral (select m.* from memberships m"
    "  join organizations o on o.id = m.organization_id and o.deleted_at is null"
    "  where m.user_id = u.id and m.removed_at is null and m.deactivated_at is null"
    "  order by m.last_login_at desc nulls last, m.id limit 1) m on true"
    " where u.email = :email and u.disabled_at is null"
)


async def _find(email: str) -> Row[tuple[UUID, str | None, UUID | None, UUID | None, str | None]] | None:
    async with system_transaction(CrossTenantUse.SIGN_IN) as session:
        return (await session.execute(_FIND, {"email": email})).first()


async def log_in(given_email: str, password: str) -> SignedIn:
    """A new session. Unknown address, wrong password and a deactivated member answer alike, and as slowly.

    Raises InvalidInput, RateLimited, CredentialsRefused.
    """
    email = normal_email(given_email)
    await rate_limits.count("log-in", email, limit=runtime().settings.login_attempts_per_minute)
    found = await _find(email)
    matches = await password_matches(found.password_hash if found else None, password)
    if found is None or not matches or found.membership_id is None:
        raise CredentialsRefused
    renewed = await hash_password(password) if is_outdated(found.password_hash) else found.password_hash
    await process_state().key_ring.active()
    async with system_transaction(CrossTenantUse.SIGN_IN) as session:
        # The password was checked outside this transaction: it must still be the one that was checked.
        user_id = await session.scalar(
            update(User)
            .where(User.id == found.user_id, User.password_hash == found.password_hash, User.disabled_at.is_(None))
            .values(password_hash=renewed)
            .returning(User.id)
        )
        role = await session.scalar(
            update(Membership)
            .where(
                Membership.organization_id == found.organization_id,
                Membership.id == found.membership_id,
                Membership.removed_at.is_(None),
                Membership.deactivated_at.is_(None),
            )
            .values(last_login_at=now())
            .returning(Membership.role)
        )
        if user_id is None or role is None:
            raise CredentialsRefused
        tokens = await open_session(
            session,
            organization_id=found.organization_id,
            user_id=user_id,
            membership_id=found.membership_id,
            role=Role(role),
        )
        member = await find_member(session, found.organization_id, found.membership_id)
        await narrow(session, found.organization_id)
        await audit.append(
            session,
            found.organization_id,
            action="session.opened",
            actor=encode(Prefix.USER, user_id),
            subject=encode(Prefix.MEMBERSHIP, found.membership_id),
            attributes={},
        )
        return SignedIn(tokens, member)


async def change_password(caller: Caller, *, current: str, new: str) -> None:
    """Sets a new password and ends every other session of the user. Raises CredentialsRefused, RateLimited."""
    await rate_limits.count("change-password", str(caller.user_id), limit=runtime().settings.login_attempts_per_minute)
    async with system_transaction(CrossTenantUse.ACCOUNT) as session:
        stored = await session.scalar(select(User.password_hash).where(User.id == caller.user_id))
    if caller.user_id is None or not await password_matches(stored, current):
        raise CredentialsRefused("The current password is wrong.")
    hashed = await hash_password(new)
    async with system_transaction(CrossTenantUse.ACCOUNT) as session:
        # Of two changes at once the one that was checked against the present password wins.
        changed = await session.scalar(
            update(User)
            .where(User.id == caller.user_id, User.password_hash == stored)
            .values(password_hash=hashed, updated_at=func.now())
            .returning(User.id)
        )
        if changed is None:
            raise CredentialsRefused("The current password is wrong.")
        ended = await end_other_sessions(session, user_id=changed, except_id=caller.session_id)
        await narrow(session, caller.tenant)
        await audit.append(
            session,
            caller.tenant,
            action="user.password_changed",
            actor=caller.subject,
            subject=encode(Prefix.USER, changed),
            attributes={"sessions_ended": ended},
        )
