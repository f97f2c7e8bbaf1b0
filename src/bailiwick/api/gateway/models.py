"""`GET /v1/models`: the models that a key may call, as OpenAI's clients read them, or Anthropic's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from bailiwick import identity
from bailiwick.identity import Caller, Credential
from bailiwick.invocations import ModelList, dearest_prices, models_of
from bailiwick.kernel.clock import rfc3339
from bailiwick.kernel.database import tenant_transaction
from bailiwick.kernel.errors import NotFound
from bailiwick.settings import settings

AnthropicVersion = Annotated[str | None, HeaderParameter(name="anthropic-version", max_length=256)]


class ModelNotFound(NotFound):
    """There is no such model, or this key may not call it."""

    code = "model_not_found"


class ModelView(msgspec.Struct):
    """One of components/schemas/ModelList. Routing tiers have no routing of their own yet, so none is told."""

    id: str
    created: int
    owned_by: str
    input_cost_per_1k: float
    output_cost_per_1k: float
    object: str = "model"

    @classmethod
    def of(cls, models: ModelList, name: str) -> ModelView:
        """A model that is in the list."""
        places = models.find(name)
        per_input, per_output = dearest_prices(places)
        return cls(
            id=name,
            created=models.created,
            owned_by=places[0].provider,
            input_cost_per_1k=float(per_input * 1000),
            output_cost_per_1k=float(per_output * 1000),
        )

    def for_anthropic(self) -> dict[str, Any]:
        """With what Anthropic's clients read as well (https://docs.anthropic.com/en/api/models-list)."""
        created = rfc3339(datetime.fromtimestamp(self.created, UTC))
        theirs = {"type": "model", "display_name": self.id, "created_at": created, "lifecycle": "active"}
        return {**msgspec.structs.asdict(self), **theirs}


async def _allowed(caller: Caller) -> frozenset[str]:
    """The models that the caller's key is limited to; empty: every model. What limits a key limits those made from it,
    whose own rows say so."""
    if caller.credential is not Credential.VIRTUAL_KEY or caller.key_id is None:
        return frozenset()
    async with tenant_transaction(caller.tenant) as session:
        limits = await identity.read_key_settings(session, caller.tenant, caller.key_id)
    return frozenset(limits.allowed_models)


def _names(models: ModelList, allowed: frozenset[str]) -> Iterator[str]:
    """The list's own names, then those of the key that a wildcard stands for."""
    yield from (name for name in models.models if "*" not in name and identity.allows_model(allowed, name))
    yield from sorted(name for name in allowed if name not in models.models and models.find(name))


@get("/v1/models", operation_id="governance_proxy_models", scope="proxy")
async def list_models(
    caller: NamedDependency[Caller],
    *,
    anthropic_version: AnthropicVersion = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 20,
    after_id: Annotated[str | None, QueryParameter(max_length=256)] = None,
    before_id: Annotated[str | None, QueryParameter(max_length=256)] = None,
) -> Response[Any]:
    """The models of the model list that the key may call. With `anthropic-version` with what Anthropic's clients
    read as well, in pages (`limit`, `after_id`, `before_id`); OpenAI's know none."""
    models = models_of(settings().models)
    views = [ModelView.of(models, name) for name in _names(models, await _allowed(caller))]
    if anthropic_version is None:
        return Response({"object": "list", "data": views})
    if after_id is not None:
        views = _after(views, after_id)
    if before_id is not None:
        views = _after(views[::-1], before_id)[::-1]
    page = views[-limit:] if before_id is not None else views[:limit]
    return Response(
        {
            "object": "list",
            "data": [view.for_anthropic() for view in page],
            "has_more": len(page) < len(views),
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
    )


def _after(views: list[ModelView], name: str) -> list[ModelView]:
    """Those behind the one of that name; none when it is not there."""
    place = next((index for index, view in enumerate(views) if view.id == name), len(views))
    return views[place + 1 :]


@get("/v1/models/{model_id:path}", operation_id="governance_proxy_model", scope="proxy")
async def show_model(
    caller: NamedDependency[Caller],
    model_id: Annotated[str, PathParameter()],
    *,
    anthropic_version: AnthropicVersion = None,
) -> Response[Any]:
    """One model that the key may call; its name may hold slashes. 404 `model_not_found` for any other. With
    `anthropic-version` with what Anthropic's clients read as well."""
    name = model_id.removeprefix("/")
    models, allowed = models_of(settings().models), await _allowed(caller)
    if not models.find(name) or not identity.allows_model(allowed, name):
        if anthropic_version is None:
            raise ModelNotFound
        error = {"type": "not_found_error", "message": str(ModelNotFound.__doc__)}
        return Response({"type": "error", "error": error}, status_code=404)
    view = ModelView.of(models, name)
    return Response(view if anthropic_version is None else view.for_anthropic())


ROUTES = [list_models, show_model]
