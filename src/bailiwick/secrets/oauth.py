"""Access tokens from token endpoints: client credentials (RFC 6749 section 4.4) and the JWT bearer grant (RFC 7523)
as Google's service accounts use it (developers.google.com/identity/protocols/oauth2/service-account)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from bailiwick.kernel.outbound import AddressRefused, Outbound, OutboundFailed
from bailiwick.secrets.errors import GrantFailed, GrantRefused
from bailiwick.secrets.values import Secret

GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"
_ASSERTION_SECONDS = 3600  # the longest that Google accepts
_MAX_BYTES = 64 * 1024
_TIMEOUT_SECONDS = 20.0
_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")


class ServiceAccount(msgspec.Struct, frozen=True):
    """The parts of a Google service account key (the JSON file that the console hands out) that signing needs.

    Its `token_uri` is ignored: whoever writes a secret must not choose where an assertion is sent.
    """

    client_email: str
    private_key: Secret
    private_key_id: str | None

    @classmethod
    def read(cls, secret: Secret) -> "ServiceAccount":
        """GrantRefused when the secret is no such key."""
        members = secret.members()
        if not members.get("client_email") or not members.get("private_key"):
            raise GrantRefused("the secret is not a Google service account key (JSON)")
        return cls(members["client_email"], Secret(members["private_key"]), members.get("private_key_id"))


async def service_account_token(
    http: Outbound,
    account: ServiceAccount,
    *,
    scopes: Sequence[str],
    now: datetime,
    subject: str | None = None,
    token_url: str = GOOGLE_TOKEN_URL,
) -> Secret:
    """A token for the account, or with domain-wide delegation for `subject` (a user's e-mail address)."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": account.client_email,
        "scope": " ".join(scopes),
        "aud": token_url,
        "iat": issued,
        "exp": issued + _ASSERTION_SECONDS,
    }
    if subject:
        claims["sub"] = subject
    header = {"alg": "RS256", "typ": "JWT"}
    if account.private_key_id:
        header["kid"] = account.private_key_id
    try:
        assertion = jwt.encode(header, claims, RSAKey.import_key(account.private_key.reveal()))
    except (JoseError, ValueError, TypeError):
        raise GrantRefused("the private key of the service account cannot be read") from None
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    return await _token(http, token_url, form)


async def client_credentials_token(
    http: Outbound, *, token_url: str, client_id: str, client_secret: Secret, scope: str
) -> Secret:
    """A token for the application itself."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret.reveal(),
        "scope": scope,
    }
    return await _token(http, token_url, form)


async def _token(http: Outbound, url: str, form: Mapping[str, str]) -> Secret:
    try:
        answer = await http.request(
            "POST",
            url,
            data=form,
            headers={"accept": "application/json"},
            timeout_seconds=_TIMEOUT_SECONDS,
            max_bytes=_MAX_BYTES,
        )
    except (OutboundFailed, AddressRefused) as failure:
        raise GrantFailed(f"no token: {failure.message.rstrip('.')}") from None
    try:
        members = msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError):
        members = {}
    if answer.status == 429 or answer.status >= 500:
        raise GrantFailed(
            f"the token endpoint is busy (status {answer.status})",
            retry_after_seconds=retry_after_seconds(answer.headers),
        )
    if answer.status != 200:
        # The description may quote what was sent; the code cannot.
        code = str(members.get("error", ""))
        shown = code if _CODE.fullmatch(code) else "no reason given"
        raise GrantRefused(f"the token endpoint refused the credential ({shown}, status {answer.status})")
    token = members.get("access_token")
    if not isinstance(token, str) or not token:
        raise GrantFailed("the token endpoint answered without an access token")
    return Secret(token)


def retry_after_seconds(headers: Mapping[str, str]) -> int | None:
    """`Retry-After` in seconds, at most an hour; its date form (RFC 9110 section 10.2.3) is not read."""
    value = headers.get("retry-after", "").strip()
    return min(int(value), 3600) if value.isascii() and value.isdigit() and len(value) < 10 else None
