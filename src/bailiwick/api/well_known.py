"""`/.well-known/jwks.json`: the keys that verify our access tokens."""

from __future__ import annotations

from typing import Any

from litestar import Response, get

from bailiwick import identity

# Less than a retired key stays published, and than an access token lives.
_CACHE_SECONDS = 300


@get("/.well-known/jwks.json", operation_id="get_jwks", tags=["Auth"], public=True)
async def get_jwks() -> Response[dict[str, Any]]:
    """The JWK set (RFC 7517) of our access tokens, newest first; keys retired in the last day are in it."""
    keys = await identity.published_keys()
    return Response(
        {"keys": keys},
        media_type="application/jwk-set+json",
        headers={"cache-control": f"public, max-age={_CACHE_SECONDS}"},
    )


ROUTES = [get_jwks]
