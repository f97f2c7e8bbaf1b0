"""Agents and their templates."""

from bailiwick.registry.facts import load_context
from bailiwick.registry.templates import TEMPLATES, AgentTemplate

__all__ = ["TEMPLATES", "AgentTemplate", "load_context"]
