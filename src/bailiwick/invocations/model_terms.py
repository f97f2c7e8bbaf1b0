"""Where the money of model calls comes from and what limits it, kept in this process until it changes.

Whatever changes a key, a member or a limit raises the organisation's version and tells every process; admission
compares the version once more.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

import msgspec

from bailiwick import identity, ledger
from bailiwick.identity import Caller, Credential, MoneyLimit
from bailiwick.invocations.errors import CredentialRevoked
from bailiwick.invocations.requests import Admitted, Charge
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import NotFound
from bailiwick.kernel.ids import Prefix, encode

_MOST = 50_000
_Place = tuple[UUID, UUID | None, UUID | None, str]


class ModelTerms(msgspec.Struct):
    """The terms of the calls of one credential in one session."""

    charge: Charge
    allowed_models: frozenset[str]
    """Empty: every model."""
    cache_seconds: int
    """How long an answer to exactly the same request is repeated; 0: never."""
    tokens_per_minute: int | None = None
    """The most tokens that a call may use: more do not fit into any minute. None: the key has no such limit."""
    left_micros: int | None = None
    """What the narrowest budget had left when the last call of this process was admitted; None: not known."""

    def allows(self, model: str) -> bool:
        """Whether the model may be called."""
        return identity.allows_model(self.allowed_models, model)


class ModelTermsCache:
    """Least recently used terms go first."""

    def __init__(self, limit: int = _MOST) -> None:
        self._limit = limit
        self._terms: OrderedDict[_Place, ModelTerms] = OrderedDict()
        self._of_organization: dict[UUID, set[_Place]] = {}
        self._drops = 0

    async def get(self, caller: Caller, session_name: str) -> ModelTerms:
        """The terms of a caller. Raises CredentialRevoked."""
        place = _place(caller, session_name)
        terms = self._terms.get(place)
        if terms is not None:
            self._terms.move_to_end(place)
            return terms
        drops = self._drops
        terms = await _read(caller, session_name)
        if drops == self._drops:  # else it may be out of date already
            self._terms[place] = terms
            self._of_organization.setdefault(caller.tenant, set()).add(place)
            if len(self._terms) > self._limit:
                self._remove(next(iter(self._terms)))
        return terms

    def note(self, caller: Caller, session_name: str, admitted: Admitted) -> None:
        """Notes what admission told of a caller's narrowest budget."""
        terms = self._terms.get(_place(caller, session_name))
        if terms is not None:
            terms.left_micros = admitted.left_micros

    def _remove(self, place: _Place) -> None:
        del self._terms[place]
        places = self._of_organization[place[0]]
        places.discard(place)
        if not places:
            del self._of_organization[place[0]]

    def drop(self, organization: str | None) -> None:
        """Forgets one organisation (its UUID), or all after a gap in notifications."""
        if organization is None:
            self._drops += 1
            self._terms.clear()
            self._of_organization.clear()
        else:
            self.forget(UUID(organization))

    def forget(self, organization_id: UUID) -> None:
        """Forgets one organisation, whose terms turned out to be stale."""
        self._drops += 1
        for place in list(self._of_organization.get(organization_id, ())):
            self._remove(place)


def _place(caller: Caller, session_name: str) -> _Place:
    return caller.tenant, caller.key_id, caller.membership_id, session_name


def virtual_key_of(caller: Caller) -> UUID | None:
    """The virtual key that a caller presents; None for another credential."""
    return caller.key_id if caller.credential is Credential.VIRTUAL_KEY else None


def own_session(caller: Caller) -> str:
    """The session of calls that name none: one for each credential and UTC day."""
    day = now().date().isoformat()
    if caller.key_id is not None:
        kind = Prefix.VIRTUAL_KEY if caller.credential is Credential.VIRTUAL_KEY else Prefix.API_KEY
        return f"{encode(kind, caller.key_id)}:{day}"
    session = caller.subject if caller.session_id is None else encode(Prefix.SESSION, caller.session_id)
    return f"{session}:{day}"


async def _read(caller: Caller, session_name: str) -> ModelTerms:
    organization_id, key_id = caller.tenant, virtual_key_of(caller)
    async with tenant_transaction(organization_id) as session:
        try:
            # First of all: what changes while the rest is read makes the terms stale, not wrong.
            version = (await identity.get_organization(session, organization_id)).version
            settings = (
                identity.KeySettings()
                if key_id is None
                else await identity.read_key_settings(session, organization_id, key_id)
            )
        except NotFound:
            raise CredentialRevoked from None
        spender, sink = [
            await ledger.open_account(
                session, organization_id, ledger="usd_micros", kind=kind, owner_id=organization_id, floor=None
            )
            for kind in ("model_calls", "model_spend")
        ]
        limits = await identity.key_limits(
            session, organization_id, key_id, membership_id=caller.membership_id, session_name=session_name
        )
    return ModelTerms(
        Charge(version, key_id, spender.id, sink.id, limits.budget_ids),
        frozenset(settings.allowed_models),
        settings.cache_seconds,
        limits.tokens_per_minute,
    )


async def narrowest_limit(caller: Caller, session_name: str) -> MoneyLimit:
    """The ceiling in money that has the least left for a call; there always is one, the organisation's."""
    async with tenant_transaction(caller.tenant) as session:
        limits = await identity.money_limits(
            session,
            caller.tenant,
            virtual_key_of(caller),
            membership_id=caller.membership_id,
            session_name=session_name,
        )
    return limits[0]
