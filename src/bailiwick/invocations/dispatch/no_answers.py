"""What comes with a status of success and is no answer: an attempt that failed, as long as nothing was passed on."""

from __future__ import annotations

from collections.abc import Mapping

from bailiwick.invocations.dialects import (
    Dialect,
    ServerEvent,
    begins_answer,
    error_status,
    error_told,
)
from bailiwick.invocations.dialects.reading import Json
from bailiwick.invocations.dispatch.wire import NoAnswer, Refusal, WireStream

_MOST_EVENTS = 1_000
"""Before an answer begins: signs of life, and what nobody here knows."""


def failure(body: Json, headers: Mapping[str, str], dialect: Dialect | None, *, name: str | None = None) -> Exception:
    """What a body, or an event of this name, that is no answer says of the attempt: the error that it tells is taken
    as if it had come with its own status."""
    error = error_told(name, body)
    if error is None:
        return NoAnswer("what came is no answer", may_pass=False)
    return Refusal(error_status(error), error, headers, dialect=dialect)


async def first_events(opened: WireStream, dialect: Dialect) -> list[ServerEvent]:
    """The events up to those with which the answer has begun. Raises Refusal and NoAnswer when it does not."""
    events: list[ServerEvent] = []
    async for read in opened.reads:
        events += read
        for name, data in read:
            if data is not None and error_told(name, data) is not None:
                raise failure(data, opened.headers, dialect, name=name)
        if any(begins_answer(dialect, event) for event in read):
            return events
        if read[-1][1] is None or len(events) > _MOST_EVENTS:
            break
    raise NoAnswer("its stream has no answer in it", may_pass=False)
