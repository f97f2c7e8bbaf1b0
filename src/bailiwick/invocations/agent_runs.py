"""Runs of hosted agents: the use case behind `POST /api/v1/agent/run`."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import msgspec

from bailiwick import registry
from bailiwick.billing import Terms
from bailiwick.identity import Caller
from bailiwick.invocations.calls import Call, Charging, Outcome
from bailiwick.invocations.dispatch.templates import TemplateTarget
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.errors import BaaRequired, TemplateNotFound, TenantNotFound
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.records import AGENT_RUN
from bailiwick.invocations.refusals import Refusal
from bailiwick.invocations.requests import Charge, InspectedText
from bailiwick.invocations.terms import TermsCache
from bailiwick.kernel.clock import now
from bailiwick.kernel.ids import uuid7
from bailiwick.registry import TemplateContext

_REGULATED = frozenset({"healthcare", "behavioral_health"})


class AgentRuns(msgspec.Struct, frozen=True):
    """What a run needs of its process."""

    pipeline: Pipeline
    terms: TermsCache
    upstreams: Upstreams
    model: str | None
    """The model that hosted templates use; None: their own engines."""
    price_micros: int

    async def run(self, caller: Caller, agent_id: str, message: str, system_prompt_override: str | None) -> Outcome:
        """Runs one template under governance and returns the settled outcome.

        Raises, in this order: NoOrganization, TenantNotFound, BaaRequired, TemplateNotFound, AllowanceExhausted,
        InvocationBlocked, TargetUnavailable.
        """
        organization_id = caller.tenant
        charge = await self._charge(caller, agent_id)
        template = registry.TEMPLATES.get(agent_id)
        if template is None:
            raise TemplateNotFound
        context = (
            partial(registry.load_context, organization_id, template.needs)
            if template.needs
            else TemplateContext(organization_name=caller.organization_name or "", now=now())
        )
        texts = [InspectedText(message)]
        if system_prompt_override is not None:
            texts.append(InspectedText(system_prompt_override, "systemPromptOverride"))
        target = TemplateTarget(
            template=template,
            context=context,
            price_micros=self.price_micros,
            model=self.model,
            upstreams=self.upstreams,
        )
        return await self.pipeline.invoke(
            Call(
                caller=caller,
                organization_id=organization_id,
                kind=AGENT_RUN,
                target=target,
                texts=texts,
                charge=Charging(charge, partial(self._charge, caller, agent_id)),
                stale=self.terms.forget,
            )
        )

    async def _charge(self, caller: Caller, agent_id: str) -> Charge:
        """Where a run's money comes from. Raises TenantNotFound, and BaaRequired once its trace is on disk; a run of an
        agent that is not here leaves none."""
        organization_id = caller.tenant
        terms = await self.terms.get(organization_id)
        if terms is not None and not _may_run(terms):
            # Admission corrects terms of yesterday that allow too much; a refusal comes before it, so look again.
            self.terms.forget(organization_id)
            terms = await self.terms.get(organization_id)
        if terms is None or terms.key_id is None or terms.account_id is None:
            raise TenantNotFound
        if _needs_baa(terms):
            if agent_id in registry.TEMPLATES:
                await self._leave_trace(caller, agent_id, terms.key_id, BaaRequired.code)
            raise BaaRequired
        return Charge(
            organization_version=terms.organization_version,
            virtual_key_id=terms.key_id,
            account_id=terms.account_id,
            sink_account_id=terms.sink_account_id,
            budget_ids=(terms.runs_budget_id,),
        )

    async def _leave_trace(self, caller: Caller, agent_id: str, key_id: UUID, error_code: str) -> None:
        refusal = Refusal(
            id=uuid7(),
            caller=caller,
            kind=AGENT_RUN,
            target_kind="template",
            target_name=agent_id,
            virtual_key_id=key_id,
            session_name=None,
            error_code=error_code,
            context=None,
        )
        await self.pipeline.refuse(refusal)


def _needs_baa(terms: Terms) -> bool:
    return terms.vertical in _REGULATED and not terms.baa_signed


def _may_run(terms: Terms) -> bool:
    return terms.key_id is not None and terms.account_id is not None and not _needs_baa(terms)
