"""E-mail addresses: their one spelling, and the proof that they belong to a user."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bailiwick import audit
from bailiwick.identity.errors import AlreadyVerified, UserNotFound, VerificationExpired, VerificationInvalid
from bailiwick.identity.mail import queue_mail
from bailiwick.identity.tables import EmailVerification, Membership, User
from bailiwick.kernel import rate_limits
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.crypto import hash_token
from bailiwick.kernel.database import narrow, system_transaction
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import Prefix, encode
from bailiwick.kernel.runtime import runtime

_LONGEST = 256
_TOKEN_LENGTH = 64
_LIFETIME = timedelta(hours=24)


def normal_email(given: str) -> str:
    """The address in lower case and Unicode NFC. Raises InvalidInput.

    Only its form is checked (RFC 5321, 5322, 6531): no DNS look-up, and names of private networks are fine, since an
    installation may serve one.
    """
    try:
        checked = validate_email(given, check_deliverability=False, globally_deliverable=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidInput.of("email", f"is not an e-mail address: {error}") from None
    email: str = checked.normalized.lower()
    if len(email) > _LONGEST:
        raise InvalidInput.of("email", f"is longer than {_LONGEST} characters")
    return email


async def send_verification(session: AsyncSession, *, user_id: UUID, email: str, name: str) -> None:
    """Cancels the user's earlier tokens, makes one of 64 characters for 24 h, and writes the mail that carries it."""
    await session.execute(
        update(EmailVerification)
        .where(
            EmailVerification.user_id == user_id,
            EmailVerification.used_at.is_(None),
            EmailVerification.cancelled_at.is_(None),
        )
        .values(cancelled_at=func.now())
    )
    token = secrets.token_hex(_TOKEN_LENGTH // 2)
    session.add(EmailVerification(token_hash=hash_token(token), user_id=user_id, expires_at=now() + _LIFETIME))
    await queue_mail(
        session,
        recipient=email,
        subject="Confirm your e-mail address",
        body=(
            f"Hello {name},\n\nplease confirm your e-mail address:\n\n"
            f"{runtime().settings.base_url}/verify-email?token={token}\n\n"
            "The link works once and for 24 hours. If you did not sign up, ignore this mail.\n"
        ),
    )


async def _audit_at_home(session: AsyncSession, user_id: UUID, action: str) -> None:
    """Tells the log of the user's first organization, where their account is at home."""
    home = await session.scalar(
        select(Membership.organization_id)
        .where(Membership.user_id == user_id, Membership.removed_at.is_(None))
        .order_by(Membership.id)
        .limit(1)
    )
    if home is not None:
        await narrow(session, home)
        subject = encode(Prefix.USER, user_id)
        await audit.append(session, home, action=action, actor=subject, subject=subject, attributes={})


async def verify_email(token: str) -> str:
    """Marks the address of the token's owner as verified and returns it.

    Raises VerificationInvalid, VerificationExpired.
    """
    async with system_transaction(CrossTenantUse.ACCOUNT) as session:
        one = select(EmailVerification).where(EmailVerification.token_hash == hash_token(token))
        found = await session.scalar(one)
        if found is None:
            raise VerificationInvalid
        # The user's row decides between two uses of one token; it comes first here as in `resend_verification`.
        user = (await session.scalars(select(User).where(User.id == found.user_id).with_for_update())).one()
        found = await session.scalar(one.execution_options(populate_existing=True))
        if found is None or len(token) != _TOKEN_LENGTH or found.used_at is not None or found.cancelled_at is not None:
            raise VerificationInvalid
        if found.expires_at <= now():
            raise VerificationExpired
        found.used_at = now()
        user.email_verified_at = user.email_verified_at or now()
        await session.flush()
        await _audit_at_home(session, user.id, "user.email_verified")
        return user.email or ""


async def resend_verification(given: str) -> None:
    """Cancels earlier verification tokens and sends a new one.

    Each request is counted before anything else is looked at. Raises RateLimited, InvalidInput, UserNotFound,
    AlreadyVerified.
    """
    await rate_limits.count(
        "resend-verification",
        given.strip().lower(),
        limit=runtime().settings.resend_verification_per_minute,
    )
    email = normal_email(given)
    async with system_transaction(CrossTenantUse.ACCOUNT) as session:
        # Of two requests at once the later cancels the earlier's token.
        user = await session.scalar(select(User).where(User.email == email).with_for_update())
        if user is None:
            raise UserNotFound
        if user.email_verified_at is not None:
            raise AlreadyVerified
        await send_verification(session, user_id=user.id, email=email, name=user.name)
        await _audit_at_home(session, user.id, "user.verification_sent")
