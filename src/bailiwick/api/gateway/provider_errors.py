"""Errors of the family `/v1`, as OpenAI and Anthropic clients read them (components/schemas/ProviderError)."""

from __future__ import annotations

from bailiwick.api.errors import Dialect
from bailiwick.kernel.errors import BailiwickError, InvalidInput, RateLimited, Unauthenticated


class MissingKey(Unauthenticated):
    """Send a virtual key: `Authorization: Bearer vk_...` or `x-api-key`."""

    code = "missing_key"


class ProviderDialect(Dialect, frozen=True):
    """`error.type` and `error.code` both carry the code, `error.param` the wrong field."""

    def body(self, error: BailiwickError) -> dict[str, object]:
        """The envelope."""
        code = self.code(error.code)
        problems = error.problems if isinstance(error, InvalidInput) else ()
        param = problems[0]["path"] if problems else None
        return {"error": {"message": error.message, "type": code, "code": code, "param": param}}

    def headers(self, error: BailiwickError) -> list[tuple[bytes, bytes]]:
        """Header fields that an error carries. Clients try again after a 429; that helps against a rate, and not
        against a budget that is used up, of which each try would be a trace."""
        headers = super().headers(error)
        is_used_up = error.status == 429 and not isinstance(error, RateLimited)
        return [*headers, (b"x-should-retry", b"false")] if is_used_up else headers


PROVIDER = ProviderDialect(
    codes={
        "VALIDATION_ERROR": "invalid_body",
        "UNAUTHENTICATED": "unauthorized",
        "NOT_FOUND": "not_found",
        "FORBIDDEN": "policy_denied",
        "INSUFFICIENT_PERMISSIONS": "policy_denied",
        "NO_ORG": "policy_denied",
        "KILL_SWITCH": "policy_denied",
        "PLAN_LIMIT_REACHED": "BUDGET_EXCEEDED",
        "COST_LIMIT_EXCEEDED": "BUDGET_EXCEEDED",
        "gateway_not_allowed": "policy_denied",
        "MODEL_UNAVAILABLE": "upstream_error",
        "UPSTREAM_FAILED": "upstream_error",
    }
)
