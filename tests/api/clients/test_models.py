"""`client.models` of both packages."""

from __future__ import annotations

from typing import Any

import anthropic as anthropic_package
import openai as openai_package
import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from tests.api.accounts import Account
from tests.api.clients.conftest import anthropic_of, openai_of
from tests.api.clients.flavours import all_of, settled
from tests.api.gateways import Gateway


async def test_openai_lists_models(openai: Any) -> None:
    listed = await all_of(openai.models.list())
    for model in listed:
        Model.model_validate(model.to_dict())
    assert {"gpt", "claude", "gpt-responses"} <= {model.id for model in listed}
    got = await settled(openai.models.retrieve("gpt"))
    assert (got.id, got.object, got.owned_by) == ("gpt", "model", "openai")
    with pytest.raises(openai_package.NotFoundError) as error:
        await settled(openai.models.retrieve("nobody-has-it"))
    assert error.value.code == "model_not_found"


async def test_anthropic_lists_models_page_by_page(anthropic: Any) -> None:
    listed = await all_of(anthropic.models.list(limit=90))
    for model in listed:
        ModelInfo.model_validate(model.to_dict())
    names = [model.id for model in listed]
    assert len(names) == len(set(names)) > 100
    got = await settled(anthropic.models.retrieve("claude"))
    assert (got.id, got.type, got.display_name, got.lifecycle) == ("claude", "model", "claude", "active")
    with pytest.raises(anthropic_package.NotFoundError) as error:
        await settled(anthropic.models.retrieve("nobody-has-it"))
    assert error.value.type == "not_found_error"


def test_a_key_lists_the_models_that_it_may_call(gateway: Gateway, account: Account) -> None:
    key = gateway.key(account, allowedModels=["claude"])
    with openai_of(f"{gateway.server.base_url}/v1", key, "sync") as client:
        assert [model.id for model in client.models.list()] == ["claude"]
    with anthropic_of(gateway.server.base_url, key, "sync") as client:
        assert [model.id for model in client.models.list()] == ["claude"]
