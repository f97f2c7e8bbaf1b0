"""The API families: thin encodings of the domain's use cases."""

from bailiwick.api.application import build_api

__all__ = ["build_api"]
