"""Model lists in LiteLLM's form: what is read, and that a bad one is refused with the place that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bailiwick.invocations import ModelList, ModelListInvalid, load_models
from bailiwick.invocations.dialects import Dialect

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
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelList:
    """The list above."""
    monkeypatch.setenv("TEST_OPENAI_KEY", "sk-from-the-environment")
    monkeypatch.setenv("TEST_TEAM", "red")
    return load_models(write(tmp_path, WHOLE))


def test_no_file_is_no_models() -> None:
    assert load_models(None).models == {}


def test_deployments_of_a_name_stand_together_in_order(models: ModelList) -> None:
    assert list(models.models) == ["fast", "careful", "local", "proxied", "open"]
    assert [(d.provider, d.protocol, d.model, d.weight) for d in models.find("fast")] == [
        ("openai", "openai", "gpt-4o-mini", None),
        ("azure", "azure", "our-mini", 3),
    ]
    assert len({deployment.key for deployment in models.find("fast")}) == 2  # each has a breaker of its own


def test_every_setting_of_an_entry_is_read(models: ModelList) -> None:
    first, second = models.find("fast")
    assert first.base_url == "https://api.openai.com/v1"
    assert first.api_key == "sk-from-the-environment"
    assert (first.input_price, first.output_price) == (15e-8, 6e-7)  # YAML 1.1 reads 15e-8 as a string
    assert first.max_output_tokens == 16384
    assert second.base_url == "https://example.openai.azure.com"
    assert (second.api_version, second.timeout_seconds, second.headers) == ("2025-01-01", 20, {"x-team": "red"})
    assert second.input_price is None
    assert second.max_output_tokens == 4096


def test_providers_are_told_by_prefix_by_setting_and_by_well_known_name(models: ModelList) -> None:
    careful, local, proxied, opened = (models.find(name)[0] for name in ("careful", "local", "proxied", "open"))
    assert (careful.provider, careful.protocol, careful.base_url) == (
        "anthropic",
        "anthropic",
        "https://api.anthropic.com",
    )
    assert (local.provider, local.model, local.base_url) == ("ollama_chat", "llama3.2", "http://127.0.0.1:11434/v1")
    assert (proxied.model, proxied.base_url) == ("vendor/some-model", "http://proxy:4000/v1")
    assert (opened.provider, opened.model) == ("groq", "openai/gpt-oss-120b")


def test_an_environment_variable_that_is_not_set_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_OPENAI_KEY", raising=False)
    (first, _) = load_models(write(tmp_path, WHOLE)).find("fast")
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
        (entry("model: gpt-4o, stream_timeout: 0"), "stream_timeout"),
        (entry("model: gpt-4o, max_retries: -1"), "max_retries"),
        (entry("model: gpt-4o, weight: -1"), "weight"),
        (entry("model: gpt-4o", "    model_info: {cache_read_input_token_cost: 2}\n"), "cache_read_input_token_cost"),
        (entry("model: gpt-4o", "    model_info: {supported_endpoints: /v1/responses}\n"), "supported_endpoints"),
        (entry("model: gpt-4o") + "router_settings: {num_retries: many}\n", "router_settings"),
        (entry("model: gpt-4o") + "router_settings: {allowed_fails: -1}\n", "allowed_fails"),
        (entry("model: gpt-4o") + "router_settings: [1]\n", "router_settings"),
        (entry("model: gpt-4o") + "litellm_settings: {fallbacks: {good: bad}}\n", "fallbacks"),
        (entry("model: gpt-4o") + "litellm_settings: {fallbacks: [{good: [nobody]}]}\n", "nobody"),
        (entry("model: gpt-4o") + "router_settings: {context_window_fallbacks: [{good: [large]}]}\n", "large"),
        (entry("model: gpt-4o") + "router_settings: {default_fallbacks: [spare]}\n", "spare"),
        (entry("model: ollama/x, api_base: '127.0.0.1:11434/v1'"), "api_base"),
        (entry("model: ollama/x, api_base: localhost"), "api_base"),
        (entry("model: ollama/x, api_base: 'ftp://models/v1'"), "api_base"),
        (entry("model: ollama/x, api_base: 'http://'"), "api_base"),
        (entry("model: ollama/x, api_base: 'http://models:99999/v1'"), "api_base"),
        (entry("model: ollama/x, api_base: 'http://[::1/v1'"), "api_base"),
        (entry("model: ollama/x, api_base: 'http://me:secret@models/v1'"), "api_base"),
        (entry('model: gpt-4o, api_key: "sk-1\\n"'), "api_key"),
        (entry("model: gpt-4o, api_key: sk-\N{SNOWMAN}"), "api_key"),
        (entry('model: gpt-4o, extra_headers: {x-team: "red\\r\\nx-other: blue"}'), "x-team"),
        (entry("model: gpt-4o, extra_headers: {x team: red}"), "x team"),
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


ROUTED = """
model_list:
  - model_name: fast
    litellm_params: {model: gpt-4o-mini, timeout: 30, stream_timeout: 5, max_retries: 1}
    model_info:
      mode: chat
      max_input_tokens: 128000
      provider_specific_entry: {priority: 1.7}
      cache_read_input_token_cost: 7.5e-08
      cache_creation_input_token_cost: 0.0000002
      output_cost_per_reasoning_token: 0.000001
  - model_name: large
    litellm_params: {model: anthropic/claude-sonnet-4-5}
  - model_name: spare
    litellm_params: {model: openai/some, api_base: http://127.0.0.1:8000/v1, rpm: 60}
    model_info: {mode: responses}
  - model_name: vectors
    litellm_params: {model: text-embedding-3-small}
    model_info: {mode: embedding}
  - model_name: pictures
    litellm_params: {model: openai/gpt-image-1}
    model_info: {mode: image_generation}
router_settings:
  routing_strategy: simple-shuffle
  num_retries: 4
  timeout: 90
  cooldown_time: 7
  fallbacks: [{fast: [large, spare]}]
  redis_host: os.environ/REDIS_HOST
litellm_settings:
  num_retries: 1
  allowed_fails: 2
  context_window_fallbacks: [{fast: [large]}, {spare: [large]}]
  default_fallbacks: [spare]
  callbacks: [prometheus]
"""


def test_what_the_list_says_about_routing_is_read(tmp_path: Path) -> None:
    routing = load_models(write(tmp_path, ROUTED)).routing
    assert (routing.retries, routing.timeout_seconds) == (4, 90)  # the router's own section comes first
    assert (routing.cooldown_seconds, routing.allowed_fails) == (7, 2)
    assert routing.fallbacks_of("fast") == ["large", "spare"]
    assert routing.fallbacks_of("large") == ["spare"]  # the default
    assert routing.fallbacks_of("spare") == []  # nothing stands in for itself
    assert routing.context_window_fallbacks == {"fast": ("large",), "spare": ("large",)}


def test_everything_about_a_deployment_is_read(tmp_path: Path) -> None:
    (fast,) = load_models(write(tmp_path, ROUTED)).find("fast")
    assert (fast.timeout_seconds, fast.stream_timeout_seconds, fast.retries) == (30, 5, 1)
    assert (fast.cached_input_price, fast.cache_write_price, fast.reasoning_price) == (7.5e-8, 2e-7, 1e-6)
    assert fast.max_input_tokens == 128_000
    assert fast.price_factors == {"priority": 1.7}


@pytest.mark.parametrize(
    ("name", "speaks", "embeds"),
    [
        ("fast", (Dialect.CHAT, Dialect.RESPONSES), False),  # OpenAI itself has both
        ("large", (Dialect.MESSAGES,), True),
        ("spare", (Dialect.RESPONSES,), False),
        ("vectors", (), True),
        ("pictures", (), False),
    ],
)
def test_what_a_deployment_speaks_follows_from_its_provider_and_mode(
    tmp_path: Path, name: str, speaks: tuple[Dialect, ...], embeds: bool
) -> None:
    (deployment,) = load_models(write(tmp_path, ROUTED)).find(name)
    assert deployment.speaks == speaks
    assert deployment.embeds is embeds


@pytest.mark.parametrize(
    ("base", "info", "speaks"),
    [
        ("http://127.0.0.1:8000/v1", "{}", (Dialect.CHAT,)),
        ("https://api.openai.com/v1/", "{}", (Dialect.CHAT, Dialect.RESPONSES)),
        (
            "http://127.0.0.1:8000/v1",
            "{supported_endpoints: [/v1/responses, /v1/chat/completions, /v1/audio/speech]}",
            (Dialect.CHAT, Dialect.RESPONSES),
        ),
        ("http://127.0.0.1:8000/v1", "{supported_endpoints: [/v1/messages]}", (Dialect.MESSAGES,)),
    ],
)
def test_a_compatible_server_speaks_chat_unless_the_list_says_more(
    tmp_path: Path, base: str, info: str, speaks: tuple[Dialect, ...]
) -> None:
    listed = f"model_list:\n  - model_name: a\n    litellm_params: {{model: openai/m, api_base: '{base}'}}\n"
    (deployment,) = load_models(write(tmp_path, f"{listed}    model_info: {info}\n")).find("a")
    assert deployment.speaks == speaks


WILDCARDS = """
model_list:
  - {model_name: openai/*, litellm_params: {model: openai/*, api_key: general}}
  - {model_name: openai/gpt-4o, litellm_params: {model: openai/gpt-4o, api_key: exact}}
  - {model_name: "openai/gpt-4*", litellm_params: {model: "openai/gpt-4*", api_key: longer}}
  - {model_name: "team-*/*", litellm_params: {model: hosted_vllm/*-of-*, api_base: "http://127.0.0.1:8000/v1"}}
  - {model_name: "any-*", litellm_params: {model: claude-sonnet-4-5}}
"""


@pytest.mark.parametrize(
    ("called", "key", "model"),
    [
        ("openai/gpt-4o", "exact", "gpt-4o"),
        ("openai/gpt-4o-mini", "longer", "gpt-4o-mini"),
        ("openai/o3", "general", "o3"),
        ("team-red/llama", None, "red-of-llama"),
        ("any-thing", None, "claude-sonnet-4-5"),
    ],
)
def test_a_wildcard_stands_for_every_model_that_has_no_entry_of_its_own(
    tmp_path: Path, called: str, key: str | None, model: str
) -> None:
    (deployment,) = load_models(write(tmp_path, WILDCARDS)).find(called)
    assert (deployment.name, deployment.api_key, deployment.model) == (called, key, model)


@pytest.mark.parametrize("called", ["openai/", "gpt-4o", "team-/x", "openai.gpt-4o", ""])
def test_a_wildcard_stands_for_some_text(tmp_path: Path, called: str) -> None:
    assert load_models(write(tmp_path, WILDCARDS)).find(called) == ()


def test_models_of_one_wildcard_share_a_breaker(tmp_path: Path) -> None:
    models = load_models(write(tmp_path, WILDCARDS))
    keys = {models.find(f"openai/some-{number}")[0].key for number in range(3000)}
    assert len(keys) == 1
    assert len(models.derived) <= 1024


def test_two_accounts_at_one_place_are_left_alone_each_for_itself(tmp_path: Path) -> None:
    entries = [("a", "one"), ("a", "two"), ("b", "one"), ("c", "three")]
    listed = "".join(
        f"  - {{model_name: {name}, litellm_params: {{model: gpt-4o, api_key: {key}}}}}\n" for name, key in entries
    )
    models = load_models(write(tmp_path, f"model_list:\n{listed}"))
    one, two = models.find("a")
    assert len({one.key, two.key, models.find("c")[0].key}) == 3
    assert models.find("b")[0].key == one.key
    assert "one" not in one.key


def test_what_a_deployment_really_is(tmp_path: Path) -> None:
    content = """
model_list:
  - model_name: renamed
    litellm_params: {model: azure/our-own, api_base: "https://example.openai.azure.com"}
    model_info: {base_model: azure/gpt-4o-mini}
  - model_name: stranger
    litellm_params: {model: openai/gpt-4o, api_base: "http://127.0.0.1:9"}
    model_info: {custom_tokenizer: {identifier: acme/tokenizer}}
  - model_name: cached
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      cache_creation_input_token_cost: 4e-6
      cache_creation_input_token_cost_above_1hr: 7e-6
"""
    listed = load_models(write(tmp_path, content))
    renamed, stranger, cached = (listed.models[name][0] for name in ("renamed", "stranger", "cached"))
    assert (renamed.model, renamed.known_model, renamed.encoding) == ("our-own", "gpt-4o-mini", "o200k_base")
    assert (stranger.known_model, stranger.encoding) == ("gpt-4o", None)
    assert (cached.cache_write_price, cached.hour_cache_write_price) == (4e-6, 7e-6)
