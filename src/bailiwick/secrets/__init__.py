"""Secrets: kept sealed, named by reference, revealed only where they are used."""

from bailiwick.secrets.configured import secret_of, secret_of_installation
from bailiwick.secrets.errors import (
    GrantFailed,
    GrantRefused,
    SecretError,
    SecretNotFound,
    SecretReferenceInvalid,
    SecretUnavailable,
)
from bailiwick.secrets.google import GoogleSecretManager
from bailiwick.secrets.oauth import (
    GOOGLE_TOKEN_URL,
    ServiceAccount,
    client_credentials_token,
    retry_after_seconds,
    service_account_token,
)
from bailiwick.secrets.references import (
    REFERENCE_PATTERN,
    EnvironmentSecrets,
    Grants,
    SecretProvider,
    check_reference,
    resolve,
)
from bailiwick.secrets.store import SecretInfo, delete_secret, list_secrets, put_secret
from bailiwick.secrets.values import Secret

__all__ = [
    "GOOGLE_TOKEN_URL",
    "REFERENCE_PATTERN",
    "EnvironmentSecrets",
    "GoogleSecretManager",
    "GrantFailed",
    "GrantRefused",
    "Grants",
    "Secret",
    "SecretError",
    "SecretInfo",
    "SecretNotFound",
    "SecretProvider",
    "SecretReferenceInvalid",
    "SecretUnavailable",
    "ServiceAccount",
    "check_reference",
    "client_credentials_token",
    "delete_secret",
    "list_secrets",
    "put_secret",
    "resolve",
    "retry_after_seconds",
    "secret_of",
    "secret_of_installation",
    "service_account_token",
]
