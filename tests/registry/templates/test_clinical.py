"""Clinical documentation: a note in SOAP order, nothing lost and nothing invented."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bailiwick.registry.templates import TEMPLATES, TemplateContext, TemplateInput, TemplateResult

CONTEXT = TemplateContext(organization_name="Acme", now=datetime(2026, 11, 13, 10, tzinfo=UTC))
CLINICAL = TEMPLATES["coleman-clinical-docs"]

WITH_HEADINGS = """CC: chest pain x 2 days
HPI: 58-year-old man with intermittent chest pain. Worse with exertion. Seen by Dr. Lang last week. Denies dyspnea.
Meds: lisinopril 10 mg PO daily, metformin
Vitals: BP 152/94 mmHg, HR 104, RR 18, T 98.9 F, SpO2 93% on RA
PE: Lungs clear. No edema.
Labs: A1c 8.2%, creatinine 1.1 mg/dL
A/P:
1. Chest pain - possible angina.
- Order ECG and troponin.
- Start aspirin 81 mg daily.
2. Hypertension, uncontrolled
- Increase lisinopril to 20 mg daily
Follow up in 2 weeks."""

WITHOUT_HEADINGS = (
    "Patient reports headache for the past 3 days. Denies fever. BP is 118/76 and pulse 72. Neck is supple on exam. "
    "Likely tension headache. Start ibuprofen 400 mg every 6 hours as needed. Return if worse."
)


def document(note: str) -> TemplateResult:
    return CLINICAL.run(TemplateInput(message=note, context=CONTEXT))


def texts(structured: dict[str, Any], section: str) -> list[str]:
    return [row["text"] for row in structured["sections"][section]]


def test_note_with_headings() -> None:
    found = document(WITH_HEADINGS).structured
    assert texts(found, "subjective") == [
        "chest pain x 2 days",
        "58-year-old man with intermittent chest pain.",
        "Worse with exertion.",
        "Seen by Dr. Lang last week.",
        "Denies dyspnea.",
        "lisinopril 10 mg PO daily, metformin",
    ]
    assert texts(found, "objective") == [
        "BP 152/94 mmHg, HR 104, RR 18, T 98.9 F, SpO2 93% on RA",
        "Lungs clear.",
        "No edema.",
        "A1c 8.2%, creatinine 1.1 mg/dL",
    ]
    assert texts(found, "assessment") == ["1. Chest pain - possible angina.", "2. Hypertension, uncontrolled"]
    assert len(texts(found, "plan")) == 4
    assert found["problems"][0]["plan"] == ["- Order ECG and troponin.", "- Start aspirin 81 mg daily."]
    assert found["problems"][1]["plan"][0] == "- Increase lisinopril to 20 mg daily"
    assert found["missing"] == ["allergies", "dose of metformin"]


def test_note_without_headings() -> None:
    found = document(WITHOUT_HEADINGS).structured
    assert texts(found, "subjective") == ["Patient reports headache for the past 3 days.", "Denies fever."]
    assert texts(found, "objective") == ["BP is 118/76 and pulse 72.", "Neck is supple on exam."]
    assert texts(found, "assessment") == ["Likely tension headache."]
    assert texts(found, "plan") == ["Start ibuprofen 400 mg every 6 hours as needed.", "Return if worse."]
    assert "allergies" in found["missing"]
    assert "vital signs" not in found["missing"]


def test_headings_alone_on_a_line_and_on_one_line() -> None:
    apart = document("SUBJECTIVE\nfeels well\nOBJECTIVE\nno rash\nASSESSMENT\neczema\nPLAN\nemollient").structured
    inline = document("S: feels well. O: no rash. A: eczema. P: emollient").structured
    for found, dot in ((apart, ""), (inline, ".")):
        assert texts(found, "subjective") == ["feels well" + dot]
        assert texts(found, "objective") == ["no rash" + dot]
        assert texts(found, "assessment") == ["eczema" + dot]
        assert texts(found, "plan") == ["emollient"]


@pytest.mark.parametrize(
    ("sentence", "name", "value", "unit", "flag"),
    [
        ("BP 152/94 mmHg", "systolic blood pressure", 152, "mmHg", "high"),
        ("BP 84/50", "diastolic blood pressure", 50, None, "low"),
        ("heart rate of 72 bpm", "heart rate", 72, "bpm", "in range"),
        ("Temp 38.6 C", "temperature", 38.6, "C", "high"),
        ("Temp: 101.2 F", "temperature", 101.2, "F", "high"),
        ("T 37.0", "temperature", 37.0, None, ""),
        ("SpO2 88%", "oxygen saturation", 88, "%", "low"),
        ("HR 900", "heart rate", 900, None, "check"),
        ("weight 82.5 kg", "weight", 82.5, "kg", ""),
        ("BMI 31.2", "body mass index", 31.2, None, "high"),
        ("pain 7/10", "pain", 7, "/10", "high"),
    ],
)
def test_vitals(sentence: str, name: str, value: float, unit: str | None, flag: str) -> None:
    vitals = document(f"Vitals: {sentence}").structured["vitals"]
    assert {"name": name, "value": value, "unit": unit, "flag": flag} in [
        {key: vital[key] for key in ("name", "value", "unit", "flag")} for vital in vitals
    ]


def test_temperature_without_unit_is_asked_for_and_not_guessed() -> None:
    found = document("Vitals: T 39").structured
    assert found["vitals"][0]["flag"] == ""
    assert "unit of T 39" in found["missing"]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Takes lisinopril 10 mg PO daily.", [("lisinopril", "10 mg", "PO", "daily")]),
        ("albuterol 2 puffs every 4-6 hours as needed", [("albuterol", "2 puffs", None, "every 4-6 hours as needed")]),
        ("Increase metoprolol to 50 mg BID", [("metoprolol", "50 mg", None, "BID")]),
        ("on warfarin", [("warfarin", None, None, None)]),
        ("creatinine 1.1 mg/dL, glucose 110 mg/dL", []),
        ("gained 3 g", []),
        ("Allergic to penicillin 500 mg", []),
    ],
)
def test_medicines(sentence: str, expected: list[tuple[str | None, ...]]) -> None:
    medicines = document(sentence).structured["medications"]
    assert [(m["name"], m["dose"], m["route"], m["frequency"]) for m in medicines] == expected


def test_separate_plan_is_matched_by_number_and_by_word() -> None:
    numbered = document("Assessment:\n1. Asthma\n2. Gout\nPlan:\n2. Colchicine 0.6 mg daily\n1. Spirometry").structured
    assert [problem["plan"] for problem in numbered["problems"]] == [["1. Spirometry"], ["2. Colchicine 0.6 mg daily"]]
    worded = document("Assessment:\nAsthma\nGout flare\nPlan:\nAction plan for asthma\nRest").structured
    assert [problem["plan"] for problem in worded["problems"]] == [["Action plan for asthma"], []]
    assert worded["plan_of_no_problem"] == ["Rest"]


def test_what_is_no_note_stays_unsorted() -> None:
    found = document("The quick brown fox.").structured
    assert texts(found, "unsorted") == ["The quick brown fox."]
    assert "assessment" in found["missing"]


PIECES = st.sampled_from(
    [
        "HPI:",
        "A/P:",
        "S:",
        "Plan",
        "1. HTN",
        "- Start aspirin 81 mg.",
        "Dr. Who came.",
        "BP 120/80",
        "denies pain.",
        "\n",
        "x. Y",
        "#",
    ]
)


@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=25).map(" ".join)))
@settings(max_examples=200)
def test_nothing_is_lost_doubled_or_invented(note: str) -> None:
    found = document(note).structured
    sentences = [text for section in found["sections"] for text in texts(found, section)]
    assert all(sentence in note for sentence in sentences)
    given_characters = sorted(character for character in note if not character.isspace())
    kept = "".join([*sentences, *found["headings"]])
    assert sorted(character for character in kept if not character.isspace()) == given_characters
    quoted = [vital["quote"] for vital in found["vitals"]] + [medicine["quote"] for medicine in found["medications"]]
    assert all(quote in note for quote in quoted)
    planned = [text for problem in found["problems"] for text in problem["plan"]] + found["plan_of_no_problem"]
    assert sorted(planned) == sorted(texts(found, "plan"))
    assert [problem["problem"] for problem in found["problems"]] == texts(found, "assessment")
