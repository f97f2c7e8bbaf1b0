"""What a key may do: `*`, `proxy`, `sync`, `evaluate`, or `<resource>:read|write`, where write includes read; and which
models it may call."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.wildcards import stood_for

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


NO_MODEL = [""]
"""The allow-list of a key that may call none: an empty list means every model."""


def allows_model(allowed: Collection[str], model: str) -> bool:
    """Whether an allow-list has a model, by its name or by a name with `*`. An empty one allows every model."""
    return not allowed or model in allowed or any(stood_for(name, model) is not None for name in allowed)


def models_within(models: Collection[str], bound: Collection[str]) -> bool:
    """Whether an allow-list of models is no wider than another."""
    # What stands for a name with `*` stands for all that it stands for.
    return not bound or (bool(models) and all(allows_model(bound, model) for model in models))


def models_of_both(models: Sequence[str], bound: Sequence[str]) -> list[str]:
    """An allow-list of what both allow, no more."""
    if not models or not bound:
        return list(models or bound)
    both = [model for model in models if allows_model(bound, model)]
    return list(dict.fromkeys(both + [model for model in bound if allows_model(models, model)])) or NO_MODEL
