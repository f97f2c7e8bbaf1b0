"""The one exception family.

    BailiwickError
    ├── InvalidInput            400  a field is wrong; names it
    ├── Unauthenticated         401
    ├── Forbidden               403
    │   ├── RoleRequired
    │   └── NoOrganization
    ├── NotFound                404
    ├── Conflict                409
    ├── RateLimited             429
    ├── UpstreamFailed          502
    └── Unavailable             503

A domain package subclasses these. `code` is stable and for programs; the message is for people and is made from the
fields. Each API family renders them in its own envelope and may spell a generic code in its own way (`api/errors.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class FieldProblem(TypedDict):
    """One field that is wrong: its dotted path in the request and what is expected."""

    path: str
    message: str


class BailiwickError(Exception):
    """Base of everything that a use case may raise on purpose."""

    status: int = 500
    code: str = "INTERNAL"

    def __init__(self, message: str = "") -> None:
        self.message = message or type(self).__doc__ or self.code
        super().__init__(self.message)


class InvalidInput(BailiwickError):
    """The request is not valid."""

    status, code = 400, "VALIDATION_ERROR"

    def __init__(self, message: str, *, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)

    @classmethod
    def of(cls, path: str, message: str) -> InvalidInput:
        """One wrong field."""
        return cls(f"{path}: {message}", problems=[{"path": path, "message": message}])


class Misconfigured(ValueError):
    """What an operator has configured cannot be used; the message names the setting or the file, and what is wrong.
    It ends a start, and no caller ever sees it."""


class Unauthenticated(BailiwickError):
    """Missing or expired token."""

    status, code = 401, "UNAUTHENTICATED"


class Forbidden(BailiwickError):
    """Forbidden"""

    status, code = 403, "FORBIDDEN"


class RoleRequired(Forbidden):
    """This action needs a higher role than yours."""

    code = "INSUFFICIENT_PERMISSIONS"


class NoOrganization(Forbidden):
    """The token is valid but names no active organization."""

    code = "NO_ORG"


class NotFound(BailiwickError):
    """Not found."""

    status, code = 404, "NOT_FOUND"


class Conflict(BailiwickError):
    """The request conflicts with the present state."""

    status, code = 409, "CONFLICT"


class RateLimited(BailiwickError):
    """Too many requests."""

    status, code = 429, "RATE_LIMITED"

    def __init__(self, message: str = "", *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UpstreamFailed(BailiwickError):
    """A service that this request needs did not answer as it should."""

    status, code = 502, "UPSTREAM_FAILED"


class Unavailable(BailiwickError):
    """Not available at present; try again."""

    status, code = 503, "UNAVAILABLE"
