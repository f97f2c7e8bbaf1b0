"""Tells what happened in plain words, with a citation for every statement."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from bailiwick.registry.templates.periods import Period, read_period
from bailiwick.registry.templates.template import TemplateInput, TemplateResult, result_of

from .events import Choice, Event, choose, gather
from .unusual import Note, unusual

_DEFAULT_DAYS = 7
_LINES = 60
_NOTES = 20


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one day, actor and action, in order of time."""

    day: str
    actor: str
    action: str
    events: list[Event]

    def times(self) -> str:
        """From the first to the last, to the minute."""
        first, last = f"{self.events[0].at:%H:%M}", f"{self.events[-1].at:%H:%M}"
        return first if first == last else f"{first}–{last}"

    def citations(self) -> str:
        """The first and the last event, and how many lie between."""
        cited = [event.citation for event in self.events]
        if len(cited) <= 3:
            return " ".join(cited)
        return f"{cited[0]} … {cited[-1]}"


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is told: the chosen events, grouped, what stands out, and everything that was read."""

    organization: str
    period: Period
    choice: Choice
    chosen: list[Event]
    groups: list[Group]
    notes: list[Note]
    everything: list[Event]


def run(given: TemplateInput) -> TemplateResult:
    """Narrate the audit entries and log events of the period, actors and sources that `given.message` names."""
    context = given.context
    period = read_period(given.message, context.now, default_days=_DEFAULT_DAYS)
    everything = gather(context)
    choice, chosen = choose(given.message, everything, period)
    story = Story(
        organization=context.organization_name,
        period=period,
        choice=choice,
        chosen=chosen,
        groups=_groups(chosen),
        notes=unusual(chosen, everything, period),
        everything=everything,
    )
    return result_of(given, response=_response(story), facts=_facts(story), structured=_structured(story))


def _groups(chosen: Sequence[Event]) -> list[Group]:
    grouped: dict[tuple[str, str, str], list[Event]] = {}
    for event in chosen:
        grouped.setdefault((f"{event.at:%Y-%m-%d}", event.actor, event.action), []).append(event)
    return [
        Group(day=day, actor=actor, action=action, events=events) for (day, actor, action), events in grouped.items()
    ]


def _named(action: str) -> str:
    """An action's name as words."""
    return action.replace(".", " ").replace("_", " ").replace(":", " ")


def _times(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _response(story: Story) -> str:
    period, choice, chosen, notes = story.period, story.choice, story.chosen, story.notes
    actors = Counter(event.actor for event in chosen)
    refused, failed = sum(e.refused for e in chosen), sum(e.failed and not e.refused for e in chosen)
    scope = f" by {', '.join(choice.actors) if choice.actors else _times(len(actors), 'actor')}"
    scope += f" in {', '.join(choice.sources)}" if choice.sources else ""
    lines = [
        f"{story.organization or 'Audit trail'}: {_times(len(chosen), 'event')}{scope}, {refused} refused, "
        f"{failed} failed, {_times(len(notes), 'thing')} to look at.",
        f"Period: {period.text()}{'' if period.stated else ' (the message names none)'}.{_read(story.everything)}",
    ]
    if not chosen:
        lines.append(_nothing(story.everything))
        return "\n".join(lines)
    lines.append("\nWhat stands out" if notes else "\nNothing stands out.")
    for number, note in enumerate(notes[:_NOTES], 1):
        cited = f" {' '.join(note.citations)}" if note.citations else ""
        lines.append(f"{number}. {note.text}.{cited} Look at: {note.look}.")
    lines.append("\nTimeline")
    lines += _timeline(story.groups)
    lines.append("\nBy actor: " + "; ".join(f"{actor} {count}" for actor, count in _ranked(actors, 10)))
    lines.append(
        "By action: "
        + "; ".join(f"{_named(action)} {count}" for action, count in _ranked(Counter(e.action for e in chosen), 10))
    )
    sources = Counter(event.source or "audit log" for event in chosen)
    lines.append("By source: " + "; ".join(f"{source} {count}" for source, count in _ranked(sources, 10)))
    return "\n".join(lines)


def _ranked(counter: Counter[str], number: int) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:number]


def _read(everything: Sequence[Event]) -> str:
    """How far back the events go that were read, so that nobody takes silence before it for quiet."""
    if not everything:
        return ""
    return f" Read: {_times(len(everything), 'event')}, the oldest of {everything[0].at:%Y-%m-%d %H:%M} UTC."


def _nothing(everything: Sequence[Event]) -> str:
    if not everything:
        return "Nothing was recorded, or no log source is connected."
    return (
        f"Nothing matches. {_times(len(everything), 'event')} outside it were read, from "
        f"{everything[0].at:%Y-%m-%d %H:%M} {everything[0].citation} to "
        f"{everything[-1].at:%Y-%m-%d %H:%M} {everything[-1].citation}."
    )


def _timeline(groups: Sequence[Group]) -> list[str]:
    lines: list[str] = []
    day = ""
    for group in groups[:_LINES]:
        if group.day != day:
            day = group.day
            lines.append(f"{day}")
        subjects = sorted({event.subject for event in group.events if event.subject})
        about = f" on {', '.join(subjects[:3])}{' and others' if len(subjects) > 3 else ''}" if subjects else ""
        count = f" × {len(group.events)}" if len(group.events) > 1 else ""
        outcomes = sorted({event.outcome for event in group.events if event.outcome})
        outcome = f" ({', '.join(outcomes[:3])})" if outcomes else ""
        lines.append(
            f"- {group.times()} {group.actor}: {_named(group.action)}{count}{about}{outcome} {group.citations()}"
        )
    if len(groups) > _LINES:
        rest = sum(len(group.events) for group in groups[_LINES:])
        lines.append(
            f"- and {_times(rest, 'event')} more in {len(groups) - _LINES} groups; narrow the period or name an actor"
        )
    return lines


def _facts(story: Story) -> str:
    lines = [f"period={story.period.text()} events={len(story.chosen)}"]
    lines += [f"unusual {note.kind}: {note.text} {' '.join(note.citations)}" for note in story.notes[:_NOTES]]
    lines += _timeline(story.groups)
    return "\n".join(lines)


def _structured(story: Story) -> dict[str, Any]:
    period, chosen = story.period, story.chosen
    return {
        "period": {"start": period.start.isoformat(), "end": period.end.isoformat(), "stated": period.stated},
        "actors": list(story.choice.actors),
        "sources": list(story.choice.sources),
        "events": len(chosen),
        "refused": sum(event.refused for event in chosen),
        "failed": sum(event.failed and not event.refused for event in chosen),
        "by_actor": dict(_ranked(Counter(event.actor for event in chosen), 50)),
        "by_action": dict(_ranked(Counter(event.action for event in chosen), 50)),
        "unusual": [
            {"kind": note.kind, "text": note.text, "look_at": note.look, "citations": list(note.citations)}
            for note in story.notes
        ],
        "timeline": [
            {
                "day": group.day,
                "actor": group.actor,
                "action": group.action,
                "count": len(group.events),
                "citations": [event.citation for event in group.events[:20]],
            }
            for group in story.groups[:500]
        ],
    }
