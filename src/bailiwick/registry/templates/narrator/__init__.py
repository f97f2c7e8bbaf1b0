"""The audit-trail narrator: what happened, grouped and cited, and what stands out."""

from .narrate import run

__all__ = ["run"]
