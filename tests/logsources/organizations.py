"""Organizations and callers for tests of use cases."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from bailiwick.identity import Caller, Credential, Role
from bailiwick.kernel import ids
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.ids import Prefix, uuid7


async def new_caller() -> Caller:
    """A member of an organization of its own."""
    organization_id = uuid7()
    async with system_transaction(CrossTenantUse.SIGN_UP) as session:
        await session.execute(
            text("insert into organizations (id, name, slug, plan_tier) values (:id, 'Acme', :slug, 'free_trial')"),
            {"id": organization_id, "slug": f"acme-{organization_id}"},
        )
    return caller_of(organization_id)


def caller_of(organization_id: UUID) -> Caller:
    return Caller(
        credential=Credential.ACCESS_TOKEN,
        organization_id=organization_id,
        organization_name=ids.encode(Prefix.ORGANIZATION, organization_id),
        subject="usr_test",
        role=Role.DEVELOPER,
    )


async def actions(caller: Caller) -> list[str]:
    """The actions in the organization's audit log, oldest first."""
    async with system_transaction(CrossTenantUse.VERIFY) as session:
        found = await session.scalars(
            text("select body::json ->> 'action' from audit_entries where organization_id = :id order by sequence"),
            {"id": caller.tenant},
        )
        return list(found)
