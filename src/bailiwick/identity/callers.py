"""Who calls: the verified credential of a request, whatever its kind."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

import msgspec

from bailiwick.kernel.errors import NoOrganization, RoleRequired


class Role(StrEnum):
    """Membership roles, highest first."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    EM = "EM"
    DEVELOPER = "DEVELOPER"
    VIEWER = "VIEWER"


_RANK = {role: rank for rank, role in enumerate(reversed(Role))}


class Credential(StrEnum):
    """The kinds of credential."""

    ACCESS_TOKEN = "access_token"
    API_KEY = "api_key"
    VIRTUAL_KEY = "virtual_key"
    EXTERNAL_TOKEN = "external_token"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller. `organization_id` is None for an external token without an organisation."""

    credential: Credential
    organization_id: UUID | None
    organization_name: str | None
    """The organisation as the token names it: our public id, or an external issuer's `org_id`."""
    subject: str
    """The user as the token names it: our public user id (usr_...), or an external issuer's `sub`."""
    user_id: UUID | None = None
    membership_id: UUID | None = None
    role: Role = Role.VIEWER
    session_id: UUID | None = None
    key_id: UUID | None = None
    scopes: tuple[str, ...] = ("*",)
    expires_at: float = 0.0
    """Unix seconds after which the credential is no longer valid; 0: never."""

    @property
    def tenant(self) -> UUID:
        """The organisation. Raises NoOrganization."""
        if self.organization_id is None:
            raise NoOrganization
        return self.organization_id

    def is_at_least(self, role: Role) -> bool:
        """Whether the caller's role is `role` or higher."""
        return _RANK[self.role] >= _RANK[role]

    def require(self, role: Role) -> None:
        """Raises RoleRequired below `role`."""
        if not self.is_at_least(role):
            raise RoleRequired
