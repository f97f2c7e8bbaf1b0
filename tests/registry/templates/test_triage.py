"""Triage: labelled tickets, negation, entities, and any text at all."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bailiwick.registry.templates import TEMPLATES, TemplateContext, TemplateInput, TemplateResult
from bailiwick.registry.templates.triage import RULES

CONTEXT = TemplateContext(organization_name="Acme", now=datetime(2026, 11, 13, 10, tzinfo=UTC))
TRIAGE = TEMPLATES["helpdesk-tier1-triage"]


def triage(message: str) -> TemplateResult:
    return TRIAGE.run(TemplateInput(message=message, context=CONTEXT))


def verdict(message: str) -> dict[str, Any]:
    return triage(message).structured


# What a service desk lead would answer, written down before the rules were tried on it.
LABELLED = [
    ("Router offline at floor 3", "network/infrastructure", "P2"),
    ("Core switch in the data center rack 4 is down, whole building without network", "network/infrastructure", "P1"),
    ("The firewall dropped off monitoring, all users are cut off", "network/infrastructure", "P1"),
    ("Patch panel in comms room looks loose, no one noticed any problem yet, no rush", "network/infrastructure", "P4"),
    ("Wi-Fi in the conference area is slow for about 12 people", "network/wireless", "P3"),
    ("wifi down for everyone in the building", "network/wireless", "P1"),
    ("My laptop cannot join the wireless network", "network/wireless", "P4"),
    ("VPN keeps disconnecting for 40 remote users and they cannot work", "network/vpn", "P2"),
    ("I can't connect to the VPN from home", "network/vpn", "P4"),
    ("No internet at the Leeds branch, all staff affected", "network/internet", "P1"),
    ("Internet is very slow today in our team", "network/internet", "P3"),
    ("DNS not resolving intranet names for several users", "network/name_services", "P3"),
    ("Network port at my desk is dead", "network/connectivity", "P3"),
    ("My laptop won't boot, black screen, urgent", "hardware/computer", "P3"),
    ("Laptop battery drains quickly, not urgent", "hardware/computer", "P4"),
    ("My keyboard is broken", "hardware/peripheral", "P4"),
    ("Docking station does not charge, mouse and webcam fail too", "hardware/peripheral", "P4"),
    ("The second screen at my desk flickers", "hardware/display", "P4"),
    ("CEO's iPhone does not start, needs it immediately", "hardware/mobile", "P2"),
    ("Excel crashes when I open the budget file", "software/application", "P4"),
    ("Excel crashes for the whole finance department", "software/application", "P3"),
    ("Please install Visio on my workstation", "software/installation", "P4"),
    ("Windows update stuck at 35% on my pc", "software/operating_system", "P4"),
    ("Chrome shows a blank page for my bookmarks", "software/browser", "P4"),
    ("My computer is very slow", "software/performance", "P4"),
    ("Password expired and I cannot work", "access/password", "P3"),
    ("I forgot my password", "access/password", "P4"),
    ("I am locked out of my account", "access/locked", "P3"),
    ("Nobody in accounting can log in, sign-in fails since 8am", "access/locked", "P2"),
    ("New phone, authenticator app no longer works, can't get verification codes", "access/mfa", "P3"),
    ("Need access to the marketing SharePoint folder", "access/permissions", "P4"),
    ("Access denied on the payroll share for me", "access/permissions", "P4"),
    ("New hire starts on Monday, please create an account", "access/joiner", "P4"),
    ("Employee left the company today, please disable the account immediately", "access/leaver", "P2"),
    ("Emails to external customers bounce with 550 for all users", "email/delivery", "P2"),
    ("Outlook keeps asking me for a profile and hangs", "email/client", "P4"),
    ("Please add Dana to the shared mailbox of sales", "email/mailbox", "P4"),
    ("Meeting invites vanish from my calendar", "email/calendar", "P4"),
    ("Files have been encrypted and there is a ransom note on the file server", "security/malware", "P1"),
    ("Antivirus alert: trojan found on LAP-2231, user says it is not urgent", "security/malware", "P1"),
    ("I received a suspicious email pretending to be the CEO", "security/phishing", "P2"),
    ("Got a phishing mail, I did not click anything", "security/phishing", "P3"),
    ("I clicked on a link in a fake mail and entered my password", "security/compromise", "P1"),
    ("Impossible travel alert for j.doe, unknown login from Brazil", "security/compromise", "P1"),
    ("Customer data exposed: the S3 export is publicly accessible", "security/data_loss", "P1"),
    ("My laptop was stolen from the car", "security/lost_device", "P2"),
    ("Printer on floor 2 has a paper jam", "printing/printer", "P4"),
    ("Print server down, nobody can print in the hospital", "printing/printer", "P1"),
    ("Toner low in the copy room, when you have time", "printing/printer", "P4"),
    ("Scan to email fails on the copier", "printing/scanner", "P4"),
    ("No dial tone on my desk phone", "telephony/phone", "P3"),
    ("Call center IVR is down, customers cannot reach us", "telephony/contact_centre", "P1"),
    ("Zoom has no sound in my meetings", "telephony/conferencing", "P4"),
    ("Shared drive unavailable for the design team of 15 people", "collaboration/file_share", "P2"),
    ("I accidentally deleted a folder, can you restore the files?", "collaboration/file_share", "P4"),
    ("OneDrive not syncing on my laptop", "collaboration/cloud_files", "P4"),
    ("Production database is down, orders cannot be placed", "database/database", "P1"),
    ("SQL query timeouts in the reporting database", "database/database", "P2"),
    ("SAP is unavailable for all users", "database/business_application", "P1"),
    ("Website returns 502 bad gateway, customers affected", "database/web", "P2"),
    ("TLS certificate expired on the customer portal, we are losing orders right now", "database/web", "P2"),
    ("VMware host crashed, several servers offline", "server/server", "P1"),
    ("AWS EC2 instances unreachable in eu-west-1", "server/cloud", "P1"),
    ("Nightly backup job failed with out of space error", "server/backup", "P3"),
    ("Projector in meeting room 4 does not start, client presentation in 20 minutes", "workplace/meeting_room", "P3"),
    ("Power outage at the plant", "workplace/power", "P1"),
    ("I would like a second monitor", "workplace/equipment", "P4"),
    ("It does not work", "general/unknown", "P4"),
    ("hello", "general/unknown", "P4"),
    ("EHR is extremely slow for all nurses in the ER, patients waiting", "database/business_application", "P1"),
    ("Someone called pretending to be IT, I gave them my MFA code", "security/compromise", "P1"),
    ("Our whole office lost wifi about ten minutes ago", "network/wireless", "P1"),
    ("No one on the 5th floor can print", "printing/printer", "P3"),
    ("SSO login loop for Salesforce since the update, affects about 200 people", "access/locked", "P1"),
    ("I can't open the shared drive since this morning, colleagues can", "collaboration/file_share", "P4"),
    ("Everything is fine now, the server is back online", "server/server", "P4"),
    ("We think our backup server may have been hit by ransomware", "security/malware", "P1"),
]


def test_enough_labelled_tickets() -> None:
    assert len(LABELLED) >= 60
    assert {label.split("/")[0] for _, label, _ in LABELLED} >= {sub.category for sub in RULES.subcategories}


@pytest.mark.parametrize(("message", "category", "priority"), LABELLED, ids=[m[:40] for m, _, _ in LABELLED])
def test_labelled(message: str, category: str, priority: str) -> None:
    found = verdict(message)
    assert (f"{found['category']}/{found['subcategory']}", found["priority"]) == (category, priority), found


@pytest.mark.parametrize(
    ("message", "calmer"),
    [
        ("The core switch is down", "The core switch is no longer down"),
        ("Printer broken, urgent", "Printer broken, not urgent"),
        ("The mail server is unreachable for everyone", "The mail server is unreachable, but not for everyone"),
        ("VPN outage", "VPN outage, it is working again"),
        ("The database is offline, this is critical", "The database is slow, this is not critical"),
    ],
)
def test_negation_and_good_news_lower_the_priority(message: str, calmer: str) -> None:
    assert verdict(calmer)["priority"] > verdict(message)["priority"]


def test_a_denied_thing_is_not_the_category() -> None:
    found = verdict("It is not the printer, the network cable is broken")
    assert (found["category"], found["subcategory"]) == ("network", "connectivity")
    assert "printer" in found["ruled_out"]
    assert verdict("No virus was found, but Excel crashes")["subcategory"] == "application"


def test_negation_ends_with_its_clause() -> None:
    assert verdict("It is not my phone. The core switch is down")["urgency"]["level"] == "high"
    assert verdict("no change yesterday, router offline")["urgency"]["level"] == "high"


def test_a_security_incident_cannot_be_talked_down() -> None:
    found = verdict("Ransomware on one computer, no rush, only me, low priority")
    assert found["priority"] == "P1"


def test_entities() -> None:
    found = verdict(
        "Ticket INC0045121: switch SW-FL3-01 (10.20.0.5) in building B, 3rd floor, room 204 offline since 9:30 am, "
        "error 1603, 35 users affected"
    )["entities"]
    assert found["ticket"] == ["INC0045121"]
    assert found["device"] == ["SW-FL3-01"]
    assert found["address"] == ["10.20.0.5"]
    assert found["error"] == ["1603"]
    assert found["location"] == ["building b", "3rd floor", "room 204"]
    assert found["users_affected"] == 35
    assert found["since"] == "9:30 am"


def test_questions_ask_only_for_what_is_missing() -> None:
    bare = verdict("Router offline")["questions"]
    told = verdict("Router offline at floor 3 since 8am, 20 users affected")["questions"]
    assert set(bare) == {RULES.questions[key] for key in ("location", "users", "since")}
    assert told == []


def test_response_is_readable() -> None:
    result = triage("Router offline at floor 3")
    first, *rest = result.response.splitlines()
    assert first.startswith("P2 — Network / Infrastructure. Recommended path: on-site check")
    assert "Next steps" in rest
    assert "assignment group: Network Operations" in result.response
    assert "priority=P2" in result.facts


def test_every_subcategory_can_be_reached_and_is_complete() -> None:
    """The words of a subcategory alone lead to it, and it says what to do."""
    for sub in RULES.subcategories:
        assert len(sub.steps) >= 3
        assert sub.group and sub.path
    reached = {verdict(" ".join(phrase))["subcategory"] for phrase in _first_phrases()}
    assert reached >= {sub.key for sub in RULES.subcategories}


def _first_phrases() -> list[list[str]]:
    best: dict[int, tuple[int, list[str]]] = {}
    for first, (rows, _) in RULES.words.items():
        for _, rest, term in rows:
            if term.kind == "topic" and term.weight > best.get(term.topic, (0, []))[0]:
                best[term.topic] = (term.weight, [first, *rest])
    return [phrase for _, phrase in best.values()]


def test_matrix_never_ranks_more_impact_or_urgency_lower() -> None:
    for row, below in zip(RULES.matrix, RULES.matrix[1:], strict=False):
        assert all(higher <= lower for higher, lower in zip(row, below, strict=True))
    assert all(list(row) == sorted(row) for row in RULES.matrix)


WORDS = st.sampled_from(
    [
        "not",
        "urgent",
        "router",
        "down",
        "no",
        "longer",
        "virus",
        "INC-1234",
        "floor",
        "3",
        "40",
        "users",
        "since",
        ".",
        ",",
        "my",
    ]
)


@given(st.one_of(st.text(max_size=400), st.lists(WORDS, max_size=60).map(" ".join)))
@settings(max_examples=200)
def test_any_text_gives_the_same_answer_twice(message: str) -> None:
    first, second = triage(message), triage(message)
    assert first == second
    assert first.structured["priority"] in {"P1", "P2", "P3", "P4"}
    assert first.response and first.output_units > 0
