"""What can go wrong with identity, each once.

Unauthenticated
├── CredentialsRefused   401 UNAUTHENTICATED  wrong e-mail or password, alike
├── MembershipEnded      401 UNAUTHENTICATED  a genuine token of a member who was removed
├── RefreshTokenInvalid  401 TOKEN_INVALID
└── RefreshTokenExpired  401 TOKEN_EXPIRED
InvalidInput ── VerificationInvalid  400 TOKEN_INVALID
VerificationExpired                  410 TOKEN_EXPIRED
NotFound ── UserNotFound             404 USER_NOT_FOUND
Conflict
├── EmailAlreadyExists   409
├── AlreadyVerified      409
├── SlugTaken            409
└── KeyTransitionNotAllowed  409 TRANSITION_NOT_ALLOWED
Forbidden
├── AttenuationWidens    403 ATTENUATION_CAP_VIOLATION
└── KeyIsLimited         403
Unavailable ── SignupDisabled        503
"""

from __future__ import annotations

from bailiwick.kernel.errors import (
    BailiwickError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)


class CredentialsRefused(Unauthenticated):
    """E-mail or password is wrong."""


class MembershipEnded(Unauthenticated):
    """You are no longer a member of this organization."""


class RefreshTokenInvalid(Unauthenticated):
    """This refresh token is unknown, was used before, or its session has ended. Sign in again."""

    code = "TOKEN_INVALID"


class RefreshTokenExpired(Unauthenticated):
    """This refresh token is too old. Sign in again."""

    code = "TOKEN_EXPIRED"


class VerificationInvalid(InvalidInput):
    """This verification token is unknown or was used before."""

    code = "TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("")


class VerificationExpired(BailiwickError):
    """This verification token is too old. Ask for a new one."""

    status, code = 410, "TOKEN_EXPIRED"


class UserNotFound(NotFound):
    """No user has this e-mail address."""

    code = "USER_NOT_FOUND"


class EmailAlreadyExists(Conflict):
    """A user with this e-mail address exists. Sign in instead."""

    code = "EMAIL_ALREADY_EXISTS"


class AlreadyVerified(Conflict):
    """This e-mail address is verified already."""

    code = "ALREADY_VERIFIED"


class SlugTaken(Conflict):
    """Another workspace has this slug."""

    code = "SLUG_TAKEN"


class KeyTransitionNotAllowed(Conflict):
    """The key has expired, was revoked or replaced, or belongs to the workspace's plan."""

    code = "TRANSITION_NOT_ALLOWED"


class AttenuationWidens(Forbidden):
    """An attenuated key may do no more, and live no longer, than the key it was made from."""

    code = "ATTENUATION_CAP_VIOLATION"


class KeyIsLimited(Forbidden):
    """This key is limited, so it manages no keys but those attenuated from it. Use an access token."""


class SignupDisabled(Unavailable):
    """This installation does not let people sign up by themselves. Ask its operator for an invitation."""

    code = "SIGNUP_DISABLED"
