"""Allow-lists of models: names, and names with `*`."""

from __future__ import annotations

import pytest

from bailiwick.identity.key_scopes import NO_MODEL, allows_model, models_of_both, models_within


@pytest.mark.parametrize(
    ("allowed", "model", "is_allowed"),
    [
        ([], "fast", True),
        (["fast"], "fast", True),
        (["fast"], "faster", False),
        (["openai/*"], "openai/gpt-4o", True),
        (["openai/*"], "openai/", False),
        (["openai/*"], "azure/openai/gpt-4o", False),
        (["*"], "fast", True),
        (["gpt.4"], "gpt-4", False),
        (NO_MODEL, "fast", False),
    ],
)
def test_a_list_has_a_model_by_its_name_or_by_a_wildcard(allowed: list[str], model: str, is_allowed: bool) -> None:
    assert allows_model(allowed, model) is is_allowed


@pytest.mark.parametrize(
    ("models", "bound", "is_within"),
    [
        (["openai/gpt-4o"], ["openai/*"], True),
        (["openai/gpt-*"], ["openai/*"], True),
        (["openai/*"], ["openai/*"], True),
        (["*"], ["openai/*"], False),
        (["openai/*"], ["openai/gpt-*"], False),
        (["openai/*", "fast"], ["openai/*"], False),
        ([], ["openai/*"], False),
        (["*"], [], True),
    ],
)
def test_a_list_is_within_another_when_all_that_it_stands_for_is(
    models: list[str], bound: list[str], is_within: bool
) -> None:
    assert models_within(models, bound) is is_within


@pytest.mark.parametrize(
    ("models", "bound", "both"),
    [
        (["a/*"], ["a/x", "b"], ["a/x"]),
        (["a/x", "b"], ["a/*"], ["a/x"]),
        (["a/*"], ["*"], ["a/*"]),
        ([], ["a/*"], ["a/*"]),
        (["a/*"], ["b/*"], NO_MODEL),
        (NO_MODEL, ["a"], NO_MODEL),
    ],
)
def test_what_both_lists_allow_is_no_more_than_each(models: list[str], bound: list[str], both: list[str]) -> None:
    assert models_of_both(models, bound) == both
    assert both == NO_MODEL or (models_within(both, models) and models_within(both, bound))
