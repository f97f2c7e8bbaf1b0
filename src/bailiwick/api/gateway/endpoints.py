"""What tells the forms of model calls apart over HTTP."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from bailiwick.invocations import COUNTS, EMBEDDINGS, MODEL_CALL_KINDS, ModelDialect


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One operation."""

    operation: str
    path: str
    dialect: ModelDialect
    required: tuple[str, ...]
    """Members without which a body is none."""
    nothing: dict[str, Any]
    """An answer in which the model says nothing."""
    is_anthropic: bool = False
    makes_embeddings: bool = False
    counts_tokens: bool = False
    document: dict[str, Any] | None = None
    """Its text in the OpenAPI document, where no contract has one."""

    @property
    def kind(self) -> str:
        """What its invocations are called."""
        if self.counts_tokens:
            return COUNTS
        return EMBEDDINGS if self.makes_embeddings else MODEL_CALL_KINDS[self.dialect]

    def streams(self, body: dict[str, Any]) -> bool:
        """Whether a request is answered by a stream."""
        return bool(body.get("stream")) and not self.makes_embeddings and not self.counts_tokens

    def empty_answer(self, identifier: str, model: str) -> dict[str, Any]:
        """What the contract answers to a call that was killed and whose caller wants to understand it."""
        created: dict[str, Any] = {key: int(time.time()) for key in ("created", "created_at") if key in self.nothing}
        return {"id": identifier, "model": model, **self.nothing, **created}

    def error_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """An error in this form."""
        return {"type": "error", **body} if self.is_anthropic else body
