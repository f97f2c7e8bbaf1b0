"""Dispatch to hosted templates: their own engine and, when one is configured, a model that words what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bailiwick import dlp
from bailiwick.invocations.dialects import Dialect
from bailiwick.invocations.dispatch.model_requests import ModelRequest
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.errors import ProviderRefused, TargetUnavailable
from bailiwick.invocations.prices import most_tokens
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
    model: str | None
    """The model that words the response; None: the template's own engine answers."""
    upstreams: Upstreams
    kind: str = "template"

    @property
    def name(self) -> str:
        """The template's id."""
        return self.template.id

    def worst_case_micros(self, texts: Sequence[InspectedText]) -> int:
        """The price of a run and, with a model, the dearest answer to the longest prompt it can get."""
        if self.model is None:
            return self.price_micros
        tokens = sum(most_tokens(inspected.text) for inspected in texts) + _MOST_FACT_BYTES + _MESSAGE_OVERHEAD_TOKENS
        bare = TemplateResult(response="", facts="", structured={}, input_units=0, output_units=0)
        frame = model_messages(self.template, TemplateInput(message="", context=_SPECIMEN), bare)
        tokens += sum(most_tokens(message["content"]) for message in frame)
        most_output = self.upstreams.most_output_tokens(self.model)
        return self.price_micros + self.upstreams.worst_case_micros(self.model, tokens, most_output)

    async def dispatch(self, texts: Sequence[str], usage: Usage) -> str:
        """The run's response. Raises TargetUnavailable and its kin when the model fails."""
        context = self.context if isinstance(self.context, TemplateContext) else await self.context()
        given = TemplateInput(
            message=texts[0], system_prompt_override=texts[1] if len(texts) > 1 else None, context=context
        )
        result = self.template.run(given)
        if self.model is None:
            usage.model = self.template.engine
            usage.input_tokens, usage.output_tokens = result.input_units, result.output_units
            usage.cost_micros = self.price_micros
            return result.response
        messages = model_messages(self.template, given, msgspec.structs.replace(result, facts=_for_model(result.facts)))
        request = ModelRequest(
            dialect=Dialect.CHAT,
            body={"model": self.model, "messages": messages},
            most_output_tokens=self.upstreams.most_output_tokens(self.model),
            most_input_tokens=sum(most_tokens(message["content"]) for message in messages),
        )
        try:
            answer = await self.upstreams.complete(self.model, request, usage)
        except ProviderRefused as refused:  # what it says is for the operator, not for who runs an agent
            raise TargetUnavailable(refused.message) from None
        except asyncio.CancelledError:
            usage.cost_micros = 0  # only a run that has been completed costs something, its model included
            raise
        usage.cost_micros += self.price_micros
        if usage.raw_cost_micros is not None:
            usage.raw_cost_micros += self.price_micros
        return _text(answer.body)


def _text(completion: Mapping[str, Any]) -> str:
    """The text of a chat completion. Raises TargetUnavailable when there is none."""
    match completion:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text
        case {"choices": [{"message": {}}, *_]}:
            return ""
    raise TargetUnavailable("The model's answer held no choice.")


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
