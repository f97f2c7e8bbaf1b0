"""Agents and their templates."""

from bailiwick.registry.facts import load_context
from bailiwick.registry.templates import TEMPLATES, AgentTemplate, TemplateContext, TemplateInput, model_messages

__all__ = ["TEMPLATES", "AgentTemplate", "TemplateContext", "TemplateInput", "load_context", "model_messages"]
