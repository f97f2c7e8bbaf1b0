"""Providers that the library `litellm` knows; where the extra `bailiwick[litellm]` is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bailiwick.invocations import ModelListInvalid, load_models
from bailiwick.invocations.deployments import Deployment, ModelList
from bailiwick.invocations.dialects import Dialect
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.http_wire import HttpWire
from bailiwick.invocations.dispatch.litellm_wire import LiteLlmWire, arguments
from bailiwick.invocations.dispatch.model_requests import ModelRequest
from bailiwick.invocations.dispatch.routing import Policy, Router
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.dispatch.wire import Attempt
from bailiwick.invocations.errors import ProviderRefused, TargetTimeout, TargetUnavailable
from bailiwick.invocations.requests import Usage
from tests.invocations.conftest import ModelServer
from tests.invocations.provider_answers import answering, hanging, sending, streamed, text_in, whole

IS_INSTALLED = importlib.util.find_spec("litellm") is not None
needs_library = pytest.mark.skipif(not IS_INSTALLED, reason="the extra bailiwick[litellm] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own
LISTED = """
model_list:
  - model_name: fast
    litellm_params: {model: cerebras/llama3.1-8b, api_key: k, input_cost_per_token: 1.0e-6, aws_region_name: eu-west-1}
"""
CHAT = Dialect.CHAT


def a_request(dialect: Dialect = CHAT, *, stream: bool = False) -> ModelRequest:
    body = {"model": "fast", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    return ModelRequest(dialect=dialect, body=body, stream=stream, most_output_tokens=50)


@pytest.fixture
def upstreams(model: ModelServer, exchange: Exchange) -> Upstreams:
    """A model of a provider that only the library knows, here on loopback."""
    deployment: Deployment = model.deployment(
        provider="cerebras", model="llama3.1-8b", protocol="litellm", stream_timeout_seconds=0.5
    )
    breaker = CircuitBreaker(failures=3, cooldown_seconds=60)
    router = Router(ModelList({"fast": [deployment]}), breaker, Policy(attempts=2, timeout_seconds=60))
    return Upstreams(router, HttpWire(exchange), LiteLlmWire())


@pytest.mark.skipif(IS_INSTALLED, reason="the library is installed")
def test_without_the_library_the_list_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(LISTED)
    with pytest.raises(ModelListInvalid, match=r"bailiwick\[litellm\]"):
        load_models(path)


@needs_library
def test_what_we_do_not_read_is_the_librarys(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(LISTED)
    (deployment,) = load_models(path).find("fast")
    assert (deployment.protocol, deployment.provider, deployment.model) == ("litellm", "cerebras", "llama3.1-8b")
    assert deployment.options == {"aws_region_name": "eu-west-1"}
    path.write_text(LISTED.replace("cerebras/", "nobody-knows/"))
    with pytest.raises(ModelListInvalid, match="nobody-knows"):
        load_models(path)


@pytest.mark.parametrize("dialect", [CHAT, None])
def test_a_body_does_not_say_whom_the_library_calls_nor_as_whom(dialect: Dialect | None) -> None:
    asked = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0} if dialect else {"input": "Hello"}
    names = "api_base base_url api_key custom_llm_provider extra_headers fallbacks mock_response vertex_credentials"
    told = dict.fromkeys(names.split(), "https://elsewhere.example")
    deployment = Deployment(name="fast", provider="cerebras", model="m", protocol="litellm", base_url="", api_key="k")
    attempt = Attempt(deployment=deployment, dialect=dialect, body={**asked, **told, "model": "m"}, timeout_seconds=5)
    given = arguments(attempt)
    assert given == {**asked, "model": "cerebras/m", "api_key": "k", "timeout": 5, "max_retries": 0}


@needs_library
@pytest.mark.parametrize("client", [CHAT, Dialect.MESSAGES])
async def test_a_whole_answer(upstreams: Upstreams, model: ModelServer, client: Dialect) -> None:
    model.answer = answering(whole(CHAT, "Hello there."))
    usage = Usage()
    answer = await upstreams.complete("fast", a_request(client), usage)
    assert text_in(client, answer.body) == "Hello there."
    assert model.requests[0]["model"] == "llama3.1-8b"
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros, usage.is_estimate) == (100, 50, 200, False)


@needs_library
async def test_a_stream(upstreams: Upstreams, model: ModelServer) -> None:
    model.answer = sending(*streamed(CHAT, ["Hello ", "there."]))
    usage = Usage()
    async with upstreams.stream("fast", a_request(stream=True), usage) as answer:
        events = [event async for some in answer for event in some]
    texts = [choice["delta"].get("content") or "" for _, data in events if data for choice in data["choices"]]
    assert "".join(texts) == "Hello there."
    assert events[-1] == (None, None)
    assert (usage.input_tokens, usage.output_tokens, usage.is_estimate) == (100, 50, False)


@needs_library
async def test_errors_are_the_providers(upstreams: Upstreams, model: ModelServer) -> None:
    model.answer = answering({"error": {"message": "No such field", "code": "x"}}, status=400)
    with pytest.raises(ProviderRefused) as refused:
        await upstreams.complete("fast", a_request(), Usage())
    assert refused.value.status == 400
    assert "No such field" in refused.value.body["error"]["message"]
    assert len(model.requests) == 1


@needs_library
async def test_what_may_pass_is_tried_again_by_us_alone(upstreams: Upstreams, model: ModelServer) -> None:
    model.answer = answering({"error": {"message": "Busy"}}, status=503)
    with pytest.raises(TargetUnavailable):
        await upstreams.complete("fast", a_request(), Usage())
    assert len(model.requests) == 2


@needs_library
async def test_a_stream_that_does_not_begin_is_given_up(upstreams: Upstreams, model: ModelServer) -> None:
    model.answer = hanging
    with pytest.raises(TargetTimeout):
        async with upstreams.stream("fast", a_request(stream=True), Usage()):
            pass
