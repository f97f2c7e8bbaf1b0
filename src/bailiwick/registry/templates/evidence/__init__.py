"""Compliance evidence: maps audit entries, policies and settings to SOC 2, HIPAA and ISO/IEC 27001 controls."""

from .catalogue import SETTING_NAMES
from .collect import run

__all__ = ["SETTING_NAMES", "run"]
