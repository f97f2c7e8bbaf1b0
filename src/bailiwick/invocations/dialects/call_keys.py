"""Telling the calls of a chat's stream apart."""

from __future__ import annotations

from bailiwick.invocations.dialects.reading import Json, object_in


class CallKeys:
    """A call goes by its index. Some servers leave it out or give it to several calls, each of which comes with a name
    and an id of its own then; others have another id in each piece, but no name."""

    def __init__(self) -> None:
        self._latest: dict[object, tuple[str, object]] = {}
        self._count = 0

    def of(self, call: Json, at: int) -> str:
        """The key of the call that a delta, at this place among those of its chunk, goes on with or begins."""
        index, name = call.get("index"), call.get("id")
        if not isinstance(index, int):
            index = at
        key, begun_as = self._latest.get(index, ("", None))
        is_named = bool(object_in(call, "function").get("name"))
        if not key or (is_named and name is not None and begun_as is not None and name != begun_as):
            key = f"call {self._count}"
            self._count += 1
            self._latest[index] = key, name
        return key
