"""What a source's `config` must and must not hold (contract LogSourceConfig)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from bailiwick.kernel.errors import InvalidInput
from bailiwick.logsources.events import Scalar, clean_text

REQUIRED_FIELD: Mapping[str, str | None] = {
    "m365_unified_audit": "tenantId",
    "google_workspace_admin": "customerId",
    "gcp_cloud_audit": "projectId",
    "splunk_hec": "endpoint",
    "azure_sentinel": "workspaceId",
    "custom_webhook": None,
}
_MAX_TEXT = 500
_CREDENTIALS = {
    "password",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "clientsecret",
    "privatekey",
    "credentials",
}


def check_config(source_type: str, config: Mapping[str, Scalar]) -> None:
    """InvalidInput names the first member that is missing or may not be there."""
    for name, value in config.items():
        check_text("config", name)
        if name.lower().replace("-", "").replace("_", "") in _CREDENTIALS:
            raise InvalidInput.of(
                f"config.{name}", "credentials do not belong here; name a secret kept elsewhere in secretRef"
            )
        if isinstance(value, str):
            check_text(f"config.{name}", value)
    required = REQUIRED_FIELD[source_type]
    if required is not None:
        value = config.get(required)
        if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT:
            raise InvalidInput.of(
                f"config.{required}", f"{source_type} needs it, as a text of 1-{_MAX_TEXT} characters"
            )
    if source_type == "splunk_hec":
        for name in ("endpoint", "hecEndpoint"):
            if config.get(name) is not None:
                _check_https(f"config.{name}", config[name])


def check_text(path: str, value: str) -> None:
    """InvalidInput for what PostgreSQL cannot store: NUL and lone surrogates."""
    if clean_text(value) != value:
        raise InvalidInput.of(path, "holds a character that cannot be stored (NUL or a lone surrogate)")


def _check_https(path: str, value: Scalar) -> None:
    # urlsplit drops blanks at the ends and takes them elsewhere; RFC 3986 has none anywhere.
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    try:
        parts = urlsplit(value) if plain and isinstance(value, str) else None
        sound = parts is not None and parts.scheme == "https" and bool(parts.hostname) and (parts.port or 443) > 0
    except ValueError:
        parts, sound = None, False
    if parts is None or not sound:
        raise InvalidInput.of(path, "must be an https URL")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput.of(path, "must not hold a user or password")
