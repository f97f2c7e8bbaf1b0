"""What can go wrong with a secret. None of the messages holds a secret's value.

SecretError
├── SecretReferenceInvalid   the name itself is malformed
├── SecretNotFound           no provider knows the name for this organization
├── SecretUnavailable        a provider that may know it did not answer
└── EnvelopeInvalid          a stored value does not open: other key, other owner, or altered
GrantFailed                  a token endpoint gave no token
└── GrantRefused             it said that the credential is wrong
"""


class SecretError(Exception):
    """Base; `str()` is a sentence for the organization's administrator."""


class SecretReferenceInvalid(SecretError):
    """The name is not 1-255 letters, digits, `-` or `_`."""

    def __init__(self) -> None:
        super().__init__("A secret reference is 1-255 letters, digits, hyphens or underscores.")


class SecretNotFound(SecretError):
    """Not found, or found but not granted to this organization: the two are not told apart."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"No secret named {reference!r} is available to this organization.")
        self.reference = reference


class SecretUnavailable(SecretError):
    """The place where the secret is kept could not be asked."""

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(f"The secret {reference!r} could not be read: {reason}")
        self.reference, self.reason = reference, reason


class EnvelopeInvalid(SecretError):
    """Decryption or authentication failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The stored secret does not open: {reason}.")


class GrantFailed(Exception):
    """No access token came. `retry_after_seconds` is what the endpoint asked for, if it did."""

    def __init__(self, reason: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_seconds = reason, retry_after_seconds


class GrantRefused(GrantFailed):
    """The endpoint refused the credential (`invalid_client`, `invalid_grant`, ...: RFC 6749 section 5.2)."""
