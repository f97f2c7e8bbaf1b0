"""Clinical documentation: a note ordered as SOAP from its own sentences."""

from .note import run

__all__ = ["run"]
