"""Dispatch to hosted templates: their own engine and, when one is configured, a model that words what it found."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from bailiwick import dlp
from bailiwick.invocations.dispatch import models
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.errors import TargetUnavailable
from bailiwick.invocations.model_list import Deployment
from bailiwick.invocations.prices import cost_micros, most_tokens
from bailiwick.invocations.requests import InspectedText, Usage
from bailiwick.registry import AgentTemplate, TemplateContext, TemplateInput, TemplateResult, model_messages

_MOST_FACT_BYTES = 32_000
_MESSAGE_OVERHEAD_TOKENS = 64
_SPECIMEN = TemplateContext(organization_name="", now=datetime.min.replace(tzinfo=UTC))


class TemplateTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A hosted template. `context` loads what the template needs to know, after admission."""

    template: AgentTemplate
    context: Callable[[], Awaitable[TemplateContext]] | TemplateContext
    price_micros: int
    deployments: Sequence[Deployment]
    """Where the model is served, tried in this order; none: the template's own engine answers."""
    exchange: Exchange
    timeout_seconds: float
    kind: str = "template"

    @property
    def name(self) -> str:
        """The template's id."""
        return self.template.id

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """The price of a run and, with a model, the dearest answer to the longest prompt it can get."""
        if not self.deployments:
            return self.price_micros
        tokens = sum(most_tokens(inspected.text) for inspected in texts) + _MOST_FACT_BYTES + _MESSAGE_OVERHEAD_TOKENS
        bare = TemplateResult(response="", facts="", structured={}, input_units=0, output_units=0)
        frame = model_messages(self.template, TemplateInput(message="", context=_SPECIMEN), bare)
        tokens += sum(most_tokens(message["content"]) for message in frame)
        return self.price_micros + max(
            cost_micros(deployment, tokens, deployment.max_output_tokens) for deployment in self.deployments
        )

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> str:
        """The run's response. Raises TargetUnavailable and its kin when the model fails."""
        context = self.context if isinstance(self.context, TemplateContext) else await self.context()
        given = TemplateInput(
            message=texts[0], system_prompt_override=texts[1] if len(texts) > 1 else None, context=context
        )
        result = self.template.run(given)
        if not self.deployments:
            usage.model = self.template.engine
            usage.input_tokens, usage.output_tokens = result.input_units, result.output_units
            usage.cost_micros = self.price_micros
            return result.response
        messages = model_messages(self.template, given, msgspec.structs.replace(result, facts=_for_model(result.facts)))
        for deployment in self.deployments[:-1]:
            with contextlib.suppress(TargetUnavailable):
                return await self._ask(deployment, messages, usage)
        return await self._ask(self.deployments[-1], messages, usage)

    async def _ask(self, deployment: Deployment, messages: models.Messages, usage: Usage) -> str:
        answer = await models.complete(self.exchange, deployment, messages, usage, timeout_seconds=self.timeout_seconds)
        usage.cost_micros += self.price_micros
        return answer


def _for_model(facts: str) -> str:
    """Facts as a model may see them. They quote audit entries and log events, which nobody has inspected yet: secrets
    are masked and, where there is PHI, everything that was found.
    """
    findings = dlp.scan(facts)
    if not dlp.is_blocking_phi(findings):
        findings = [finding for finding in findings if finding.category is dlp.Category.SECRET]
    masked = dlp.mask(facts, findings) if findings else facts
    # Marks within the facts grow by a byte each when they are made harmless.
    room = _MOST_FACT_BYTES - masked.count("<facts") - masked.count("</facts")
    return masked.encode("utf-8", "replace")[:room].decode(errors="ignore")
