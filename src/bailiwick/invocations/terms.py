"""The terms of each organisation, kept in this process until they change.

A change tells every process (`organization:<id>`); admission compares the version once more, so that a process that has
not heard yet is corrected before anything is spent.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

from bailiwick import billing
from bailiwick.billing import Terms
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction

_MOST_ORGANIZATIONS = 10_000


class TermsCache:
    """Least recently used organisations go first."""

    def __init__(self) -> None:
        self._terms: OrderedDict[UUID, Terms] = OrderedDict()

    async def get(self, organization_id: UUID) -> Terms | None:
        """The terms; None when the organisation has no tenant record."""
        terms = self._terms.get(organization_id)
        moment = now()
        if terms is None:
            terms = await self._read(organization_id)
        if terms is not None and terms.period_end is not None and moment >= terms.period_end:
            await billing.renew_period(organization_id)
            terms = await self._read(organization_id)
        return terms

    async def _read(self, organization_id: UUID) -> Terms | None:
        async with tenant_transaction(organization_id) as session:
            terms = await billing.invocation_terms(session, organization_id)
        if terms is None:
            self._terms.pop(organization_id, None)
            return None
        self._terms[organization_id] = terms
        self._terms.move_to_end(organization_id)
        if len(self._terms) > _MOST_ORGANIZATIONS:
            self._terms.popitem(last=False)
        return terms

    def drop(self, organization: str | None) -> None:
        """Forgets one organisation (its UUID), or all after a gap in notifications."""
        if organization is None:
            self._terms.clear()
        else:
            self._terms.pop(UUID(organization), None)

    def forget(self, organization_id: UUID) -> None:
        """Forgets one organisation, whose terms turned out to be stale."""
        self._terms.pop(organization_id, None)
