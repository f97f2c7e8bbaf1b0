"""One request to a provider, with every way to fail turned into a FetchFailed that says what to do."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bailiwick.kernel.outbound import AddressRefused, Outbound, OutboundFailed, OutboundResponse
from bailiwick.logsources.connectors.interface import Config
from bailiwick.logsources.errors import (
    AnswerUnusable,
    ConfigUnusable,
    FetchFailed,
    ProviderRefused,
    SecretRefused,
    Throttled,
)
from bailiwick.secrets import GrantFailed, GrantRefused, Secret, retry_after_seconds

MAX_BYTES = 16 * 1024 * 1024
TIMEOUT_SECONDS = 60.0
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MESSAGE_LENGTH = 200


class Caller(msgspec.Struct, frozen=True):
    """A provider's name, for messages, and the credential that goes with each request to it."""

    session: Outbound
    provider: str
    secret: Secret
    authorization: Secret | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        data: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> OutboundResponse:
        """The answer, when its status is 2xx; raises FetchFailed otherwise."""
        sent = {"accept": "application/json", **(headers or {})}
        if self.authorization is not None:
            sent["authorization"] = self.authorization.reveal()
        try:
            answer = await self.session.request(
                method,
                url,
                headers=sent,
                json=json,
                data=data,
                params=params,
                timeout_seconds=TIMEOUT_SECONDS,
                max_bytes=max_bytes,
            )
        except (OutboundFailed, AddressRefused) as failure:
            raise FetchFailed(f"{self.provider}: {self._scrub(failure.message)}") from None
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer)

    def _refusal(self, answer: OutboundResponse) -> FetchFailed:
        if answer.status in {429, 503}:
            return Throttled(self.provider, retry_after_seconds(answer.headers))
        code, message = _provider_error(answer.body)
        if answer.status == 401:
            return SecretRefused(
                f"{self.provider} does not accept the secret (status 401{f' {code}' if code else ''}): "
                "check the secret that secretRef names."
            )
        return ProviderRefused(self.provider, answer.status, code, self._scrub(message)[:_MESSAGE_LENGTH])

    def _scrub(self, text: str) -> str:
        text = self.secret.scrub(text)
        if self.authorization is not None:
            # "Bearer x": the token alone may be quoted too.
            text = Secret(self.authorization.reveal().partition(" ")[2]).scrub(text)
        return text

    def decode(self, body: bytes) -> Any:
        """The JSON of an answer; AnswerUnusable when it is none."""
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError):
            raise AnswerUnusable(f"{self.provider} sent an answer that is not JSON.") from None


def grant_failure(provider: str, failure: GrantFailed) -> FetchFailed:
    """The FetchFailed that a failed token request amounts to."""
    if isinstance(failure, GrantRefused):
        return SecretRefused(f"{provider}: {failure.reason}: check the secret that secretRef names.")
    if failure.retry_after_seconds is not None:
        return Throttled(provider, failure.retry_after_seconds)
    return FetchFailed(f"{provider}: {failure.reason}.")


def members_of(provider: str, value: object) -> dict[str, Any]:
    """`value` as an object; AnswerUnusable when it is none."""
    if not isinstance(value, dict):
        raise AnswerUnusable(f"{provider} sent an answer of another form than it documents.")
    return value


def objects_in(provider: str, value: object) -> list[dict[str, Any]]:
    """`value` as a list of objects, absent as the empty list; AnswerUnusable when it is anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise AnswerUnusable(f"{provider} sent an answer of another form than it documents.")
    return value


def object_at(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested object of a record, or an empty one."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def text_setting(config: Config, name: str, pattern: str, default: str | None = None) -> str:
    """A member of `config` that must match `pattern` whole; ConfigUnusable names it otherwise."""
    value = config.get(name)
    if value is None or value == "":
        if default is None:
            raise ConfigUnusable(f"config.{name} is missing.")
        return default
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ConfigUnusable(f"config.{name} is not of the form that this source needs.")
    return value


def names_setting(config: Config, name: str, pattern: str, default: str) -> list[str]:
    """A comma-separated list of distinct names, each matching `pattern`, at most 16."""
    value = config.get(name)
    text = value if isinstance(value, str) and value.strip() else default
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not 1 <= len(names) <= 16 or not all(re.fullmatch(pattern, part, re.ASCII) for part in names):
        raise ConfigUnusable(f"config.{name} is not a comma-separated list of names.")
    return names


def _provider_error(body: bytes) -> tuple[str, str]:
    """Code and message from the error forms of these providers: {error: {code|status, message}}, {error, ...},
    {code, text} (Splunk HEC), {messages: [{text}]} (Splunk REST)."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return "", ""
    if not isinstance(decoded, dict):
        return "", ""
    error = decoded.get("error", decoded)
    message: object = ""
    code: object = error
    if isinstance(error, dict):
        code = error.get("status") or error.get("code")
        message = error.get("message") or error.get("text") or ""
        messages = error.get("messages")
        if not message and isinstance(messages, list) and messages and isinstance(messages[0], dict):
            message = messages[0].get("text", "")
    shown = str(code) if isinstance(code, str | int) and not isinstance(code, bool) else ""
    return (shown if _CODE.fullmatch(shown) else ""), (message if isinstance(message, str) else "")
