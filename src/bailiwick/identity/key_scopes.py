"""What a key may do: `*`, `proxy`, `sync`, `evaluate`, or `<resource>:read|write`, where write includes read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from bailiwick.kernel.errors import InvalidInput

_SCOPE = re.compile(r"\*|proxy|sync|evaluate|[a-z][a-z0-9-]{0,63}:(?:read|write)")
_MOST_SCOPES = 64


def check_scopes(scopes: Iterable[str], *, field: str = "scopes") -> list[str]:
    """The scopes, each once, in their order. Raises InvalidInput."""
    checked = list(dict.fromkeys(scopes))
    if not 1 <= len(checked) <= _MOST_SCOPES:
        raise InvalidInput.of(field, f"must be 1-{_MOST_SCOPES} scopes")
    for position, scope in enumerate(checked):
        if not _SCOPE.fullmatch(scope):
            raise InvalidInput.of(f"{field}.[{position}]", "must be *, proxy, sync, evaluate or <resource>:read|write")
    return checked


def covers(held: Collection[str], wanted: str) -> bool:
    """Whether who holds these scopes holds `wanted`."""
    resource, _, right = wanted.partition(":")
    return "*" in held or wanted in held or (right == "read" and f"{resource}:write" in held)


def cover_all(held: Collection[str], wanted: Iterable[str]) -> bool:
    """Whether every wanted scope is held."""
    return all(covers(held, scope) for scope in wanted)


def intersection(scopes: Sequence[str], bound: Sequence[str]) -> list[str]:
    """What both allow, no more."""
    return list(
        dict.fromkeys(
            [scope for scope in scopes if covers(bound, scope)] + [scope for scope in bound if covers(scopes, scope)]
        )
    )


def models_within(models: Collection[str], bound: Collection[str]) -> bool:
    """Whether an allow-list of models is no wider than another. An empty one allows every model."""
    return not bound or (bool(models) and set(models) <= set(bound))
