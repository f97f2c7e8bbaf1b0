"""One pass over a message: which topics, signals and places its words name, with negation taken into account.

The cost is one regular expression for the words and a dictionary look-up for each, plus one expression for
identifiers when the message holds a digit: linear in the message, some tens of microseconds for a ticket of usual
length.
"""

import re

import msgspec

from .rulebase import ENDS_CLAUSE, TOKEN, Candidate, RuleBase, Term

_REACH = 3
"""How many words after a negator it still speaks of."""

_IDENTIFIER = re.compile(
    r"(?P<ticket>(?:INC|REQ|RITM|CHG|PRB|TICKET|CASE|SR|IT|HELP|SUP|JIRA|OPS)[-#:]?\d{3,12})"
    r"|(?P<address>\d{1,3}(?:\.\d{1,3}){3})"
    r"|(?P<error>0x[0-9A-F]{4,8})"
    r"|(?P<device>[A-Z][A-Z0-9]{1,14}(?:-[A-Z0-9]{1,14}){1,3})",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_NUMBERED = {
    "ticket": "ticket",
    "case": "ticket",
    "inc": "ticket",
    "incident": "ticket",
    "error": "error",
    "code": "error",
}
"""Words that say what the plain number behind them is."""
_SINCE = re.compile(r"\bsince\s+([^.,;!?\n–—(]{1,40})", re.IGNORECASE)
_ORDINAL = re.compile(r"\d{1,3}(?:st|nd|rd|th)|first|second|third|fourth|fifth|ground|top")


class TopicHit(msgspec.Struct):
    """What spoke for one subcategory: the sum of weights and the words, in order of appearance."""

    score: int = 0
    words: list[str] = []


class Scan(msgspec.Struct):
    """All that a pass found. `scope` and `symptoms` and `stated` are (level, words); `cancelled` are words under a
    negation."""

    topics: dict[int, TopicHit] = {}
    scope: list[tuple[int, str]] = []
    stated: list[tuple[int, str]] = []
    symptoms: list[tuple[int, str]] = []
    personal: list[str] = []
    important_people: list[str] = []
    requests: list[str] = []
    resolved: list[str] = []
    cancelled: list[str] = []
    places: list[str] = []
    people: int = 0
    since: str = ""
    identifiers: dict[str, list[str]] = {}


def scan(message: str, rules: RuleBase) -> Scan:
    """Read `message` once and return what its words say by `rules`."""
    tokens = TOKEN.findall(message.lower().replace("’", "'"))
    found = Scan()
    words = rules.words
    topic_from = signal_from = denied_until = negated_until = 0
    for index, token in enumerate(tokens):
        rows = words.get(token)
        if rows is None:
            continue
        if rows is ENDS_CLAUSE:
            negated_until = denied_until = 0
            continue
        topics, signals = rows
        if topics and index >= topic_from and (hit := _longest(topics, tokens, index)):
            topic_from, term = hit
            if term.kind == "topic":
                cancelled = index < denied_until or (term.strict and index < negated_until)
                _take_topic(found, term, " ".join(tokens[index:topic_from]), cancelled)
        if signals and index >= signal_from and (hit := _longest(signals, tokens, index)):
            signal_from, term = hit
            kind = term.kind
            if kind in {"negator", "denial"}:
                negated_until = signal_from + _REACH
                denied_until = signal_from + 1 if kind == "denial" else denied_until
            elif kind == "entity":
                _take_place(found, tokens, index)
            elif kind == "count":
                _take_count(found, tokens, index, rules)
            elif kind != "neutral":
                _take_signal(found, term, " ".join(tokens[index:signal_from]), index < negated_until)
    _take_identifiers(found, message)
    return found


def _longest(rows: tuple[Candidate, ...], tokens: list[str], index: int) -> tuple[int, Term] | None:
    """The longest phrase that stands at `index`, with the index behind it."""
    for length, rest, term in rows:
        if length == 1 or tokens[index + 1 : index + length] == rest:
            return index + length, term
    return None


def _take_topic(found: Scan, term: Term, text: str, cancelled: bool) -> None:
    if cancelled:
        found.cancelled.append(text)
        return
    hit = found.topics.get(term.topic)
    if hit is None:
        found.topics[term.topic] = TopicHit(score=term.weight, words=[text])
    elif text not in hit.words and len(hit.words) < 8:
        hit.score += term.weight
        hit.words.append(text)


def _take_signal(found: Scan, term: Term, text: str, negated: bool) -> None:
    kind = term.kind
    if negated and kind != "self":
        if kind == "urgency" and term.level == 1:
            found.stated.append((3, f"not {text}"))
        else:
            found.cancelled.append(text)
        return
    if kind in {"symptom", "impact", "urgency"}:
        weighed = found.symptoms if kind == "symptom" else found.scope if kind == "impact" else found.stated
        if len(weighed) < 12 and (term.level, text) not in weighed:
            weighed.append((term.level, text))
        return
    words = {
        "self": found.personal,
        "request": found.requests,
        "resolved": found.resolved,
        "vip": found.important_people,
    }
    if len(words[kind]) < 8 and text not in words[kind]:
        words[kind].append(text)


def _take_place(found: Scan, tokens: list[str], index: int) -> None:
    word = tokens[index]
    if word == "since" or len(found.places) >= 6:
        return
    following = tokens[index + 1] if index + 1 < len(tokens) else ""
    before = tokens[index - 1] if index else ""
    place = ""
    if following and (
        following[0].isdigit() or (len(following) == 1 and following.isalpha() and following not in "ai")
    ):
        place = f"{word} {following}"
    elif _ORDINAL.fullmatch(before):
        place = f"{before} {word}"
    if place and place not in found.places:
        found.places.append(place)


def _take_count(found: Scan, tokens: list[str], index: int, rules: RuleBase) -> None:
    """Take the number in front of a word for people, with at most one word between ("40 remote users")."""
    for back in (1, 2):
        if index < back:
            return
        token = tokens[index - back]
        number = int(token) if token.isdecimal() and len(token) < 7 else rules.numbers.get(token, 0)
        if number:
            found.people = max(found.people, number)
            return


def _take_identifiers(found: Scan, message: str) -> None:
    if _DIGIT.search(message) is not None:
        words = message.split()
        for index, word in enumerate(words):
            if not word.isalpha() and len(word) < 64 and _DIGIT.search(word) is not None:
                _take_identifier(found, word.strip("()[].,;:!?\"'#"), words[index - 1] if index else "")
    if "since" in message or "Since" in message:
        since = _SINCE.search(message)
        if since:
            found.since = since[1].strip()


def _take_identifier(found: Scan, word: str, before: str) -> None:
    match = _IDENTIFIER.fullmatch(word)
    kind = match.lastgroup if match else None
    if kind == "device" or word.isdecimal():  # "ticket ITSD-4421" names no device
        kind = _NUMBERED.get(before.strip("#:").lower(), kind)
    if kind is not None:
        names = found.identifiers.setdefault(kind, [])
        if len(names) < 8 and word not in names:
            names.append(word)
