"""How members and moments look in the governance contract."""

from __future__ import annotations

from datetime import datetime

import msgspec

from bailiwick.identity import Member
from bailiwick.kernel.clock import rfc3339
from bailiwick.kernel.ids import Prefix, encode


class CamelCase(msgspec.Struct, rename="camel"):
    """Base of bodies and views whose members are spelled in camelCase."""


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, or null."""
    return None if at is None else rfc3339(at)


class MemberView(CamelCase):
    """components/schemas/Member."""

    member_id: str
    workspace_id: str
    user_id: str
    email: str
    display_name: str
    role: str
    is_active: bool
    email_verified: bool
    budget_tier: str
    department_id: str | None
    last_login_at: str | None
    created_at: str

    @classmethod
    def of(cls, member: Member) -> MemberView:
        """A member."""
        return cls(
            member_id=encode(Prefix.MEMBERSHIP, member.membership_id),
            workspace_id=encode(Prefix.ORGANIZATION, member.organization_id),
            user_id=encode(Prefix.USER, member.user_id),
            email=member.email,
            display_name=member.name,
            role=member.role.value,
            is_active=member.is_active,
            email_verified=member.email_verified,
            budget_tier=member.budget_tier,
            department_id=member.department_id,
            last_login_at=moment(member.last_login_at),
            created_at=rfc3339(member.created_at),
        )
