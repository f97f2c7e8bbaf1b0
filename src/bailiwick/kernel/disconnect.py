"""A client's leaving, as our web server tells the application of it: an extension of ASGI's scope.

ASGI's own way is to wait for the message `http.disconnect` beside the work, which takes two tasks for each call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

EXTENSION: Final = "bailiwick.disconnect"
"""Its place in a scope's `extensions`, under whose key `connection` the Disconnect stands."""


class Disconnect:
    """The leaving of one connection's client, which one piece of work at a time may want to know of."""

    def __init__(self) -> None:
        self._has_happened = False
        self._then: Callable[[], object] | None = None

    def watch(self, then: Callable[[], object]) -> None:
        """Calls `then` once the client has gone; at once when it has already."""
        self._then = then
        if self._has_happened:
            then()

    def unwatch(self) -> bool:
        """Takes `watch` back; whether the client has gone."""
        self._then = None
        return self._has_happened

    def happened(self) -> None:
        """The client has gone."""
        self._has_happened = True
        if self._then is not None:
            self._then()
