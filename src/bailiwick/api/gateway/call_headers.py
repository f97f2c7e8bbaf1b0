"""The header fields of model calls: what a client says of its call, and what it is told of governance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from bailiwick.invocations import RunningCall
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.ids import Prefix, decode, encode

_MOST_SESSION = 256
_MOST_CONTEXT_BYTES = 8 * 1024
_SENSITIVITIES = ("low", "medium", "high", "critical")
# Credentials are for us; the rest describes this connection or this body, not the next one.
_NOT_PASSED_ON = frozenset(
    {
        *("authorization", "x-api-key", "cookie", "host", "connection", "content-length", "content-type"),
        *("accept-encoding", "transfer-encoding", "te", "upgrade", "expect", "x-session-id", "x-workspace-id"),
        *("x-intutic-context", "x-intutic-cost-limit", "x-intutic-sensitivity"),
    }
)


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by lower-case name; of one that is repeated the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that may concern the model's provider or a trace."""
    return {name: value for name, value in headers.items() if name not in _NOT_PASSED_ON}


def session_of(headers: Mapping[str, str]) -> str | None:
    """`x-session-id`; None when it names none. Raises InvalidInput."""
    name = headers.get("x-session-id", "")
    try:
        name = name.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InvalidInput.of("x-session-id", "must be UTF-8") from None
    if len(name) > _MOST_SESSION or any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise InvalidInput.of("x-session-id", f"must be at most {_MOST_SESSION} characters, none of control")
    return name or None


def names_another_workspace(headers: Mapping[str, str], organization_id: UUID) -> bool:
    """Whether `x-workspace-id` is another workspace than the credential's."""
    named = headers.get("x-workspace-id")
    return bool(named) and decode(Prefix.ORGANIZATION, str(named)) != organization_id


def micros_of(value: object, field: str) -> int:
    """An amount of USD in micro-dollars, rounded down. Raises InvalidInput."""
    try:
        amount = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise InvalidInput.of(field, "must be an amount in USD, zero or more")
    return math.floor(min(amount, 1e9) * 1_000_000)


def most_micros(headers: Mapping[str, str], body: Mapping[str, Any]) -> int | None:
    """The most that the call may cost: the lower of `X-Intutic-Cost-Limit` and the body's `max_cost_usd`."""
    told = [
        micros_of(value, field)
        for value, field in (
            (headers.get("x-intutic-cost-limit"), "X-Intutic-Cost-Limit"),
            (body.get("max_cost_usd"), "max_cost_usd"),
        )
        if value is not None
    ]
    return min(told) if told else None


def context_of(headers: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, object]:
    """`X-Intutic-Context` and the call's sensitivity, for its trace. Raises InvalidInput."""
    context: dict[str, object] = {}
    raw = headers.get("x-intutic-context")
    if raw is not None:
        try:
            given = msgspec.json.decode(raw.encode("latin-1"))
        except (msgspec.DecodeError, RecursionError):
            given = None
        if not isinstance(given, dict) or len(raw) > _MOST_CONTEXT_BYTES or "\\u0000" in raw:
            raise InvalidInput.of("X-Intutic-Context", f"must be a JSON object of at most {_MOST_CONTEXT_BYTES} bytes")
        context |= given
    field = "X-Intutic-Sensitivity" if "x-intutic-sensitivity" in headers else "sensitivity_tier"
    sensitivity = headers.get("x-intutic-sensitivity", body.get("sensitivity_tier"))
    if sensitivity is not None:
        if sensitivity not in _SENSITIVITIES:
            raise InvalidInput.of(field, f"must be one of {', '.join(_SENSITIVITIES)}")
        context["sensitivity"] = sensitivity
    return context


def told(
    running: RunningCall | None, *, is_killed: bool = False, refused_as: UUID | None = None, returned_micros: int = 0
) -> list[tuple[bytes, bytes]]:
    """What governance tells of a call. `refused_as`: the trace of one that was not admitted; `returned_micros`: of what
    was reserved, what its settlement gave back."""
    if running is None:
        killed = [(b"x-intutic-verdict", b"kill")] if is_killed else []
        return killed if refused_as is None else [*killed, _trace(refused_as)]
    verdict = "kill" if is_killed else running.decision.lower()
    headers = [
        (b"x-intutic-verdict", verdict.encode()),
        _trace(running.admission.id),
    ]
    left, limit = running.admitted.left_micros, running.admitted.limit_micros
    if left is not None and limit is not None:
        left += returned_micros
        used = 100.0 if limit <= 0 else min(100.0, max(0.0, 100.0 * (limit - left) / limit))
        headers += [
            (b"x-intutic-budget-remaining", f"{max(0, left) / 1_000_000:.6f}".encode()),
            (b"x-intutic-budget-pct", f"{used:.2f}".encode()),
        ]
    return headers


def _trace(identifier: UUID) -> tuple[bytes, bytes]:
    return b"x-intutic-trace-id", encode(Prefix.TRACE, identifier).encode()
