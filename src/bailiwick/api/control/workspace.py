"""`/api/v1/workspace`: the organization of the credential."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from bailiwick import identity
from bailiwick.api.control.people import CamelCase, moment
from bailiwick.identity import Caller, Role, Workspace
from bailiwick.kernel.clock import rfc3339
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import Prefix, encode


class WorkspacePatch(CamelCase):
    """What is given is changed. `vertical` and `baaSigned` go beyond the contract; a signature is not taken back."""

    name: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    slug: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+\Z")] | UnsetType = UNSET
    vertical: Literal["general", "healthcare", "behavioral_health"] | UnsetType = UNSET
    baa_signed: bool | UnsetType = UNSET


class WorkspaceView(CamelCase):
    """components/schemas/Workspace, with the vertical and the BAA: whether, when and by which user it was signed."""

    workspace_id: str
    id: str
    name: str
    slug: str
    plan_tier: str
    trial_expires_at: str | None
    owner_id: str | UnsetType
    member_count: int
    role: str
    is_active: bool
    config_version: int
    vertical: str
    baa_signed: bool
    baa_signed_at: str | None
    baa_signed_by: str | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, workspace: Workspace, role: Role) -> WorkspaceView:
        """An organization as a member of this role sees it."""
        organization = workspace.organization
        public_id = encode(Prefix.ORGANIZATION, organization.id)
        return cls(
            workspace_id=public_id,
            id=public_id,
            name=organization.name,
            slug=organization.slug,
            plan_tier=organization.plan_tier,
            trial_expires_at=moment(organization.trial_expires_at),
            owner_id=encode(Prefix.USER, workspace.owner_id) if workspace.owner_id else UNSET,
            member_count=workspace.member_count,
            role=role.value,
            is_active=organization.deleted_at is None,
            config_version=organization.version,
            vertical=organization.vertical,
            baa_signed=organization.baa_signed_at is not None,
            baa_signed_at=moment(organization.baa_signed_at),
            baa_signed_by=encode(Prefix.USER, organization.baa_signed_by) if organization.baa_signed_by else None,
            created_at=rfc3339(organization.created_at),
            updated_at=rfc3339(organization.updated_at),
        )


@get("/api/v1/workspace", operation_id="governance_get_workspace")
async def get_workspace(caller: NamedDependency[Caller]) -> WorkspaceView:
    """The workspace of the credential."""
    return WorkspaceView.of(await identity.read_workspace(caller), caller.role)


@patch("/api/v1/workspace", operation_id="governance_update_workspace", min_role=Role.ADMIN)
async def update_workspace(caller: NamedDependency[Caller], data: JSONBody[WorkspacePatch]) -> WorkspaceView:
    """Changes name, slug or vertical, and records that the BAA was signed."""
    if data.baa_signed is False:
        raise InvalidInput.of("baaSigned", "can only be true: a signature is not taken back here")
    workspace = await identity.update_workspace(
        caller,
        name=data.name or None,
        slug=data.slug or None,
        vertical=data.vertical or None,
        baa_signed=data.baa_signed is True,
    )
    return WorkspaceView.of(workspace, caller.role)


ROUTES = [get_workspace, update_workspace]
