"""One form for audit entries and log events, and the choice of those that the message asks about."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from bailiwick.registry.templates.periods import Period
from bailiwick.registry.templates.template import AuditFact, LogEvent, TemplateContext

_FAILED = (
    "fail",
    "denied",
    "deny",
    "error",
    "refus",
    "reject",
    "invalid",
    "unauthor",
    "forbid",
    "block",
    "kill",
    "locked",
)
_REFUSED = ("blocked", "refused", "kill", "killed", "denied", "rejected")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAME = re.compile(r"[\w@.+-]+")
_WORD = re.compile(r"[a-z0-9]+")
_ADDRESS_KEYS = (
    "ip",
    "ip_address",
    "client_ip",
    "source_ip",
    "src_ip",
    "ClientIP",
    "ipAddress",
    "callerIp",
    "remote_addr",
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. `citation` is how an answer refers to it; `words` are the words of its action and
    outcome."""

    citation: str
    at: datetime
    actor: str
    action: str
    subject: str
    outcome: str
    address: str
    source: str
    words: frozenset[str]
    chain: str = ""
    sequence: int = -1

    @property
    def failed(self) -> bool:
        """The action or the outcome says that it did not succeed."""
        return any(word.startswith(_FAILED) for word in self.words)

    @property
    def refused(self) -> bool:
        """The product itself refused it (a policy, an inspection, a limit)."""
        return not self.source and any(word in _REFUSED for word in self.words)


def gather(context: TemplateContext) -> list[Event]:
    """All entries and events of the context, oldest first; those of equal time by citation."""
    events = [_of_entry(entry) for entry in context.audit_entries]
    events += [_of_log(event) for event in context.log_events]
    events.sort(key=lambda event: (event.at, event.sequence, event.citation))
    return events


def _of_entry(entry: AuditFact) -> Event:
    outcome = str(entry.attributes.get("outcome") or entry.attributes.get("decision") or "")
    if outcome == "BYPASS":  # passed as it was: nothing to tell
        outcome = ""
    return Event(
        citation=f"[{entry.audit_id}]",
        at=_utc(entry.at),
        actor=entry.actor or "unknown",
        action=entry.action or "unknown",
        subject=entry.subject,
        outcome=outcome,
        address=_address(entry.attributes),
        source="",
        words=_words(entry.action, outcome),
        chain=entry.chain,
        sequence=entry.sequence,
    )


def _of_log(event: LogEvent) -> Event:
    return Event(
        citation=f"[{event.source_name or event.source_id}:{event.event_id}]",
        at=_utc(event.at),
        actor=event.actor or "unknown",
        action=event.action or "unknown",
        subject=event.target,
        outcome=event.outcome,
        address=_address(event.attributes),
        source=event.source_name or event.source_id,
        words=_words(event.action, event.outcome),
    )


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _address(attributes: Iterable[str] | object) -> str:
    if not hasattr(attributes, "get"):
        return ""
    return next((str(value) for key in _ADDRESS_KEYS if (value := attributes.get(key))), "")


def _words(action: str, outcome: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_CAMEL.sub(" ", f"{action[:200]} {outcome[:100]}").lower()))


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the message narrows the events to: names of actors and of sources that occur in them."""

    actors: tuple[str, ...]
    sources: tuple[str, ...]


def choose(message: str, events: Sequence[Event], period: Period) -> tuple[Choice, list[Event]]:
    """The events in the period, of the actors and sources that the message names (of all, if it names none).

    An actor is named by its whole name or by the part before the @.
    """
    text = message.lower()
    spoken = frozenset(word.strip("@.+-") for word in _NAME.findall(text))
    actors = tuple(sorted({event.actor for event in events if _is_named(event.actor, text, spoken)}))
    sources = tuple(sorted({event.source for event in events if event.source and event.source.lower() in text}))
    chosen = [
        event
        for event in events
        if event.at in period and (not actors or event.actor in actors) and (not sources or event.source in sources)
    ]
    return Choice(actors=actors, sources=sources), chosen


_COMMON = frozenset(
    {"unknown", "system", "admin", "user", "audit", "log", "logs", "agent", "service", "all", "last", "the"}
)


def _is_named(actor: str, text: str, spoken: frozenset[str]) -> bool:
    name = actor.lower()
    if name in _COMMON or len(name) < 3:
        return False
    local = name.split("@", 1)[0]
    if name in spoken or (len(local) > 2 and local not in _COMMON and local in spoken):
        return True
    return " " in name and name in text
