"""What stands out among the events: refusals, failures, changes of rights, odd hours, first-seen names, bursts, gaps.

Each check is a function of the chosen events and of all that was loaded (which gives the past to compare with).
"""

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import msgspec

from bailiwick.registry.templates.periods import Period

from .events import Event

_BURST = timedelta(minutes=5)
_BURST_COUNT = 10
_GUESSES = 3
_GUESS_WINDOW = timedelta(minutes=15)
_DAY_BEGINS, _DAY_ENDS = 6, 20
_CITED = 3

_RIGHTS = (
    "role",
    "permission",
    "privilege",
    "grant",
    "admin",
    "owner",
    "membership",
    "scope",
    "elevat",
    "sudo",
    "consent",
)
_GUARDS = (
    "mfa",
    "2fa",
    "dlp",
    "policy",
    "sop",
    "firewall",
    "logging",
    "alert",
    "inspection",
    "audit",
    "retention",
    "key",
)
_WEAKEN = ("disabl", "remov", "delet", "weaken", "invalidat", "turn", "off", "bypass", "purg", "clear", "stop")
_CHANGE = (
    "chang",
    "add",
    "remov",
    "grant",
    "assign",
    "updat",
    "creat",
    "delet",
    "elevat",
    "promot",
    "revok",
    "accept",
    "set",
    "consent",
)
_SIGN_IN = ("login", "signin", "logon", "sign", "logged", "session", "auth")


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that stands out. `weight` orders notes (higher first); `look` says what to look at."""

    kind: str
    weight: int
    text: str
    look: str
    citations: tuple[str, ...]


def unusual(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    """All notes, the gravest first."""
    notes = [note for check in _CHECKS for note in check(chosen, everything, period)]
    return sorted(notes, key=lambda note: (-note.weight, note.kind, note.text))


def _cited(events: Sequence[Event]) -> tuple[str, ...]:
    """The first and the last, so that a reader can open both ends."""
    picked = events if len(events) <= _CITED else [*events[: _CITED - 1], events[-1]]
    return tuple(event.citation for event in picked)


def _by_actor(events: Iterable[Event]) -> dict[str, list[Event]]:
    grouped: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.actor].append(event)
    return grouped


def _has(event: Event, beginnings: tuple[str, ...]) -> bool:
    return any(word.startswith(beginnings) for word in event.words)


def _refusals(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    return [
        Note(
            kind="refused",
            weight=80,
            text=f"{len(events)} refused for {actor}",
            look="read the decision and its findings; many from one actor mean a broken prompt or an attempt",
            citations=_cited(events),
        )
        for actor, events in _by_actor(event for event in chosen if event.refused).items()
    ]


def _failures(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    notes = []
    groups: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in chosen:
        if event.failed and not event.refused:
            groups[event.actor, event.action].append(event)
    for (actor, action), events in groups.items():
        notes.append(
            Note(
                kind="failed",
                weight=50 + min(len(events), 20),
                text=f"{len(events)} failed {action} by {actor}{_addresses(events)}",
                look="compare with the actor's usual behaviour and look for a success right after",
                citations=_cited(events),
            )
        )
    return notes


def _addresses(events: Sequence[Event]) -> str:
    addresses = sorted({event.address for event in events if event.address})
    if not addresses:
        return ""
    return f" from {', '.join(addresses[:3])}{' and others' if len(addresses) > 3 else ''}"


def _guessing(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    """Failed sign-ins followed by a success shortly after: a guessed password looks like this."""
    notes = []
    for actor, events in _by_actor(event for event in chosen if _has(event, _SIGN_IN)).items():
        failures: deque[Event] = deque()
        for event in events:
            while failures and event.at - failures[0].at > _GUESS_WINDOW:
                failures.popleft()
            if event.failed:
                failures.append(event)
            elif len(failures) >= _GUESSES:
                notes.append(
                    Note(
                        kind="guessing",
                        weight=100,
                        text=f"{len(failures)} failed sign-ins of {actor} and then a success within 15 minutes",
                        look="ask the person; if it was not them, end all sessions and reset the credentials",
                        citations=(*_cited(list(failures))[:2], event.citation),
                    )
                )
                failures.clear()
    return notes


def _rights(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    done = [event for event in chosen if not event.failed]
    return [
        *_changes(
            (event for event in done if _has(event, _RIGHTS) and _has(event, _CHANGE)),
            "changes of rights",
            kind="rights",
            weight=70,
            look="match each with a request and its approval",
        ),
        *_changes(
            (event for event in done if _has(event, _GUARDS) and _has(event, _WEAKEN)),
            "protections changed or removed",
            kind="guard",
            weight=90,
            look="check that the change was meant and by whom it was approved",
        ),
    ]


def _changes(changes: Iterable[Event], what: str, *, kind: str, weight: int, look: str) -> list[Note]:
    """A note for each actor, with the actions that it took."""
    notes = []
    for actor, events in _by_actor(changes).items():
        actions = ", ".join(sorted({event.action for event in events})[:4])
        text = f"{len(events)} {what} by {actor} ({actions})"
        notes.append(Note(kind=kind, weight=weight, text=text, look=look, citations=_cited(events)))
    return notes


def _odd_hours(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    """Outside 06:00 to 20:00 UTC or at a weekend, for actors who mostly work inside these hours."""
    notes = []
    usual = _by_actor(everything)
    for actor, events in _by_actor(event for event in chosen if _is_odd(event)).items():
        total = len(usual[actor])
        odd = sum(map(_is_odd, usual[actor]))
        if total >= 5 and odd * 4 <= total:
            notes.append(
                Note(
                    kind="hours",
                    weight=40,
                    text=f"{len(events)} events of {actor} outside 06:00 to 20:00 UTC or at a weekend (usually inside)",
                    look="ask whether the work was planned",
                    citations=_cited(events),
                )
            )
    return notes


def _is_odd(event: Event) -> bool:
    return event.at.weekday() >= 5 or not _DAY_BEGINS <= event.at.hour < _DAY_ENDS


def _first_seen(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    """Actors, and addresses of known actors, that do not occur before the period. Says nothing without a past."""
    past = [event for event in everything if event.at < period.start]
    if not past:
        return []
    known = {event.actor for event in past}
    known_addresses = {(event.actor, event.address) for event in past}
    notes = []
    for actor, events in _by_actor(chosen).items():
        if actor not in known:
            notes.append(
                Note(
                    kind="first_actor",
                    weight=45,
                    text=f"{actor} appears for the first time{_addresses(events)}",
                    look="check that this account is meant to exist",
                    citations=_cited(events[:1]),
                )
            )
            continue
        fresh: dict[str, Event] = {}
        for event in events:
            if event.address and (actor, event.address) not in known_addresses:
                fresh.setdefault(event.address, event)
        if fresh:
            notes.append(
                Note(
                    kind="first_address",
                    weight=55,
                    text=f"{actor} came from {len(fresh)} address(es) not seen before: {', '.join(sorted(fresh)[:3])}",
                    look="check the place and the device",
                    citations=_cited(list(fresh.values())),
                )
            )
    return notes


def _bursts(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    """At least ten events of one actor within five minutes, and five times its average rate over the period."""
    notes = []
    spans = max((period.end - period.start) / _BURST, 1.0)
    for actor, events in _by_actor(chosen).items():
        window: deque[Event] = deque()
        best: list[Event] = []
        for event in events:
            window.append(event)
            while event.at - window[0].at > _BURST:
                window.popleft()
            if len(window) > len(best):
                best = list(window) if len(window) <= 500 else [window[0], *best[1:], event]
        if len(best) >= _BURST_COUNT and len(best) >= 5 * len(events) / spans:
            action, count = Counter(event.action for event in best).most_common(1)[0]
            notes.append(
                Note(
                    kind="burst",
                    weight=60,
                    text=f"{len(best)} events of {actor} within 5 minutes from {best[0].at:%Y-%m-%d %H:%M} UTC "
                    f"(mostly {action}: {count})",
                    look="tell a script or a loop from a person; look at limits",
                    citations=_cited(best),
                )
            )
    return notes


def _gaps(chosen: Sequence[Event], everything: Sequence[Event], period: Period) -> list[Note]:
    """Numbers absent between the entries of a chain in the period: they should follow each other without a gap.

    One that was read and lies outside the period is not absent: entries are numbered when they are settled, and dated
    when what they record ended.
    """
    numbers: dict[str, set[int]] = defaultdict(set)
    bounds: dict[str, list[int]] = defaultdict(list)
    for event in everything:
        if event.chain:
            numbers[event.chain].add(event.sequence)
            if event.at in period:
                bounds[event.chain].append(event.sequence)
    notes = []
    for chain, within in sorted(bounds.items()):
        first, last = min(within), max(within)
        pairs = itertools.pairwise(number for number in sorted(numbers[chain]) if first <= number <= last)
        missing = [(before + 1, after - 1) for before, after in pairs if after - before > 1]
        if missing:
            shown = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in missing[:5])
            more = " and more" if len(missing) > 5 else ""
            notes.append(
                Note(
                    kind="gap",
                    weight=65,
                    text=f"entries {shown}{more} of chain {chain} were not among those read",
                    look="verify the audit chain; a filter on what was read explains it too",
                    citations=(),
                )
            )
    return notes


_CHECKS: tuple[Callable[[Sequence[Event], Sequence[Event], Period], list[Note]], ...] = (
    _guessing, _refusals, _rights, _gaps, _bursts, _first_seen, _failures, _odd_hours,
)  # fmt: skip
