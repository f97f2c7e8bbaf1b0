"""Users, organizations, memberships, sessions, keys, issuers, mail."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from bailiwick.kernel.database import Base

_MOMENT = DateTime(timezone=True)


class User(Base):
    """A person. One who signs in through an external issuer has neither an address nor a password here."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    email_verified_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    disabled_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    signup_source: Mapped[str | None] = mapped_column(Text)
    marketing_attribution: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class Organization(Base):
    """The tenant. `version` rises with every change that an invocation must know of."""

    __tablename__ = "organizations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    slug: Mapped[str] = mapped_column(Text)
    plan_tier: Mapped[str] = mapped_column(Text)
    trial_expires_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    vertical: Mapped[str] = mapped_column(Text, server_default="general")
    baa_signed_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    baa_signed_by: Mapped[UUID | None]
    stores_content: Mapped[bool] = mapped_column(server_default=text("false"))
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    deleted_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class Membership(Base):
    """A user in an organization. Deactivated: may come back; removed: the row stays for what refers to it."""

    __tablename__ = "memberships"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    role: Mapped[str] = mapped_column(Text)
    budget_tier: Mapped[str] = mapped_column(Text, server_default="JUNIOR")
    department_id: Mapped[str | None] = mapped_column(Text)
    deactivated_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    removed_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    last_login_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class Session(Base):
    """One signed-in device; its access tokens name it, its refresh tokens form one family."""

    __tablename__ = "sessions"

    organization_id: Mapped[UUID]
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    membership_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(_MOMENT)
    revoked_at: Mapped[datetime | None] = mapped_column(_MOMENT)


class RefreshToken(Base):
    """One link of a session's family of refresh tokens; `used_at` is set when it is exchanged."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(_MOMENT)
    used_at: Mapped[datetime | None] = mapped_column(_MOMENT)


class EmailVerification(Base):
    """A link that proves an address; a newer one cancels those before it."""

    __tablename__ = "email_verifications"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(_MOMENT)
    used_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    cancelled_at: Mapped[datetime | None] = mapped_column(_MOMENT)


class VirtualKey(Base):
    """Calls models through the gateway. `issuer`: our own gateway or a LiteLLM proxy."""

    __tablename__ = "virtual_keys"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    membership_id: Mapped[UUID | None]
    parent_key_id: Mapped[UUID | None]
    issuer: Mapped[str] = mapped_column(Text, server_default="bailiwick")
    external_id: Mapped[str | None] = mapped_column(Text)
    label: Mapped[str] = mapped_column(Text)
    key_prefix: Mapped[str] = mapped_column(Text)
    key_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{*}'"))
    allowed_models: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    account_id: Mapped[UUID | None]
    budget_micros: Mapped[int | None] = mapped_column(BigInteger)
    budget_period: Mapped[str] = mapped_column(Text, server_default="month")
    rate_limit_rpm: Mapped[int | None]
    rate_limit_tpm: Mapped[int | None]
    cache_seconds: Mapped[int] = mapped_column(server_default=text("0"))
    department_id: Mapped[str | None] = mapped_column(Text)
    limits_of: Mapped[UUID | None]
    replaced_by: Mapped[UUID | None]
    # "metadata" is a name that SQLAlchemy keeps for itself.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=text("'{}'"))
    expires_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    revoked_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    deleted_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    last_used_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())

    @property
    def limits_id(self) -> UUID:
        """What its budgets are found by: the first key of its chain of rotations."""
        return self.limits_of or self.id


class ApiKey(Base):
    """Calls our API as the member who made it, within its scopes."""

    __tablename__ = "api_keys"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    membership_id: Mapped[UUID]
    label: Mapped[str] = mapped_column(Text)
    key_prefix: Mapped[str] = mapped_column(Text)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{*}'"))
    expires_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    revoked_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    last_used_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class ExternalOrganization(Base):
    """The organization that an external issuer's org_id stands for."""

    __tablename__ = "external_organizations"

    issuer: Mapped[str] = mapped_column(Text, primary_key=True)
    external_id: Mapped[str] = mapped_column(Text, primary_key=True)
    organization_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class ExternalUser(Base):
    """The user that an external issuer's subject stands for; `email` is the issuer's word and signs nobody in here."""

    __tablename__ = "external_users"

    issuer: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID]
    email: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class SigningKey(Base):
    """Signs access tokens. `id` is the key's RFC 7638 thumbprint; the private half is sealed."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    retired_at: Mapped[datetime | None] = mapped_column(_MOMENT)


class Mail(Base):
    """An outgoing mail; once a mail server has it, its body is erased."""

    __tablename__ = "mails"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    recipient: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    sent_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    last_error: Mapped[str | None] = mapped_column(Text)
