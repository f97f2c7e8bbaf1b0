"""Bailiwick: a self-hosted control plane for fleets of AI agents."""

from importlib.metadata import version

__version__ = version("bailiwick")
