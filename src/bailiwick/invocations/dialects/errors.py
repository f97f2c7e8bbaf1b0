"""What can be wrong with a request in a dialect.

InvalidInput 400
├── InvalidBody      the body is not what its dialect says
└── Untranslatable   the body is right, but the model's own dialect cannot say what a field says
"""

from __future__ import annotations

from bailiwick.kernel.errors import InvalidInput


class InvalidBody(InvalidInput):
    """The request body is not valid."""

    code = "invalid_body"

    def __init__(self, field: str, expected: str) -> None:
        self.field = field
        super().__init__(f"{field}: {expected}", problems=[{"path": field, "message": expected}])


class Untranslatable(InvalidInput):
    """A field that the dialect of the model's provider cannot express."""

    code = "invalid_body"

    def __init__(self, field: str) -> None:
        self.field = field
        message = "the provider of this model cannot do this; leave the field out or choose another model"
        super().__init__(f"{field}: {message}", problems=[{"path": field, "message": message}])
