"""Signing in to Microsoft's APIs as an application
(learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow)."""

import base64
import binascii
import re
from urllib.parse import quote
from uuid import UUID

import msgspec

from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.calls import Caller, grant_failure, text_setting
from bailiwick.logsources.connectors.interface import Config
from bailiwick.logsources.errors import ConfigUnusable
from bailiwick.secrets import GrantFailed, Secret, client_credentials_token

LOGIN_URL = "https://login.microsoftonline.com"
TENANT_PATTERN = r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}"  # a GUID or a domain of the tenant
_CLIENT_PATTERN = r"[A-Za-z0-9-]{1,100}"


async def application_caller(
    session: Outbound,
    provider: str,
    config: Config,
    secret: Secret,
    *,
    tenant: str,
    login_url: str,
    scope: str,
) -> Caller:
    """A Caller with a fresh token. The secret is the client secret, or JSON with client_id and client_secret."""
    members = secret.members()
    client_secret = Secret(members["client_secret"]) if members.get("client_secret") else secret
    client_id = members.get("client_id") or text_setting(config, "clientId", _CLIENT_PATTERN)
    if not re.fullmatch(_CLIENT_PATTERN, client_id, re.ASCII):
        raise ConfigUnusable("client_id in the secret is not of the form that this source needs.")
    try:
        token = await client_credentials_token(
            session,
            token_url=f"{login_url}/{quote(tenant, safe='')}/oauth2/v2.0/token",
            client_id=client_id,
            client_secret=client_secret,
            scope=scope,
        )
    except GrantFailed as failure:
        raise grant_failure(provider, failure) from None
    return Caller(session, provider, secret, Secret(f"Bearer {token.reveal()}"))


def tenant_id(tenant: str, caller: Caller) -> str:
    """The tenant's GUID, which some addresses want where `config` names a domain: the `tid` of the token just issued.

    The token is only read here, not trusted: Microsoft checks it. `tenant` as it is when the token cannot be read.
    """
    try:
        return str(UUID(tenant))
    except ValueError:
        pass
    parts = (caller.authorization.reveal() if caller.authorization else "").split(".")
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return str(UUID(claims["tid"]))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, binascii.Error, msgspec.DecodeError):
        return tenant
