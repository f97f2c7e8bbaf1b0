"""Model lists in LiteLLM's form: what is read, and that a bad one is refused with the place that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bailiwick.invocations import Deployment, ModelListInvalid, load_models

WHOLE = """
model_list:
  - model_name: fast
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/TEST_OPENAI_KEY
      input_cost_per_token: 15e-8
      output_cost_per_token: 0.0000006
      rpm: 600
    model_info: {mode: chat, max_output_tokens: 16384}
  - model_name: fast
    litellm_params:
      model: azure/our-mini
      api_base: https://example.openai.azure.com/
      api_key: azure-key
      api_version: "2025-01-01"
      weight: 3
      timeout: 20
      extra_headers: {x-team: os.environ/TEST_TEAM}
  - model_name: careful
    litellm_params: {model: claude-sonnet-4-5, max_tokens: 8000}
  - model_name: local
    litellm_params: {model: ollama_chat/llama3.2}
  - model_name: proxied
    litellm_params: {model: litellm_proxy/vendor/some-model, api_base: http://proxy:4000/v1}
  - model_name: open
    litellm_params: {model: openai/gpt-oss-120b, custom_llm_provider: groq}
litellm_settings:
  drop_params: true
"""


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "models.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Deployment]]:
    """The list above."""
    monkeypatch.setenv("TEST_OPENAI_KEY", "sk-from-the-environment")
    monkeypatch.setenv("TEST_TEAM", "red")
    return load_models(write(tmp_path, WHOLE))


def test_no_file_is_no_models() -> None:
    assert load_models(None) == {}


def test_deployments_of_a_name_stand_together_in_order(models: dict[str, list[Deployment]]) -> None:
    assert list(models) == ["fast", "careful", "local", "proxied", "open"]
    assert [(d.provider, d.dialect, d.model, d.weight) for d in models["fast"]] == [
        ("openai", "openai", "gpt-4o-mini", 1),
        ("azure", "azure", "our-mini", 3),
    ]
    assert len({deployment.key for deployment in models["fast"]}) == 2  # each has a breaker of its own


def test_every_setting_of_an_entry_is_read(models: dict[str, list[Deployment]]) -> None:
    first, second = models["fast"]
    assert first.base_url == "https://api.openai.com/v1"
    assert first.api_key == "sk-from-the-environment"
    assert (first.input_price, first.output_price) == (15e-8, 6e-7)  # YAML 1.1 reads 15e-8 as a string
    assert first.max_output_tokens == 16384
    assert second.base_url == "https://example.openai.azure.com"
    assert (second.api_version, second.timeout_seconds, second.headers) == ("2025-01-01", 20, {"x-team": "red"})
    assert second.input_price is None
    assert second.max_output_tokens == 4096


def test_providers_are_told_by_prefix_by_setting_and_by_well_known_name(models: dict[str, list[Deployment]]) -> None:
    (careful,), (local,), (proxied,), (opened,) = models["careful"], models["local"], models["proxied"], models["open"]
    assert (careful.provider, careful.dialect, careful.base_url) == (
        "anthropic",
        "anthropic",
        "https://api.anthropic.com",
    )
    assert (local.provider, local.model, local.base_url) == ("ollama_chat", "llama3.2", "http://127.0.0.1:11434/v1")
    assert (proxied.model, proxied.base_url) == ("vendor/some-model", "http://proxy:4000/v1")
    assert (opened.provider, opened.model) == ("groq", "openai/gpt-oss-120b")


def test_an_environment_variable_that_is_not_set_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_OPENAI_KEY", raising=False)
    (first, _) = load_models(write(tmp_path, WHOLE))["fast"]
    assert first.api_key is None


def entry(parameters: str, more: str = "") -> str:
    good = "  - model_name: good\n    litellm_params: {model: gpt-4o}\n"
    return f"model_list:\n{good}  - model_name: bad\n{more}    litellm_params: {{{parameters}}}\n"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", "needs a list `model_list`"),
        ("[1, 2]", "needs a list `model_list`"),
        ("model_list: {fast: 1}", "needs a list `model_list`"),
        ("model_list: [", "models.yaml"),
        (b"model_list: \xff\xfe", "models.yaml"),
        ("model_list: [7]", "model_list[0]"),
        ("model_list: [{model_name: fast}]", "litellm_params"),
        ("model_list: [{model_name: fast, litellm_params: gpt-4o}]", "litellm_params"),
        ("model_list: [{model_name: yes, litellm_params: {model: gpt-4o}}]", "model_name"),
        (entry(""), "model_list[1]"),
        (entry("model: 4"), "litellm_params.model"),
        (entry("model: os.environ/TEST_NOWHERE"), "litellm_params.model"),
        (entry("model: nobody/knows"), "nobody/knows"),
        (entry("model: hosted_vllm/llama"), "api_base"),
        (entry("model: gpt-4o, api_base: 7"), "litellm_params.api_base"),
        (entry("model: gpt-4o, api_key: [1]"), "litellm_params.api_key"),
        (entry("model: gpt-4o, input_cost_per_token: free"), "input_cost_per_token"),
        (entry("model: gpt-4o, input_cost_per_token: -0.1"), "input_cost_per_token"),
        (entry("model: gpt-4o, output_cost_per_token: .nan"), "output_cost_per_token"),
        (entry("model: gpt-4o, output_cost_per_token: .inf"), "output_cost_per_token"),
        (entry("model: gpt-4o, max_tokens: 0"), "max_tokens"),
        (entry("model: gpt-4o, max_tokens: many"), "max_tokens"),
        (entry("model: gpt-4o, timeout: -1"), "timeout"),
        (entry("model: gpt-4o, extra_headers: [a]"), "extra_headers"),
        (entry("model: gpt-4o", "    model_info: fast\n"), "model_info"),
        (entry("model: gpt-4o", "    model_info: {max_output_tokens: -4}\n"), "max_output_tokens"),
    ],
)
def test_a_bad_list_is_refused_with_its_place(tmp_path: Path, content: str | bytes, place: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ModelListInvalid) as refused:
        load_models(path)
    assert str(path) in str(refused.value)
    assert place in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelListInvalid, match="absent"):
        load_models(tmp_path / "absent.yaml")


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    with pytest.raises(ModelListInvalid):
        load_models(write(tmp_path, "model_list: !!python/object/apply:os.getcwd []"))
