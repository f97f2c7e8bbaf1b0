"""Holds a JSON body to the types of its operation, before the web framework reads it.

Litestar 2 converts a body as loosely as a query string: it would take 1 and "true" for a boolean, and "5" for a number,
which the contracts' schemas do not (JSON Schema 2020-12, 6.1.1).
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.params import BodyKwarg


async def refuse_loose_values(request: Request[Any, Any, Any]) -> None:
    """Raises msgspec's ValidationError or DecodeError for a body that is not what the operation takes."""
    field = request.route_handler.parsed_fn_signature.parameters.get("data")
    if field is None or not isinstance(field.kwarg_definition, BodyKwarg):
        return
    body = await request.body()
    # The framework says that a body is missing, and which operations do without.
    if body and field.kwarg_definition.media_type == RequestEncodingType.JSON:
        msgspec.json.decode(body, type=field.annotation, dec_hook=request.route_handler.default_deserializer)
