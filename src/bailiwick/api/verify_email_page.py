"""`/verify-email`: where the link in the verification mail leads.

Opening it changes nothing, since mail scanners open links too; its button does.
"""

from __future__ import annotations

from html import escape
from typing import Annotated

from litestar import MediaType, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, Parameter

from bailiwick import identity
from bailiwick.kernel.errors import BailiwickError

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_STYLE = ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:30rem}"


def _page(body: str, status: int = 200) -> Response[str]:
    content = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Confirm your e-mail address</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>Confirm your e-mail address</h1>{body}</main></body></html>"
    )
    return Response(content, media_type=MediaType.HTML, headers=_HEADERS, status_code=status)


@get("/verify-email", public=True, media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def show(token: Annotated[str, Parameter(max_length=256)] = "") -> Response[str]:
    """Asks for the click that verifies."""
    return _page(
        '<form method="post" action="/verify-email">'
        f'<input type="hidden" name="token" value="{escape(token)}"><button>Confirm</button></form>'
    )


@post("/verify-email", public=True, media_type=MediaType.HTML, include_in_schema=False, status_code=200)
async def confirm(
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[str]:
    """Verifies the address, or says why not."""
    try:
        email = await identity.verify_email(data.get("token", ""))
    except BailiwickError as error:
        return _page(f"<p>{escape(error.message)}</p>", error.status)
    return _page(f"<p>{escape(email)} is confirmed. You can close this page.</p>")


ROUTES = [show, confirm]
