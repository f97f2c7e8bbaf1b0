"""Google Secret Manager as a provider (cloud.google.com/secret-manager/docs/reference/rest: versions.access)."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec

from bailiwick.kernel.outbound import AddressRefused, Outbound, OutboundFailed
from bailiwick.secrets.errors import GrantFailed, SecretUnavailable
from bailiwick.secrets.oauth import GOOGLE_TOKEN_URL, ServiceAccount, service_account_token
from bailiwick.secrets.references import Grants
from bailiwick.secrets.values import Secret

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_MAX_BYTES = 128 * 1024  # a payload is at most 64 KiB before base64
_TIMEOUT_SECONDS = 20.0


class GoogleSecretManager:
    """Secrets of one Google Cloud project, read as the installation's service account, latest version.

    `account_key` is the account's JSON key. A secret is read anew each time: it may have been rotated.
    """

    def __init__(
        self,
        http: Outbound,
        grants: Grants,
        *,
        project: str,
        account_key: Secret,
        now: Callable[[], datetime],
        base_url: str = "https://secretmanager.googleapis.com",
        token_url: str = GOOGLE_TOKEN_URL,
    ) -> None:
        self._http, self._grants, self._project, self._account_key = http, grants, project, account_key
        self._now, self._base_url, self._token_url = now, base_url, token_url

    async def read(self, reference: str, organization_id: UUID) -> Secret | None:
        if not self._grants.allow(reference, organization_id):
            return None
        path = (
            f"/v1/projects/{quote(self._project, safe='')}/secrets/{quote(reference, safe='')}/versions/latest:access"
        )
        try:
            token = await service_account_token(
                self._http,
                ServiceAccount.read(self._account_key),
                scopes=[_SCOPE],
                now=self._now(),
                token_url=self._token_url,
            )
            answer = await self._http.request(
                "GET",
                self._base_url + path,
                headers={"authorization": f"Bearer {token.reveal()}", "accept": "application/json"},
                timeout_seconds=_TIMEOUT_SECONDS,
                max_bytes=_MAX_BYTES,
            )
        except GrantFailed as failure:
            raise SecretUnavailable(reference, failure.reason) from None
        except (OutboundFailed, AddressRefused) as failure:
            raise SecretUnavailable(reference, failure.message) from None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise SecretUnavailable(reference, f"Google Secret Manager answered with status {answer.status}")
        return _payload(reference, answer.body)


def _payload(reference: str, body: bytes) -> Secret:
    try:
        data: Any = msgspec.json.decode(body)["payload"]["data"]
        return Secret(base64.b64decode(data, validate=True).decode())
    except (msgspec.DecodeError, UnicodeError, KeyError, TypeError, binascii.Error):
        raise SecretUnavailable(reference, "Google Secret Manager answered without a text payload") from None
