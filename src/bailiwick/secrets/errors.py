"""What can go wrong with a secret. None of the messages holds a secret's value.

BailiwickError
└── SecretError
    ├── SecretReferenceInvalid  400  the name itself is malformed
    ├── SecretNotFound          404  no provider has the name for this organization
    └── SecretUnavailable       502  a provider that may have it did not give it
GrantFailed                     a token endpoint gave no token; callers turn it into an error of their own
└── GrantRefused                it said that the credential is wrong
"""

from bailiwick.kernel.errors import BailiwickError


class SecretError(BailiwickError):
    """Base; the message is for the organization's administrator."""


class SecretReferenceInvalid(SecretError):
    """A secret reference is 1-255 letters, digits, hyphens or underscores."""

    status, code = 400, "VALIDATION_ERROR"


class SecretNotFound(SecretError):
    """Not there, or there but not granted to this organization: the two are not told apart."""

    status, code = 404, "NOT_FOUND"

    def __init__(self, reference: str) -> None:
        super().__init__(f"No secret named {reference!r} is available to this organization.")
        self.reference = reference


class SecretUnavailable(SecretError):
    """The place where the secret is kept could not be asked, or what it keeps cannot be opened."""

    status, code = 502, "SECRET_UNAVAILABLE"

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(f"The secret {reference!r} could not be read: {reason.rstrip('.')}.")
        self.reference, self.reason = reference, reason


class GrantFailed(Exception):
    """No access token came. `retry_after_seconds` is what the endpoint asked for, if it did."""

    def __init__(self, reason: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_seconds = reason, retry_after_seconds


class GrantRefused(GrantFailed):
    """The endpoint refused the credential (`invalid_client`, `invalid_grant`, ...: RFC 6749 section 5.2)."""
