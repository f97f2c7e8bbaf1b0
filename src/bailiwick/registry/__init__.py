"""Agents and their templates."""

from bailiwick.registry.facts import load_context
from bailiwick.registry.templates import (
    TEMPLATES,
    AgentTemplate,
    Need,
    TemplateContext,
    TemplateInput,
    TemplateResult,
    model_messages,
)

__all__ = [
    "TEMPLATES",
    "AgentTemplate",
    "Need",
    "TemplateContext",
    "TemplateInput",
    "TemplateResult",
    "load_context",
    "model_messages",
]
