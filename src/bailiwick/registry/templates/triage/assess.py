"""From a scan to an answer: category, impact, urgency, priority, and what to do next."""

from typing import Any

import msgspec

from bailiwick.registry.templates.template import TemplateInput, TemplateResult, result_of

from .rulebase import RuleBase, Subcategory, load_rule_base
from .scan import Scan, scan

LEVELS = ("", "high", "medium", "low")

RULES: RuleBase = load_rule_base()


class Level(msgspec.Struct, frozen=True):
    """A level from 1 (high) to 3 (low) and the words that led to it, or the rule when no word did."""

    level: int
    why: str


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one message. `others` are further topics, strongest first."""

    topic: Subcategory
    others: tuple[Subcategory, ...]
    topic_words: list[str]
    impact: Level
    urgency: Level
    priority: int
    is_request: bool
    is_resolved: bool


def run(given: TemplateInput) -> TemplateResult:
    """Triage `given.message`. `structured` holds every part of the answer; see `_structured`."""
    found = scan(given.message, RULES)
    verdict = assess(found)
    questions = _questions(verdict.topic, found)
    entities = _entities(found)
    entity_line = _entity_line(entities)
    return result_of(
        given,
        response=_response(verdict, found, questions, entity_line),
        facts=_facts(verdict, questions, entity_line),
        structured=_structured(verdict, found, questions, entities),
    )


def assess(found: Scan) -> Assessment:
    """Weigh what was found. The strongest topic wins, the earlier one on a tie; the matrix gives the priority."""
    topic, words, others = _topic(found)
    is_request = bool(found.requests) and not found.symptoms and not topic.strict
    impact = _impact(topic, found, is_request)
    urgency = _urgency(topic, found, is_request)
    return Assessment(
        topic=topic,
        others=others,
        topic_words=words,
        impact=impact,
        urgency=urgency,
        priority=RULES.matrix[impact.level - 1][urgency.level - 1],
        is_request=is_request,
        is_resolved=bool(found.resolved),
    )


def _topic(found: Scan) -> tuple[Subcategory, list[str], tuple[Subcategory, ...]]:
    if not found.topics:
        return RULES.unknown, [], ()
    if len(found.topics) == 1:
        ((key, hit),) = found.topics.items()
        return RULES.subcategories[key], hit.words, ()
    ranked = sorted(found.topics.items(), key=lambda item: -item[1].score)
    key, hit = ranked[0]
    others = tuple(RULES.subcategories[other] for other, its in ranked[1:3] if its.score * 2 >= hit.score)
    return RULES.subcategories[key], hit.words, others


def _impact(topic: Subcategory, found: Scan, is_request: bool) -> Level:
    level, why = _reach(topic, found, is_request)
    if found.important_people:
        level, why = max(1, level - 1), f"{why}; raised for “{found.important_people[0]}”"
    if topic.strict and level > topic.impact_floor:
        level, why = topic.impact_floor, f"never lower for {topic.name}"
    return Level(level, why)


def _reach(topic: Subcategory, found: Scan, is_request: bool) -> tuple[int, str]:
    counted = 0 if not found.people else 1 if found.people >= 50 else 2 if found.people >= 5 else 3
    if found.scope or counted:
        low = [words for level, words in found.scope if level == 3]
        wide = [item for item in found.scope if item[0] < 3]
        if counted and counted < 3:
            wide.append((counted, f"{found.people} affected"))
        if wide:
            level = min(wide)[0]
            return level, _quoted([words for at, words in wide if at == level])
        return 3, _quoted(low) if low else f"“{found.people} affected”"
    if found.personal and not topic.shared and not topic.strict:
        return 3, f"one person: {_quoted(found.personal[:1])}"
    if is_request:
        return 3, "a request, no fault reported"
    if topic.impact == 1 and not found.symptoms and not topic.strict:
        return 2, f"no fault described in {topic.name}"
    return topic.impact, f"usual reach of {topic.name}"


def _urgency(topic: Subcategory, found: Scan, is_request: bool) -> Level:
    pressing = [words for level, words in found.stated if level == 1]
    if pressing:
        return Level(1, _quoted(pressing))
    relaxed = found.resolved or [words for level, words in found.stated if level == 3]
    if relaxed and not topic.strict:
        return Level(3, _quoted(relaxed))
    strongest = min(found.symptoms, default=(0, ""))[0]
    if strongest and strongest <= topic.urgency:
        return Level(strongest, _quoted([words for level, words in found.symptoms if level == strongest]))
    if is_request and topic.urgency == 2:
        return Level(3, f"a request: {_quoted(found.requests[:1])}")
    return Level(topic.urgency, f"{'never lower' if topic.strict else 'usual'} for {topic.name}")


def _quoted(words: list[str]) -> str:
    return f"“{words[0]}”" if len(words) == 1 else ", ".join([f"“{word}”" for word in words[:4]])


def _questions(topic: Subcategory, found: Scan) -> list[str]:
    """The facts that this topic needs and the message does not give."""
    asked = []
    for ask in topic.asks:
        if ask == "location":
            known = bool(found.places)
        elif ask == "users":
            known = bool(found.people or found.scope)
        elif ask == "since":
            known = bool(found.since)
        elif ask == "device":
            known = "device" in found.identifiers or "address" in found.identifiers
        else:
            known = ask == "error" and "error" in found.identifiers
        if not known:
            asked.append(RULES.questions[ask])
    return asked


def _entities(found: Scan) -> dict[str, Any]:
    entities: dict[str, Any] = dict(found.identifiers)
    if found.places:
        entities["location"] = found.places
    if found.people:
        entities["users_affected"] = found.people
    if found.since:
        entities["since"] = found.since
    return entities


def _response(verdict: Assessment, found: Scan, questions: list[str], entity_line: str) -> str:
    topic, priority = verdict.topic, RULES.priorities[verdict.priority]
    kind = "Service request" if verdict.is_request else "Incident"
    parts = [
        f"{priority.name} — {topic.category_name} / {topic.name}. Recommended path: {topic.path}.\n\n"
        f"{kind}, assignment group: {topic.group}\n"
        f"Target: {priority.sla}\n"
        f"Impact: {LEVELS[verdict.impact.level]} ({verdict.impact.why})\n"
        f"Urgency: {LEVELS[verdict.urgency.level]} ({verdict.urgency.why})",
    ]
    if verdict.topic_words:
        parts.append(f"Category by: {_quoted(verdict.topic_words)}")
    if verdict.is_resolved:
        parts.append("Reported as working again: confirm with the caller before closing.")
    for other in verdict.others:
        parts.append(f"Also possible: {other.category_name} / {other.name} ({other.group})")
    if found.cancelled:
        parts.append(f"Ruled out by the message: {_quoted(found.cancelled)}")
    if entity_line:
        parts.append(f"Found: {entity_line}")
    parts.append(f"\nNext steps\n{topic.steps_text}")
    if questions:
        parts.append("\nPlease find out\n- " + "\n- ".join(questions))
    return "\n".join(parts)


def _entity_line(entities: dict[str, Any]) -> str:
    return "; ".join(
        [
            f"{name.replace('_', ' ')} {', '.join(value) if isinstance(value, list) else value}"
            for name, value in entities.items()
        ]
    )


def _facts(verdict: Assessment, questions: list[str], entity_line: str) -> str:
    topic, priority = verdict.topic, RULES.priorities[verdict.priority]
    return (
        f"priority={priority.name} category={topic.category}/{topic.key} group={topic.group}"
        f" kind={'request' if verdict.is_request else 'incident'}\n"
        f"impact={LEVELS[verdict.impact.level]} because {verdict.impact.why}\n"
        f"urgency={LEVELS[verdict.urgency.level]} because {verdict.urgency.why}\n"
        f"target={priority.sla}\nfound={entity_line}\n"
        f"steps:\n{topic.steps_text}\nask: {' '.join(questions)}"
    )


def _structured(verdict: Assessment, found: Scan, questions: list[str], entities: dict[str, Any]) -> dict[str, Any]:
    topic, priority = verdict.topic, RULES.priorities[verdict.priority]
    return {
        "priority": priority.name,
        "kind": "request" if verdict.is_request else "incident",
        "category": topic.category,
        "subcategory": topic.key,
        "title": f"{topic.category_name} / {topic.name}",
        "assignment_group": topic.group,
        "target": priority.sla,
        "impact": {"level": LEVELS[verdict.impact.level], "because": verdict.impact.why},
        "urgency": {"level": LEVELS[verdict.urgency.level], "because": verdict.urgency.why},
        "evidence": verdict.topic_words,
        "ruled_out": found.cancelled[:8],
        "also_possible": [f"{other.category}/{other.key}" for other in verdict.others],
        "resolved": verdict.is_resolved,
        "entities": entities,
        "path": topic.path,
        "next_steps": list(topic.steps),
        "questions": questions,
    }
